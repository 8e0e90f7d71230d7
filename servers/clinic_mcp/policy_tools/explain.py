"""One decision, explained: what was decided, by which policies, and what would have to be different."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, or_, select

from clinic_mcp.audit.event import Phase
from clinic_mcp.audit.models import events, policy_texts
from clinic_mcp.core.errors import InvalidArguments, Unavailable
from clinic_mcp.core.policy import Decision, PolicySet, Request
from clinic_mcp.policy_tools.different import Different, different
from clinic_mcp.policy_tools.recorded import NotKept, Recorded, recorded, slice_texts
from clinic_mcp.policy_tools.replay import Candidate, Judged
from clinic_mcp.policy_tools.source import places, texts
from clinic_mcp.policy_tools.tools import every_tool


@dataclass(frozen=True)
class Deciding:
    """A policy that decided: its text, and where it stands today where it still does."""

    id: str
    effect: str
    text: str
    place: str | None


@dataclass(frozen=True)
class Explanation:
    """A decision and what it hangs on.

    Args:
        caller: Who, e.g. `Clinician:dr-osei`.
        tool: Does what.
        resource: To which record, e.g. `Patient:P001`.
        known: Whether that record exists.
        allowed: What the policies say.
        policies: Which of them by `@id`, or `default-deny`.
        deciding: Those policies with their text.
        advice: What a refused caller is told.
        different: What would have to be different; none where the engine cannot judge the request.
        policy_set: Digest of the policies asked.
        event: For a recorded decision, the event and when.
        today: For a recorded decision, what today's policies say of the same request.
        notes: What to know when reading it.
    """

    caller: str
    tool: str
    resource: str
    known: bool
    allowed: bool
    policies: tuple[str, ...]
    deciding: tuple[Deciding, ...]
    advice: str | None
    different: Different | None
    policy_set: str
    event: dict[str, str] | None = None
    today: Judged | None = None
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The explanation as JSON values."""
        shown = asdict(self)
        return {"decision": "allow" if shown.pop("allowed") else "deny", **shown}


def explain(policies: PolicySet, folder: Path, request: Request, *, known: bool) -> Explanation:
    """Explain what policies say of a request.

    Args:
        policies: The policies.
        folder: Where their files are, or today's.
        request: The request.
        known: Whether the record it is about exists.
    """
    decision = policies.decide(request)
    return Explanation(
        caller=":".join(request.principal),
        tool=request.action,
        resource=":".join(request.resource),
        known=known,
        allowed=decision.allowed,
        policies=decision.policies,
        deciding=_deciding(policies, folder, decision),
        advice=None if decision.allowed else policies.advice(request, decision),
        different=different(policies, request, decision),
        policy_set=policies.digest,
    )


def find(connection: Connection, reference: str) -> Recorded:
    """A recorded decision.

    Args:
        connection: An open read transaction.
        reference: The id of an event of the call, or the reference that its caller was given.

    Raises:
        InvalidArguments: The log has no such event, or it is no decision of the policies.
    """
    found = search(connection, reference)
    if found is None:
        raise InvalidArguments(f"The audit log has no decision of the policies under {reference}.")
    return found


def search(connection: Connection, reference: str) -> Recorded | None:
    """A recorded decision, or nothing where the log has none under that id.

    Args:
        connection: An open read transaction.
        reference: As in `find`.
    """
    call = select(events.c.call_id).where(or_(events.c.event_id == reference, events.c.call_id == reference)).limit(1)
    decision = select(events.c.leaf).where(
        events.c.call_id == call.scalar_subquery(), events.c.phase.in_((Phase.INTENT, Phase.DECISION))
    )
    leaf = connection.execute(decision).scalar()
    return recorded(leaf) if leaf is not None else None


def explain_recorded(connection: Connection, decision: Recorded, today: PolicySet, folder: Path) -> Explanation:
    """Explain a recorded decision by the policies that were in force then.

    Args:
        connection: An open read transaction.
        decision: It.
        today: The policies in force today.
        folder: Where their files are.

    Raises:
        Unavailable: The log does not hold what is needed.
    """
    slice_text = slice_texts(connection, {decision.slice_digest}).get(decision.slice_digest or "")
    wanted = select(policy_texts.c.digest, policy_texts.c.text).where(
        policy_texts.c.digest.in_((decision.policy_set, decision.schema))
    )
    kept = {row.digest: row.text for row in connection.execute(wanted)}
    if len(kept) < len({decision.policy_set, decision.schema}):
        raise Unavailable("The log does not hold the policies of this decision.")
    then = PolicySet(kept[decision.schema], kept[decision.policy_set])
    try:
        request = decision.request(slice_text)
    except NotKept as exc:
        raise Unavailable(exc.message) from exc
    shown = explain(then, folder, request, known=decision.known)
    kept_names = {name: tool.kept for name, tool in every_tool().items()}
    notes = []
    empty = sorted(decision.inputs - kept_names.get(decision.tool, frozenset()))
    blind = Candidate(then, kept_names).blind(decision)
    if blind:
        notes.append(
            f"The log does not keep {', '.join(empty)}, which {', '.join(sorted(blind))} may read: empty here."
        )
    if (shown.allowed, shown.policies) != (decision.allowed, decision.policies):
        notes.append("Asked again, the same policies answer otherwise than the log says.")
    by = Decision(decision.allowed, decision.policies, decision.errors, "")
    return Explanation(
        caller=decision.caller,
        tool=decision.tool,
        resource=shown.resource,
        known=decision.known,
        allowed=decision.allowed,
        policies=decision.policies,
        deciding=_deciding(then, folder, by),
        advice=shown.advice,
        different=different(then, request, by),
        policy_set=decision.policy_set,
        event={"event_id": decision.event_id, "recorded": decision.recorded},
        today=Candidate(today, kept_names).judge(decision, slice_text),
        notes=notes,
    )


def _deciding(policies: PolicySet, folder: Path, decision: Decision) -> tuple[Deciding, ...]:
    written, standing = texts(policies), places(policies, folder)
    return tuple(
        Deciding(name, policies.policies[name].effect, written[name], standing.get(name))
        for name in decision.policies
        if name in written
    )
