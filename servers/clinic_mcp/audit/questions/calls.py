"""A call as an auditor reads it: its events folded into one line, page by page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, or_, select

from clinic_mcp.audit.event import Phase
from clinic_mcp.audit.models import event_patients, events

PHASES = (Phase.INTENT, Phase.DECISION, Phase.OUTCOME, Phase.UNAUTHENTICATED)
"""The phases a call's events can have."""
DEEDS = (*PHASES, Phase.ADMIN, Phase.AUDIT_READ, Phase.REVIEW)
"""Those, and what people did beside tools: consultations, keys, people, reading the log, and verdicts."""


BATCH = 500
"""Calls read from the database at a time."""


@dataclass
class Call:
    """One call to a tool.

    Args:
        call_id: Its id, which the caller was given with a refusal.
        number: Where it began in the log; what a next page continues from.
        time: When it came in, ISO 8601 in UTC.
        who: The principal, as `Type:id`; none where nobody was identified.
        agent: The agent, where one acted.
        behalf: The human it acted for.
        consultation: In which consultation.
        server: The server.
        tool: The tool, where the server has it; the code of what was done, where it was no call to a tool.
        patients: Ids of the patients asked about or answered with.
        decision: `allow` or `deny`.
        policies: The policies that decided, or the check that refused.
        purpose: HL7 v3 PurposeOfUse.
        reason: The coded reason of an emergency or override, where there is one.
        ended: `ok`, `error`, `refused`, `unauthenticated`, `unknown`, or `in doubt` while nothing says.
        peer: The network peer.
    """

    call_id: str
    number: int
    time: str
    who: str | None = None
    agent: str | None = None
    behalf: str | None = None
    consultation: str | None = None
    server: str | None = None
    tool: str | None = None
    patients: list[str] = field(default_factory=list)
    decision: str | None = None
    policies: list[str] = field(default_factory=list)
    purpose: str | None = None
    reason: str | None = None
    ended: str = "in doubt"
    peer: str | None = None


@dataclass(frozen=True)
class Page:
    """Calls, the newest first, and where the next page begins, if there is one."""

    calls: list[Call]
    more: int | None


def about(patient: str) -> ColumnElement[bool]:
    """The condition that an event is about a patient, alone or among others."""
    among = select(event_patients.c.event_id).where(event_patients.c.patient_id == patient)
    return or_(events.c.patient == patient, events.c.event_id.in_(among))


def page(
    connection: Connection,
    conditions: Sequence[ColumnElement[bool]],
    *,
    limit: int,
    before: int | None = None,
    since: str | None = None,
    until: str | None = None,
    phases: Sequence[Phase] = PHASES,
) -> Page:
    """The calls of which some event meets the conditions.

    Args:
        connection: An open read transaction.
        conditions: Conditions on `events`; all must hold for one event of the call.
        limit: Calls at most.
        before: Only calls that began before this place in the log: the last page's `more`.
        since: ISO 8601, from when on.
        until: ISO 8601, until before when.
        phases: Which events count.
    """
    found = select(events.c.id, events.c.call_id).where(events.c.phase.in_(phases), *conditions)
    if since is not None:
        found = found.where(events.c.recorded >= since)
    if until is not None:
        found = found.where(events.c.recorded < until)
    if before is not None:
        found = found.where(events.c.id < before)
    first: dict[str, int] = {}
    more = None
    for row in connection.execute(found.order_by(events.c.id.desc()).limit(limit * 4)):
        if row.call_id not in first and len(first) == limit:
            break
        first[row.call_id] = row.id
        more = row.id
    else:
        more = more if len(first) >= limit else None
    return Page(_load(connection, list(first), phases), more)


def every(connection: Connection, *, since: str | None = None, until: str | None = None) -> Iterator[Call]:
    """Every call of a period, the oldest first, a few hundred in memory at a time.

    Args:
        connection: An open read transaction: one picture of the log.
        since: ISO 8601, from when on.
        until: ISO 8601, until before when.
    """
    began = (Phase.INTENT, Phase.DECISION, Phase.UNAUTHENTICATED)  # one of them is each call's first event
    last = 0
    while True:
        found = select(events.c.id, events.c.call_id).where(events.c.id > last, events.c.phase.in_(began))
        if since is not None:
            found = found.where(events.c.recorded >= since)
        if until is not None:
            found = found.where(events.c.recorded < until)
        rows = connection.execute(found.order_by(events.c.id).limit(BATCH)).all()
        if not rows:
            return
        last = rows[-1].id
        yield from reversed(_load(connection, [row.call_id for row in rows], PHASES))


def _load(connection: Connection, call_ids: Sequence[str], phases: Sequence[Phase]) -> list[Call]:
    calls: dict[str, Call] = {}
    for start in range(0, len(call_ids), 500):
        rows = connection.execute(
            select(events.c.id, events.c.call_id, events.c.leaf)
            .where(events.c.call_id.in_(call_ids[start : start + 500]))
            .order_by(events.c.id)
        )
        for row in rows:
            record = json.loads(row.leaf)
            if record["phase"] in phases:
                began = record.get("started", record["recorded"])
                _add(calls.setdefault(row.call_id, Call(row.call_id, row.id, began)), record)
    return sorted(calls.values(), key=lambda call: call.number, reverse=True)


def _add(call: Call, record: dict[str, Any]) -> None:
    """Fold one more event of a call into it."""
    principal, made = record.get("principal"), record.get("call", {})
    if principal is not None:
        call.who = f"{principal['type']}:{principal['id']}"
    call.agent = record.get("agent", {}).get("id", call.agent)
    call.behalf = next((one["sub"] for one in record.get("delegation", []) if "sub" in one), call.behalf)
    call.consultation = record.get("session", {}).get("consultation", call.consultation)
    call.server = made.get("server", call.server)
    call.tool = made.get("tool", call.tool)
    call.patients = list(dict.fromkeys([*call.patients, *record.get("patients", [])]))
    call.purpose = record.get("purpose", call.purpose)
    call.peer = record.get("network", {}).get("peer", call.peer)
    decision = record.get("decision")
    if decision is not None:
        call.decision, call.policies = decision["effect"], decision["policies"]
    context = record.get("cedar", {}).get("context", {})
    emergency = context.get("facts", {}).get("emergency", {}) if "physician-breaks-glass" in call.policies else {}
    call.reason = emergency.get("reason") or context.get("input", {}).get("reason_code") or call.reason
    if record["phase"] not in PHASES:
        call.tool, call.ended = record["code"], "ok"
    elif record["phase"] == Phase.DECISION:
        call.ended = "refused"
    elif record["phase"] == Phase.UNAUTHENTICATED:
        call.ended, call.reason = "unauthenticated", record.get("reason")
    elif record["phase"] == Phase.OUTCOME:
        call.ended = record.get("outcome", {}).get("status", "unknown")
