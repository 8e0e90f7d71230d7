"""Which calls are in doubt: allowed, and nothing says how they ended.

A call that has an outcome keeps it, so a stretch of the log that was looked through once need not be again: how far
that is, and the few calls that were open in it, stands on the log as `audit.settled`. `audit verify` believes none of
that and counts from the events.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, exists, func, select

from clinic_mcp.audit.event import Draft, Phase, uuid7
from clinic_mcp.audit.models import events
from clinic_mcp.audit.questions.calls import Page, folded
from clinic_mcp.audit.questions.places import literal
from clinic_mcp.audit.tree import LATE

SETTLED = "audit.settled"
REMEMBERED = 100
"""Open calls that a mark names, at most: it is not put beyond them."""
WORTH = 5_000
"""How many events further a mark must be than the last one to be put on the log."""
BATCH = 500


@dataclass(frozen=True)
class Settled:
    """How far the log was looked through.

    Args:
        through: The last place.
        open: The places up to there at which a call was still open.
    """

    through: int = 0
    open: tuple[int, ...] = ()

    def draft(self, who: dict[str, Any]) -> Draft:
        """The mark, for the log.

        Args:
            who: The principal that looked.
        """
        body = {"principal": who, "settled": {"through": self.through, "open": list(self.open)}}
        return Draft(Phase.AUDIT_READ, SETTLED, uuid7(), body)


@dataclass(frozen=True)
class Doubt:
    """The calls in doubt.

    Args:
        page: A page of them.
        count: How many there are.
        mark: A mark to put on the log, so that the next one who asks need not read as much; none if it is not worth it.
    """

    page: Page
    count: int
    mark: Settled | None


@dataclass
class _Seen:
    limit: int
    before: int | None
    count: int = 0
    newest: deque[int] = field(default_factory=deque)

    def add(self, places: Iterable[int]) -> Iterator[int]:
        for place in places:
            self.count += 1
            if self.before is None or place < self.before:
                self.newest.append(place)
                if len(self.newest) > self.limit + 1:
                    self.newest.popleft()
            yield place


def in_doubt(connection: Connection, *, limit: int, before: int | None = None) -> Doubt:
    """Look for calls in doubt, from where the last look ended.

    Args:
        connection: An open read transaction.
        limit: Calls at most, the newest.
        before: Only calls before this place in the log: the last page's `more`.
    """
    known = settled(connection)
    seen = _Seen(limit, before)
    still = list(seen.add(_still_open(connection, known.open)))
    end: int = connection.execute(select(func.max(events.c.id))).scalar() or 0
    # On PostgreSQL a transaction may yet commit below the last place, as in `tree.pending`.
    sure = end if connection.dialect.name == "sqlite" else end - LATE
    through = max(sure, known.through)
    for place in seen.add(_open_after(connection, known.through, end)):
        if place > through:
            continue
        if len(still) < REMEMBERED:
            still.append(place)
        else:
            through = min(through, place - 1)
    mark = Settled(through, tuple(still)) if through - known.through >= WORTH else None
    shown = list(seen.newest)[-limit:]
    more = shown[0] if len(seen.newest) > limit else None
    return Doubt(Page(folded(connection, _calls(connection, shown)), more), seen.count, mark)


def settled(connection: Connection) -> Settled:
    """The last mark on the log."""
    query = (
        select(events.c.leaf)
        .where(events.c.phase == literal("audit_read"), events.c.code == SETTLED)
        .order_by(events.c.id.desc())
        .limit(1)
    )
    leaf = connection.execute(query).scalar()
    if leaf is None:
        return Settled()
    mark = json.loads(leaf)["settled"]
    return Settled(mark["through"], tuple(mark["open"]))


_outcome = events.alias()
_OPEN = (events.c.phase == literal("intent")) & ~exists(
    select(_outcome.c.id).where(_outcome.c.call_id == events.c.call_id, _outcome.c.phase == literal("outcome"))
)


def _still_open(connection: Connection, places: Sequence[int]) -> Iterator[int]:
    query = select(events.c.id).where(events.c.id.in_(places), _OPEN).order_by(events.c.id)
    yield from connection.execute(query).scalars()


def _open_after(connection: Connection, start: int, end: int) -> Iterator[int]:
    """The places of open intents, read in stretches of the log, so that no database thinks of sorting it all."""
    while start < end:
        query = select(events.c.id).where(events.c.id > start, events.c.id <= start + LATE, _OPEN)
        yield from connection.execute(query.order_by(events.c.id)).scalars()
        start += LATE


def _calls(connection: Connection, places: Sequence[int]) -> dict[str, int]:
    query = select(events.c.id, events.c.call_id).where(events.c.id.in_(places))
    return {row.call_id: row.id for row in connection.execute(query)}
