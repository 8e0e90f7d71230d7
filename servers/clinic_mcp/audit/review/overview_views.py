"""The overview of a period, and its refusals by policy."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, func, select
from starlette.responses import Response

from clinic_mcp.audit.event import Phase
from clinic_mcp.audit.models import event_patients, events
from clinic_mcp.audit.questions.calls import refused
from clinic_mcp.audit.review import filters
from clinic_mcp.audit.review.charts import chart
from clinic_mcp.audit.review.people_views import REACHED, WHO, within
from clinic_mcp.audit.review.visit import Visit
from clinic_mcp.core.clinic import review_items, timestamp
from clinic_mcp.core.errors import InvalidArguments

PERIODS = {"24h": "24 hours", "7d": "7 days", "30d": "30 days", "90d": "90 days"}
"""What the overview can look back over: at most 91 columns a chart."""
COMBINATIONS = 1_000
"""Different sets of policies that refusals of a period are grouped by, at most."""


@dataclass(frozen=True)
class Numbers:
    """A period in numbers."""

    calls: int
    refused: int
    strangers: int
    callers: int
    patients: int
    waiting: int


@dataclass
class Refusal:
    """The refusals of a period by one policy: how many, of how many callers, and the last."""

    policy: str
    calls: int = 0
    last: str = ""
    callers: set[str] | None = None


def overview(visit: Visit) -> Response:
    """Calls and refusals over time, and what waits for a verdict."""
    period = visit.request.query_params.get("period", "7d")
    if period not in PERIODS:
        raise InvalidArguments(f"The overview looks back over {', '.join(PERIODS)}.")
    visit.record("overview", {"period": period})
    began = datetime.fromisoformat(filters.moment(period) or "")
    hourly = period == "24h"
    with visit.parts.database.read() as connection:
        buckets = _buckets(connection, began, hourly=hourly)
        counted: Counter[Phase] = Counter()
        for (_, phase), count in buckets.items():
            counted[phase] += count
        numbers = _numbers(connection, began, counted, hourly=hourly)
    names = _names(began, hourly=hourly)

    def series(*phases: Phase) -> list[tuple[str, int]]:
        return [(short, sum(buckets[name, phase] for phase in phases)) for name, short in names]

    charts = [
        chart("calls", "Calls", "calls", series(Phase.INTENT, Phase.DECISION)),
        chart("refusals", "Refused or turned away", "refusals", series(Phase.DECISION, Phase.UNAUTHENTICATED)),
    ]
    return visit.page("overview.html", period=period, periods=PERIODS, numbers=numbers, charts=charts, hourly=hourly)


def refusals(visit: Visit) -> Response:
    """Refused calls by the policy that refused them."""
    wanted = filters.read({"since": "30d", **visit.request.query_params}, visit.tools)
    visit.record("refusals", wanted.asked)
    query = (
        select(events.c.policies, WHO.label("who"), func.count().label("calls"), func.max(events.c.recorded))
        .where(events.c.phase == Phase.DECISION, refused(), *within(wanted.period))
        .group_by(events.c.policies, WHO)
        .order_by(func.count().desc())
        .limit(COMBINATIONS)
    )
    found: dict[str, Refusal] = {}
    with visit.parts.database.read() as connection:
        for row in connection.execute(query):
            for name in (row.policies or "").split():
                one = found.setdefault(name, Refusal(name, callers=set()))
                one.calls += row.calls
                one.last = max(one.last, row[3])
                if row.who is not None and one.callers is not None:
                    one.callers.add(row.who)
    lines = sorted(found.values(), key=lambda one: (-one.calls, one.policy))
    return visit.page("refusals.html", lines=lines, filter=wanted)


def _buckets(connection: Connection, began: datetime, *, hourly: bool) -> Counter[tuple[str, Phase]]:
    bucket = func.substr(events.c.recorded, 1, 13 if hourly else 10)
    query = (
        select(bucket, events.c.phase, func.count())
        .where(
            events.c.phase.in_((Phase.INTENT, Phase.DECISION, Phase.UNAUTHENTICATED)),
            events.c.recorded >= _start(began, hourly=hourly),
        )
        .group_by(bucket, events.c.phase)
    )
    return Counter({(row[0], Phase(row[1])): row[2] for row in connection.execute(query)})


def _start(began: datetime, *, hourly: bool) -> str:
    """The beginning of the first column: a whole hour or day."""
    return timestamp(began.replace(hour=began.hour if hourly else 0, minute=0, second=0, microsecond=0))


def _names(began: datetime, *, hourly: bool) -> list[tuple[str, str]]:
    """Each column's name in the log, and on the page."""
    step = timedelta(hours=1) if hourly else timedelta(days=1)
    at, last = datetime.fromisoformat(_start(began, hourly=hourly)), datetime.now(UTC)
    found = []
    while at <= last:
        text = at.isoformat()
        found.append((text[:13], f"{text[11:13]}:00") if hourly else (text[:10], text[5:10]))
        at += step
    return found


def _numbers(connection: Connection, began: datetime, counted: Counter[Phase], *, hourly: bool) -> Numbers:
    since = events.c.recorded >= _start(began, hourly=hourly)
    called = events.c.phase.in_((Phase.INTENT, Phase.DECISION))
    callers = connection.execute(select(func.count(WHO.distinct())).where(since, called)).scalar_one()
    alone = select(events.c.patient.label("patient")).where(since, REACHED, events.c.patient.is_not(None))
    among = (
        select(event_patients.c.patient_id)
        .select_from(event_patients.join(events, events.c.event_id == event_patients.c.event_id))
        .where(since, REACHED)
    )
    reached = alone.union(among).subquery()
    waiting = select(func.count()).select_from(review_items).where(review_items.c.verdict.is_(None))
    return Numbers(
        calls=counted[Phase.INTENT] + counted[Phase.DECISION],
        refused=counted[Phase.DECISION],
        strangers=counted[Phase.UNAUTHENTICATED],
        callers=callers,
        patients=connection.execute(select(func.count()).select_from(reached)).scalar_one(),
        waiting=connection.execute(waiting).scalar_one(),
    )
