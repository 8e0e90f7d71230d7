"""Why a call was allowed or refused, in plain words, with the policies' text as it was in force then."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from clinic_mcp.audit.models import policy_texts, slices
from clinic_mcp.core.policy import DEFAULT_DENY, POLICY_ERROR, text_digest
from clinic_mcp.policy_tools.source import statements

_ANNOTATION = re.compile(r'@(\w+)\(\s*"((?:[^"\\]|\\.)*)"\s*\)')
_EFFECT = re.compile(r"^\s*(permit|forbid)\s*\(", re.MULTILINE)

CHECKS = {
    DEFAULT_DENY: "No policy permits it, and what no policy permits is refused.",
    POLICY_ERROR: "The policies could not decide it cleanly, and what is not clearly allowed is refused.",
    "unknown_tool": "The server has no tool of the name that was called.",
    "invalid_arguments": "The arguments do not fit the tool: nothing was looked up.",
    "malformed": "The request is not one that the protocol allows.",
    "duplicate_id": "A request with the same id was still under way.",
    "unavailable": "The clinic's database could not be reached.",
    "internal": "Something failed that nobody foresaw.",
    "timeout": "It took too long.",
    "cancelled": "The caller did not wait for the answer.",
    "not_found": "There is no such record, which this caller may know.",
    "own-case": "Nobody judges what they did themselves.",
}
"""What stands in the place of policies where none decided."""
STRANGERS = {
    "none": "no token came with it",
    "malformed": "what came is not a token",
    "expired": "the token had expired",
    "wrong-audience": "the token is for another server",
    "wrong-issuer": "nobody this clinic trusts issued the token",
    "unknown-key": "the token is signed with a key this clinic does not know",
    "bad-signature": "the token's signature is wrong",
    "unknown-person": "the clinic has nobody of that name",
    "unknown-agent": "the clinic has no such agent",
    "not-a-person": "the token is an agent's, and agents do not read the log",
    "role-not-vouched-for": "the provider and the clinic do not agree on the person's role",
    "grant-does-not-match": "the grant is not for that consultation and patient",
    "lives-too-long": "the token would live too long",
    "no-role": "the provider names no role that counts here",
}
"""Why nobody was identified."""


@dataclass(frozen=True)
class PolicyThen:
    """A policy that decided, as it stood then.

    Args:
        id: Its `@id`, or the name of the check in its place.
        effect: `permit`, `forbid`, or none for a check.
        says: What it says to people: its advice, or the check in words.
        text: Its text; none where the log does not hold it.
    """

    id: str
    effect: str | None = None
    says: str | None = None
    text: str | None = None


@dataclass(frozen=True)
class Why:
    """A decision, explained.

    Args:
        asked: Who asked for what, a sentence.
        answer: Whether it was allowed, and what came of it, a sentence.
        policies: What decided.
        digest: SHA-256 of the policies then in force, by which the event names them.
        since: When the log first had them, ISO 8601 in UTC.
        altered: Whether the text kept under that digest is another one today.
        inputs: What the policies looked at: the context, and the entities kept with the decision.
    """

    asked: str
    answer: str
    policies: tuple[PolicyThen, ...]
    digest: str | None
    since: str | None
    altered: bool
    inputs: Mapping[str, Any] | None


def explain(connection: Connection, events: Sequence[Mapping[str, Any]]) -> Why:
    """Explain what was decided of a call.

    Args:
        connection: An open read transaction.
        events: The call's events, in their order.
    """
    deciding = next((one for one in events if "decision" in one), events[0])
    decision: Mapping[str, Any] = deciding.get("decision", {})
    digest = decision.get("policy_set")
    kept = _text(connection, digest)
    altered = kept is not None and text_digest(kept.text) != digest
    then = {} if kept is None or altered else by_id(kept.text)
    names: Sequence[str] = decision.get("policies", ())
    return Why(
        asked=_asked(events),
        answer=_answer(events, decision),
        policies=tuple(then.get(name) or PolicyThen(name, says=CHECKS.get(name)) for name in names),
        digest=digest,
        since=None if kept is None else kept.first_used,
        altered=altered,
        inputs=_inputs(connection, deciding),
    )


def by_id(text: str) -> dict[str, PolicyThen]:
    """The policies of a set by their `@id`.

    Args:
        text: The set's text, as the log keeps it.
    """
    found: dict[str, PolicyThen] = {}
    for statement in statements(text):
        notes = dict(_ANNOTATION.findall(statement))
        effect = _EFFECT.search(statement)
        if "id" in notes:
            says = notes.get("advice") or notes.get("advice_own")
            found[notes["id"]] = PolicyThen(notes["id"], effect[1] if effect else None, says, statement)
    return found


def _text(connection: Connection, digest: str | None) -> Any:
    if digest is None:
        return None
    return connection.execute(select(policy_texts).where(policy_texts.c.digest == digest)).first()


def _asked(events: Sequence[Mapping[str, Any]]) -> str:
    first = events[0]
    who = _who(first)
    patients = list(dict.fromkeys(name for one in events for name in one.get("patients", [])))
    about = f" about {_few(patients)}" if patients else ""
    consultation = first.get("session", {}).get("consultation")
    within = f" in consultation {consultation}" if consultation else ""
    tool = first.get("call", {}).get("tool")
    if tool is not None:
        return f"{who} called {tool} of {first['call'].get('server')}{within}{about}."
    if "call" in first:
        return f"{who} called {first['call'].get('server')}{within}."
    return f"{who} did {first['code']}{within}{about}."


def _who(event: Mapping[str, Any]) -> str:
    principal = event.get("principal")
    if principal is None:
        return f"Somebody at {event.get('network', {}).get('peer', 'an unknown address')}"
    agent = event.get("agent", {}).get("id")
    if agent is not None:
        behalf = next((one["sub"] for one in event.get("delegation", []) if "sub" in one), None)
        return f"The agent {agent}, for {behalf}," if behalf else f"The agent {agent}"
    roles = ", ".join(principal.get("roles", []))
    return f"{principal['id']} ({roles})" if roles else f"{principal['type']} {principal['id']}"


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown


def _answer(events: Sequence[Mapping[str, Any]], decision: Mapping[str, Any]) -> str:
    last = events[-1]
    if last["phase"] == "unauthenticated":
        reason = str(last.get("reason"))
        return f"It was turned away: {STRANGERS.get(reason, f'the token was not accepted ({reason})')}."
    if decision.get("effect") == "deny":
        return "It was refused, and nothing was done."
    outcome = next((one.get("outcome", {}) for one in events if one["phase"] == "outcome"), None)
    if decision.get("effect") != "allow":
        return "It was done."
    if last["phase"] == "audit_read":
        return "It was allowed, and shown."
    if outcome is None:
        return "It was allowed. How it ended is not on the record: it is under way, or in doubt."
    words = {
        "ok": "It was allowed, and done.",
        "error": f"It was allowed, and failed ({outcome.get('error', 'no reason kept')}).",
        "unknown": "It was allowed. Its server was lost before it said how it ended.",
    }
    return words.get(str(outcome.get("status")), "It was allowed.")


def _inputs(connection: Connection, event: Mapping[str, Any]) -> Mapping[str, Any] | None:
    cedar = event.get("cedar")
    if cedar is None:
        return None
    digest = cedar.get("slice")
    text = connection.execute(select(slices.c.text).where(slices.c.digest == digest)).scalar() if digest else None
    shown = {name: cedar[name] for name in ("action", "resource", "context") if name in cedar}
    return {**shown, "entities": json.loads(text)} if text is not None else shown
