"""Where in the log the events are that meet some conditions: read from one index each, the newest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from operator import or_ as either
from typing import Any

from sqlalchemy import BooleanClauseList, ColumnElement, Connection, bindparam, select

from clinic_mcp.audit.models import events


def literal(value: str) -> Any:
    """A value that stands in the statement itself: an index over some rows is used for no other.

    Args:
        value: One of ours, never a caller's.
    """
    return bindparam(None, value, literal_execute=True)


def alternatives(conditions: Sequence[ColumnElement[bool]]) -> Iterator[list[ColumnElement[bool]]]:
    """The conditions without any `or_` at the top: the events that meet one list or another are those that meet all.

    A database reads `a = 1 OR b = 2` in the order of neither's index, and sorts what it found. Two reads that each stop
    at the page's end cost as much as the page is long.
    """
    return (list(chosen) for chosen in product(*map(_parts, conditions)))


def _parts(condition: ColumnElement[bool]) -> Sequence[ColumnElement[bool]]:
    if isinstance(condition, BooleanClauseList) and condition.operator is either:
        return [part for one in condition.clauses for part in _parts(one)]
    return [condition]


def places(
    connection: Connection,
    alternatives: Iterator[list[ColumnElement[bool]]],
    *,
    limit: int,
    before: int | None = None,
    lowest: int = 0,
) -> list[Any]:
    """Rows with `id` and `call_id`, the newest first, each once.

    Args:
        connection: An open read transaction.
        alternatives: Lists of conditions, of which one must hold.
        limit: Rows at most.
        before: Only rows before this place.
        lowest: Only rows from this place on.
    """
    found: dict[int, Any] = {}
    for conditions in alternatives:
        query = select(events.c.id, events.c.call_id).where(*conditions)
        if before is not None:
            query = query.where(events.c.id < before)
        if lowest:
            query = query.where(events.c.id >= lowest)
        found |= {row.id: row for row in connection.execute(query.order_by(events.c.id.desc()).limit(limit))}
    return [found[place] for place in sorted(found, reverse=True)[:limit]]
