"""Detail: the bodies behind an event's commitments, kept beside the log where they can be erased."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, func, or_, select

from clinic_mcp.audit.event import Commitment
from clinic_mcp.audit.findings import Found
from clinic_mcp.audit.models import detail, event_patients, events
from clinic_mcp.audit.source import BATCH


@dataclass(frozen=True)
class Kept:
    """One body.

    Args:
        part: `arguments` or `result`.
        recorded: When it was kept, ISO 8601.
        body: The JSON value.
        holds: Whether it is what the event committed to.
    """

    part: str
    recorded: str
    body: Any
    holds: bool


def of_event(connection: Connection, event_id: str) -> list[Kept]:
    """The bodies kept of an event."""
    query = (
        select(detail, events.c.leaf)
        .join_from(detail, events, events.c.event_id == detail.c.event_id)
        .where(detail.c.event_id == event_id)
        .order_by(detail.c.part)
    )
    return [Kept(row.part, row.recorded, _value(row.body), _holds(row)) for row in connection.execute(query)]


def _value(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _holds(row: Any) -> bool:
    record = json.loads(row.leaf)
    kept = Commitment(bytes(row.salt), bytes(row.body))
    return bool(record.get("commitments", {}).get(row.part) == kept.text and record["recorded"] == row.recorded)


def check_details(connection: Connection) -> None:
    """Hold every kept body to its event. What is missing was erased, or never kept: that is no finding.

    Raises:
        Found: One is not what its event committed to, or its event is not in the log.
    """
    query = select(detail, events.c.leaf).select_from(detail.outerjoin(events, events.c.event_id == detail.c.event_id))
    for row in connection.execute(query, execution_options={"yield_per": BATCH}):
        if row.leaf is None:
            raise Found(f"Detail is kept of event {row.event_id}, which is not in the log.", row.event_id)
        if not _holds(row):
            raise Found(
                f"The {row.part} kept of event {row.event_id} are not what the event committed to.", row.event_id
            )


def overdue(connection: Connection, cutoff: str) -> int:
    """How many bodies were kept before a moment.

    Args:
        connection: An open transaction.
        cutoff: ISO 8601.
    """
    query = select(func.count()).select_from(detail).where(detail.c.recorded < cutoff)
    return int(connection.execute(query).scalar_one())


def erase(connection: Connection, patient: str | None, event_id: str | None) -> tuple[int, int]:
    """Remove bodies and salts of the calls that named a patient, or of one event, or where both match.

    The calls, because the words of a search name a patient whom only its answer is recorded to be about. Where a call
    was about several patients, the whole of its detail goes.

    Args:
        connection: An open write transaction.
        patient: The patient's id.
        event_id: The event.

    Returns:
        How many bodies went, and of how many events.
    """
    conditions: list[ColumnElement[bool]] = []
    if patient is not None:
        among = select(event_patients.c.event_id).where(event_patients.c.patient_id == patient)
        calls = select(events.c.call_id).where(or_(events.c.patient == patient, events.c.event_id.in_(among)))
        conditions.append(detail.c.event_id.in_(select(events.c.event_id).where(events.c.call_id.in_(calls))))
    if event_id is not None:
        conditions.append(detail.c.event_id == event_id)
    if not conditions:
        return 0, 0
    of = connection.execute(select(func.count(detail.c.event_id.distinct())).where(*conditions)).scalar_one()
    return connection.execute(delete(detail).where(*conditions)).rowcount, int(of)
