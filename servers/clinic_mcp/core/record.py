"""A call as the audit log sees it: what each of its events says. No argument, no result, no error text."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mcp_types import CallToolResult

from clinic_mcp.audit.event import Commitment, Draft, Phase, uuid7
from clinic_mcp.core.clinic import now
from clinic_mcp.core.errors import ClinicError, Unauthenticated
from clinic_mcp.core.identity import Caller
from clinic_mcp.core.policy import Decision, PolicySet, Request
from clinic_mcp.core.tokens import Claims
from clinic_mcp.core.tool import Target, Tool


@dataclass(frozen=True)
class Understood:
    """A call whose caller, tool, arguments and target are known: ready to be decided, and if allowed, to run."""

    caller: Caller
    tool: Tool[Any]
    arguments: Any
    target: Target


@dataclass
class Call:
    """One `tools/call` on its way through the guard, and what is known of it so far.

    Args:
        server: The server called.
        tool: The tool named, if the server has it; the name a caller wrote is kept nowhere.
        arguments: The arguments as the caller wrote them.
        claims: The verified token's claims, or why there are none.
        transport: `stdio`, `sse` or `http`.
        origin: Facts of the request that are safe to record: `call`, `network`, `client`.
        caller: Who calls, once identified.
        target: What the call is about, once understood.
        policies: The policies in force when it was decided.
        request: What they were asked.
        decision: What the policies said, once asked.
        disclosed: Patients its answer speaks of, beside those it was asked about.
        recorded: Whether an event of it is on the record.
        understood: All of that together, once the call can be decided.
        closing: The event that must be durable before the answer leaves.
        answer: What the caller gets; set means that the call goes no further.
        code: How it ended, for the log line.
        abandoned: Why nobody waits for the answer any more.
        committing: Whether its write is on its way to the disk: who gives up now does not know if it is made.
        event_id: The newest event of it on the record.
        recording_us: Microseconds it has waited for the record.
    """

    server: str
    tool: Tool[Any] | None
    arguments: Mapping[str, Any]
    claims: Claims | Unauthenticated
    transport: str
    origin: Mapping[str, Any]
    call_id: str = field(default_factory=uuid7)
    started: str = field(default_factory=now)
    clock: int = field(default_factory=time.perf_counter_ns)
    caller: Caller | None = None
    target: Target | None = None
    policies: PolicySet | None = None
    request: Request | None = None
    decision: Mapping[str, Any] | None = None
    disclosed: Sequence[str] = ()
    recorded: bool = False
    understood: Understood | None = None
    closing: Draft | None = None
    answer: CallToolResult | None = None
    code: str | None = None
    abandoned: str | None = None
    committing: bool = False
    event_id: str | None = None
    recording_us: int = 0

    @property
    def duration_us(self) -> int:
        return (time.perf_counter_ns() - self.clock) // 1_000

    @property
    def label(self) -> str:
        """The tool's name for a log line: only a name the server knows, because a caller chooses the text."""
        return self.tool.name if self.tool else "unknown"

    @property
    def patients(self) -> tuple[str, ...]:
        return (*(self.target.patients if self.target else ()), *self.disclosed)


def decided(decision: Decision, policies: PolicySet) -> dict[str, Any]:
    """A decision as an event keeps it: with the digests under which its policies and inputs can be found again."""
    return {
        "effect": "allow" if decision.allowed else "deny",
        "policies": list(decision.policies),
        "errors": decision.errors,
        "policy_set": policies.digest,
        "schema": policies.schema_digest,
        "input": decision.input_digest,
    }


def refusal(call: Call, error: ClinicError) -> Draft:
    """The one event of a call that is not run."""
    if isinstance(error, Unauthenticated):
        return _draft(call, Phase.UNAUTHENTICATED, "call.unauthenticated", {"reason": error.reason})
    decision = call.decision or {"effect": "deny", "policies": [error.code], "errors": 0}
    return _draft(call, Phase.DECISION, f"call.{error.code}", {"decision": decision})


def intent(call: Call) -> Draft:
    """The event that stands on the record before an allowed call runs."""
    arguments = Commitment.to(dict(call.arguments))
    body = {
        "decision": call.decision,
        "purpose": _purpose(call),
        "commitments": {"arguments": arguments.text},
    }
    return _draft(call, Phase.INTENT, "call.allowed", body, {"arguments": arguments})


def _purpose(call: Call) -> str:
    """HL7 v3 PurposeOfUse: treatment, unless a policy that allowed the call names another (`BTG`, break the glass)."""
    named = (
        (call.policies.policies[one].annotations for one in call.decision["policies"])
        if call.policies and call.decision
        else ()
    )
    return next((annotations["purpose"] for annotations in named if "purpose" in annotations), "TREAT")


def success(call: Call, content: Mapping[str, Any], effect: Mapping[str, str] | None = None) -> Draft:
    """The event of a call that ran: how much it returned, and what it changed."""
    result, committed = content.get("result", content), Commitment.to(content)
    body = {
        "outcome": {"status": "ok"},
        "result_count": len(result) if isinstance(result, list) else 1,
        "commitments": {"result": committed.text},
        "effect": effect,
    }
    return _draft(call, Phase.OUTCOME, "call.ok", body, {"result": committed})


def failure(call: Call, error: str) -> Draft:
    """The event of a call that was allowed and failed: the kind of failure, never its text."""
    return _draft(call, Phase.OUTCOME, "call.error", {"outcome": {"status": "error", "error": error}})


def _draft(
    call: Call, phase: Phase, code: str, facts: Mapping[str, Any], details: Mapping[str, Commitment] | None = None
) -> Draft:
    body: dict[str, Any] = {
        **_who(call),
        "call": _present({**call.origin["call"], "server": call.server, "tool": call.tool.name if call.tool else None}),
        "network": call.origin["network"],
        "client": call.origin["client"],
        "started": call.started,
        "duration_us": call.duration_us,
        **facts,
    }
    if call.target is not None and call.tool is not None:
        kind, name = call.target.resource.uid
        body["cedar"] = {
            "action": call.tool.name,
            "resource": {"type": kind, "id": name, "known": call.target.known},
        }
    slices: dict[str, str] = {}
    if call.request is not None and "decision" in body:
        body["cedar"] |= {"context": _kept(call), "slice": call.request.slice_digest}
        slices[call.request.slice_digest] = call.request.slice_text
    return Draft(phase, code, call.call_id, _present(body), call.patients, slices, details or {})


def _kept(call: Call) -> dict[str, Any]:
    """The context a decision was made in, to be asked again later: without the time and the transport, which the
    event has anyway, and with empty texts where an argument is not one the log may keep."""
    assert call.request is not None and call.tool is not None  # noqa: S101, PT018 - the caller looked
    context = {key: value for key, value in call.request.context.items() if key not in ("auth", "now")}
    kept = call.tool.kept
    context["input"] = {
        key: value if key in kept else type(value)() for key, value in call.request.context["input"].items()
    }
    return context


def _who(call: Call) -> dict[str, Any]:
    if call.caller is None:
        return {}
    claims = call.caller.claims
    kind, name = call.caller.principal.uid
    who: dict[str, Any] = {
        "principal": {"type": kind, "id": name, "roles": list(call.caller.roles), "clinic": claims.clinic},
        "session": _present({"jti": claims.jti, "issuer": claims.issuer}),
    }
    if claims.agent is not None:
        who["agent"] = {"id": claims.agent}
        who["delegation"] = [{"sub": claims.subject}, {"act": claims.agent}]
        who["session"]["consultation"] = claims.consultation
    return who


def _present(mapping: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if value is not None}
