"""A call as an auditor reads it: its events folded into one line, page by page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, case, func, or_, select

from clinic_mcp.audit.event import Phase
from clinic_mcp.audit.models import event_patients, events
from clinic_mcp.audit.questions.places import alternatives, literal, places

PHASES = (Phase.INTENT, Phase.DECISION, Phase.OUTCOME, Phase.UNAUTHENTICATED)
"""The phases a call's events can have."""
DEEDS = (*PHASES, Phase.ADMIN, Phase.AUDIT_READ, Phase.DISCLOSURE, Phase.REVIEW)
"""Those, and what people did beside tools: consultations, keys, people, disclosures, verdicts, and reading the log."""
BEGAN = (Phase.INTENT, Phase.DECISION, Phase.UNAUTHENTICATED)
"""One of them is each call's first event."""

BATCH = 500
"""Calls read from the database at a time."""
KINDS = ("Clinician", "Auditor", "Administrator", "Patient", "Agent", "Client", "Operator")
"""The types a principal can have."""


@dataclass
class Call:
    """One call to a tool.

    Args:
        call_id: Its id, which the caller was given with a refusal.
        number: Where in the log it was found; what a next page continues from.
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


def made_by(who: str) -> ColumnElement[bool]:
    """The condition that an event is of what a person, a client or an agent did, by its id."""
    return or_(events.c.agent == who, *(events.c.principal == f"{kind}:{who}" for kind in KINDS))


def refused(policy: str | None = None) -> ColumnElement[bool]:
    """The condition that an event is a refusal, by any policy or check or by one."""
    denied: ColumnElement[bool] = events.c.decision == literal("deny")
    if policy is None:
        return denied
    return and_(denied, (" " + events.c.policies + " ").contains(f" {policy} ", autoescape=True))


def named(name: str) -> ColumnElement[bool]:
    """The condition that an event is of the call, the consultation or the event of this id."""
    of_event = select(events.c.call_id).where(events.c.event_id == name).scalar_subquery()
    return or_(events.c.call_id == name, events.c.consultation == name, events.c.call_id == of_event)


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

    A call stands where its first such event does, which never changes: whatever is written while somebody turns
    pages, no call that was there at the first is on two of them or on none.

    Args:
        connection: An open read transaction.
        conditions: Conditions on `events`; all must hold for one event of the call. An `or_` of indexed columns is
            read as one read of each index.
        limit: Calls at most.
        before: Only calls before this place in the log: the last page's `more`.
        since: ISO 8601, from when on.
        until: ISO 8601, until before when.
        phases: Which events count.
    """
    wanted = [_among(phases), *conditions]
    if since is not None:
        wanted.append(events.c.recorded >= since)
    if until is not None:
        wanted.append(events.c.recorded < until)
    lowest = 0
    if not conditions and (since is not None or until is not None):
        # Without another index to follow, the rows outside the period would be read until there are enough.
        lowest, highest = bounds(connection, since, until)
        before = highest + 1 if before is None else min(before, highest + 1)
    found: dict[str, int] = {}
    while len(found) <= limit:
        rows = places(connection, alternatives(wanted), limit=2 * limit + 2, before=before, lowest=lowest)
        first = _first_places(connection, {row.call_id for row in rows}, wanted)
        found |= {row.call_id: row.id for row in rows if first[row.call_id] == row.id}
        if len(rows) < 2 * limit + 2:
            break
        before = rows[-1].id
    shown = dict(list(found.items())[:limit])
    return Page(folded(connection, shown, phases), list(shown.values())[-1] if len(found) > limit else None)


def every(connection: Connection, *, since: str | None = None, until: str | None = None) -> Iterator[Call]:
    """Every call of a period, the oldest first, a few hundred in memory at a time.

    Args:
        connection: An open read transaction: one picture of the log.
        since: ISO 8601, from when on.
        until: ISO 8601, until before when.
    """
    last, highest = bounds(connection, since, until)
    last -= 1
    while True:
        found = select(events.c.id, events.c.call_id).where(
            events.c.id > last, events.c.id <= highest, events.c.phase.in_(BEGAN)
        )
        if since is not None:
            found = found.where(events.c.recorded >= since)
        if until is not None:
            found = found.where(events.c.recorded < until)
        rows = connection.execute(found.order_by(events.c.id).limit(BATCH)).all()
        if not rows:
            return
        last = rows[-1].id
        yield from reversed(folded(connection, {row.call_id: row.id for row in rows}, PHASES))


def bounds(connection: Connection, since: str | None, until: str | None) -> tuple[int, int]:
    """The first and the last place in the log of a period's events, from the index on time.

    Places and times do not run quite alike, because clocks are set and transactions overlap: what lies between them
    may still be of another time.

    Args:
        connection: An open read transaction.
        since: ISO 8601, from when on; none is from the beginning.
        until: ISO 8601, until before when; none is to the end.
    """
    if since is None and until is None:
        return 0, connection.execute(select(func.max(events.c.id))).scalar() or 0
    # Of a sum, because PostgreSQL would look for the least and the greatest by walking through all places.
    place = events.c.id + 0
    query = select(func.min(place), func.max(place))
    if since is not None:
        query = query.where(events.c.recorded >= since)
    if until is not None:
        query = query.where(events.c.recorded < until)
    lowest, highest = connection.execute(query).one()
    return lowest or 0, highest or 0


def folded(connection: Connection, found: dict[str, int], phases: Sequence[Phase] = PHASES) -> list[Call]:
    """Calls with all their events, the newest first.

    Args:
        connection: An open read transaction.
        found: The calls' places by their ids.
        phases: Which events count.
    """
    calls: dict[str, Call] = {}
    call_ids = list(found)
    for start in range(0, len(call_ids), BATCH):
        rows = connection.execute(_LEAVES, {"calls": call_ids[start : start + BATCH]})
        for row in rows:
            record = json.loads(row.leaf)
            if record["phase"] in phases:
                began = record.get("started", record["recorded"])
                _add(calls.setdefault(row.call_id, Call(row.call_id, found[row.call_id], began)), record)
    return sorted(calls.values(), key=lambda call: call.number, reverse=True)


_LEAVES = (
    select(events.c.id, events.c.call_id, events.c.leaf)
    .where(events.c.call_id.in_(bindparam("calls", expanding=True)))
    .order_by(events.c.id)
)


def _among(phases: Sequence[Phase]) -> ColumnElement[bool]:
    only: ColumnElement[bool] = events.c.phase == literal(str(phases[0]))
    return only if len(phases) == 1 else events.c.phase.in_(phases)


def _first_places(connection: Connection, call_ids: set[str], wanted: Sequence[ColumnElement[bool]]) -> dict[str, int]:
    # In a CASE, because the calls are what to look up by: a database must not think of the conditions' indexes.
    meets = case((and_(*wanted), 1), else_=0) == 1
    first: dict[str, int] = {}
    ordered = sorted(call_ids)
    for start in range(0, len(ordered), BATCH):
        query = select(events.c.call_id, func.min(events.c.id).label("place")).where(
            events.c.call_id.in_(ordered[start : start + BATCH]), meets
        )
        first |= {row.call_id: row.place for row in connection.execute(query.group_by(events.c.call_id))}
    return first


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
