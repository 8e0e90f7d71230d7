"""Who saw a patient, and what a person or an agent did: the same calls from two sides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, case, func, select, union
from starlette.responses import Response

from clinic_mcp.audit.event import Phase
from clinic_mcp.audit.models import event_patients, events
from clinic_mcp.audit.questions.calls import about, made_by, page
from clinic_mcp.audit.review import filters
from clinic_mcp.audit.review.filters import PAGE, Filter, Period
from clinic_mcp.audit.review.visit import Visit
from clinic_mcp.core.clinic import people, review_items

MOST = 200
"""Callers or patients of a list, at most."""
WHO = func.coalesce(events.c.agent, events.c.principal)
"""Who made a call: the agent, or the person themselves."""
REACHED = events.c.phase.in_((Phase.INTENT, Phase.OUTCOME))
"""Events of calls that were allowed: they ask about patients, or answer with them."""


@dataclass(frozen=True)
class Line:
    """A caller, or a patient, in a list: how many calls were allowed and refused, the last one, distinct patients."""

    name: str
    allowed: int
    refused: int
    last: str
    patients: int = 0


def patient(visit: Visit) -> Response:
    """A patient's timeline: who asked for them, who was refused, and who broke the glass."""
    name = filters.patient(visit.request.path_params["patient"])
    wanted = filters.read(visit.request.query_params, visit.tools)
    visit.record("patient", wanted.asked, [name])
    with visit.parts.database.read() as connection:
        found = page(connection, [about(name)], limit=PAGE, before=wanted.before, **wanted.period)
        mentioned = events.c.call_id.in_(select(events.c.call_id).where(about(name)).correlate(None))
        callers = _lines(connection, WHO, [mentioned, *_within(wanted)])
        items = connection.execute(
            select(
                review_items.c.id,
                review_items.c.kind,
                review_items.c.person_id,
                review_items.c.opened_at,
                review_items.c.verdict,
            )
            .where(review_items.c.patient_id == name)
            .order_by(review_items.c.opened_at.desc())
            .limit(MOST)
        ).all()
    days: dict[str, list[Any]] = {}
    for call in found.calls:
        days.setdefault(call.time[:10], []).append(call)
    return visit.page(
        "patient.html", patient=name, days=days, more=found.more, callers=callers, items=items, filter=wanted
    )


def callers(visit: Visit) -> Response:
    """Every person and agent that called, with how many distinct patients each reached."""
    wanted = filters.read(visit.request.query_params, visit.tools)
    visit.record("callers", wanted.asked)
    with visit.parts.database.read() as connection:
        found = _lines(connection, WHO, [WHO.is_not(None), *_within(wanted)])
        reached = _distinct_patients(connection, _within(wanted))
        names = _names(connection)
    lines = [Line(one.name, one.allowed, one.refused, one.last, reached.get(one.name, 0)) for one in found]
    return visit.page("callers.html", lines=lines, names=names, filter=wanted, most=MOST)


def caller(visit: Visit) -> Response:
    """What one person or agent did, was refused, and whose records it reached."""
    name = filters.caller(visit.request.path_params["who"])
    wanted = filters.read(visit.request.query_params, visit.tools)
    visit.record("caller", {**wanted.asked, "who": name})
    with visit.parts.database.read() as connection:
        found = page(
            connection, [made_by(name)], limit=PAGE, before=wanted.before, phases=wanted.phases, **wanted.period
        )
        patients = _reached(connection, [made_by(name), *_within(wanted)])
        total = _lines(connection, WHO, [made_by(name), *_within(wanted)])
        person = connection.execute(
            select(people.c.name, people.c.role, people.c.active).where(people.c.id == name)
        ).first()
    return visit.page(
        "caller.html",
        name=name,
        person=person,
        calls=found.calls,
        more=found.more,
        patients=patients,
        allowed=sum(one.allowed for one in total),
        refused=sum(one.refused for one in total),
        filter=wanted,
        most=MOST,
    )


def _lines(connection: Connection, what: ColumnElement[Any], conditions: list[ColumnElement[bool]]) -> list[Line]:
    """How many calls of each were allowed and refused, whoever called most first."""
    allowed = func.sum(case((events.c.phase == Phase.INTENT, 1), else_=0))
    refused = func.sum(case((events.c.phase == Phase.DECISION, 1), else_=0))
    query = (
        select(what.label("name"), allowed.label("allowed"), refused.label("refused"), func.max(events.c.recorded))
        .where(events.c.phase.in_((Phase.INTENT, Phase.DECISION)), *conditions)
        .group_by(what)
        .order_by((allowed + refused).desc(), what)
        .limit(MOST)
    )
    return [Line(row[0] or "somebody", int(row[1]), int(row[2]), row[3]) for row in connection.execute(query)]


def _distinct_patients(connection: Connection, conditions: list[ColumnElement[bool]]) -> dict[str, int]:
    pairs = union(*_pairs(WHO, conditions)).subquery()
    query = select(pairs.c.who, func.count()).group_by(pairs.c.who)
    return {row[0]: row[1] for row in connection.execute(query) if row[0] is not None}


def _reached(connection: Connection, conditions: list[ColumnElement[bool]]) -> list[Any]:
    """The patients that some calls reached, each with the number of calls, most first."""
    named = union(*_pairs(events.c.call_id, conditions)).subquery()
    calls = func.count()
    query = select(named.c.patient, calls.label("calls")).group_by(named.c.patient)
    return list(connection.execute(query.order_by(calls.desc(), named.c.patient).limit(MOST + 1)))


def _pairs(who: ColumnElement[Any], conditions: list[ColumnElement[bool]]) -> list[Select[Any]]:
    """Who and which patient, of events about one patient and of those about several."""
    alone = select(who.label("who"), events.c.patient.label("patient"))
    among = select(who.label("who"), event_patients.c.patient_id.label("patient")).select_from(
        events.join(event_patients, event_patients.c.event_id == events.c.event_id)
    )
    return [
        alone.where(REACHED, events.c.patient.is_not(None), *conditions),
        among.where(REACHED, *conditions),
    ]


def _within(wanted: Filter) -> list[ColumnElement[bool]]:
    return within(wanted.period)


def within(period: Period) -> list[ColumnElement[bool]]:
    """The condition that an event was recorded in a period."""
    found: list[ColumnElement[bool]] = []
    if period["since"] is not None:
        found.append(events.c.recorded >= period["since"])
    if period["until"] is not None:
        found.append(events.c.recorded < period["until"])
    return found


def _names(connection: Connection) -> dict[str, str]:
    known = connection.execute(select(people.c.id, people.c.name).limit(5_000))
    return {row.id: row.name for row in known}
