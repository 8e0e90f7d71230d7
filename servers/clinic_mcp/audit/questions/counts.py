"""How much there is of a period, without reading any event: the index on time has it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from clinic_mcp.audit.event import Phase
from clinic_mcp.audit.models import events
from clinic_mcp.audit.questions.places import literal


@dataclass(frozen=True)
class Counts:
    """A period in numbers.

    Args:
        events: All events.
        calls: Calls to tools.
        refused: Those the policies or a check refused.
        unauthenticated: Those nobody could be made out for.
        reads: How often somebody read the log.
    """

    events: int
    calls: int
    refused: int
    unauthenticated: int
    reads: int


def counts(connection: Connection, since: str | None = None, until: str | None = None) -> Counts:
    """Count a period's calls.

    Args:
        connection: An open read transaction.
        since: ISO 8601, from when on.
        until: ISO 8601, until before when.
    """
    query = select(events.c.phase, func.count().label("n")).group_by(events.c.phase)
    if since is not None:
        query = query.where(events.c.recorded >= since)
    if until is not None:
        query = query.where(events.c.recorded < until)
    found: dict[str, int] = {row.phase: row.n for row in connection.execute(query)}
    began = (Phase.INTENT, Phase.DECISION, Phase.UNAUTHENTICATED)
    return Counts(
        events=sum(found.values()),
        calls=sum(found.get(phase, 0) for phase in began),
        refused=found.get(Phase.DECISION, 0),
        unauthenticated=found.get(Phase.UNAUTHENTICATED, 0),
        reads=found.get(Phase.AUDIT_READ, 0),
    )


def refusals_by_policy(connection: Connection, since: str | None = None, until: str | None = None) -> dict[str, int]:
    """How many refusals each policy, or each check, had a part in, the most frequent first.

    Args:
        connection: An open read transaction.
        since: ISO 8601, from when on.
        until: ISO 8601, until before when.
    """
    query = select(events.c.policies, func.count().label("n")).where(events.c.decision == literal("deny"))
    if since is not None:
        query = query.where(events.c.recorded >= since)
    if until is not None:
        query = query.where(events.c.recorded < until)
    found: dict[str, int] = {}
    for row in connection.execute(query.group_by(events.c.policies)):
        for name in (row.policies or "").split():
            found[name] = found.get(name, 0) + row.n
    return dict(sorted(found.items(), key=lambda one: -one[1]))
