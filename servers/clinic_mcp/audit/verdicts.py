"""Verdicts on what people did beyond the ordinary: an emergency access, or a guardrail set aside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import Connection, or_, select, update

from clinic_mcp.audit.event import Commitment, Draft, Phase, uuid7
from clinic_mcp.audit.log import AuditLog
from clinic_mcp.core.clinic import now, review_items
from clinic_mcp.core.errors import Conflict, InvalidArguments, Refused

Word = Literal["justified", "not_justified"]
VERDICTS: tuple[Word, ...] = ("justified", "not_justified")
REASON_LENGTH = range(3, 1_001)
"""Characters a verdict's reason may have."""


@dataclass(frozen=True)
class Reviewer:
    """Who gives a verdict.

    Args:
        principal: As events name them.
        person: Their id among the clinic's people; none for the operator.
        about: What else the event says of them: session, network.
    """

    principal: Mapping[str, Any]
    person: str | None = None
    about: Mapping[str, Any] = field(default_factory=dict)


def give(log: AuditLog, clinic: str, item: str, verdict: str, reason: str, reviewer: Reviewer) -> None:
    """Write a verdict down, and put it on the record, in one transaction.

    Args:
        log: The audit log; its database holds the item.
        clinic: The clinic.
        item: The review item's id, e.g. `V-0123456789abcdef`, or that of the access or override it is about.
        verdict: `justified` or `not_justified`.
        reason: Why, in words. The item keeps them; the log has a commitment to them only.
        reviewer: Who says so.

    Raises:
        InvalidArguments: There is no such item or verdict, or the reason is too short or too long.
        Refused: The item is about what the reviewer did.
        Conflict: It has a verdict.
        AuditUnavailable: It cannot be recorded; nothing changed.
    """
    reason = reason.strip()
    if verdict not in VERDICTS:
        raise InvalidArguments("A verdict is justified or not justified.")
    if len(reason) not in REASON_LENGTH or "\x00" in reason:
        raise InvalidArguments(
            f"A verdict needs a reason of {REASON_LENGTH[0]} to {REASON_LENGTH[-1]:,} characters.",
            "Say in a sentence what you looked at.",
        )
    with log.transaction() as transaction:
        found = _found(transaction.connection, clinic, item)
        if found.person_id in (reviewer.person, reviewer.principal["id"]):
            raise Refused("Nobody judges what they did themselves.", "Ask another auditor.", code="own_case")
        moment = now()
        changed = transaction.connection.execute(
            update(review_items)
            .where(review_items.c.id == found.id, review_items.c.verdict.is_(None))
            .values(verdict=verdict, verdict_reason=reason, reviewer_id=reviewer.person, reviewed_at=moment)
        )
        if changed.rowcount != 1:
            raise Conflict("This has a verdict already.", "A verdict is given once.")
        body = {
            "principal": dict(reviewer.principal),
            **reviewer.about,
            "review": {"item": found.id, "kind": found.kind, "row": found.row_id, "person": found.person_id}
            | {"verdict": verdict, "reviewed_at": moment},
            "commitments": {"reason": Commitment.to(reason).text},
            "effect": {"table": review_items.name, "row": found.id, "kind": "update"},
        }
        transaction.record(Draft(Phase.REVIEW, "review.verdict", uuid7(), body, (found.patient_id,)))


def _found(connection: Connection, clinic: str, item: str) -> Any:
    query = select(
        review_items.c.id,
        review_items.c.kind,
        review_items.c.row_id,
        review_items.c.person_id,
        review_items.c.patient_id,
    )
    named = or_(review_items.c.id == item, review_items.c.row_id == item)
    row = connection.execute(query.where(named, review_items.c.clinic_id == clinic)).first()
    if row is None:
        raise InvalidArguments(
            "There is no such item in the review queue.",
            "`clinic-mcp audit break-glass` and `overrides` name those there are.",
        )
    return row
