"""What a purge would take: events under a signed checkpoint that is older than the retention."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select

from clinic_mcp.audit.event import Phase
from clinic_mcp.audit.models import checkpoints, detail, event_patients, events, leaves, purges
from clinic_mcp.audit.retention.statement import PurgedCall, years_before
from clinic_mcp.core.clinic import timestamp
from clinic_mcp.core.db import Database
from clinic_mcp.core.errors import Conflict

BATCH = 1_000
"""Events looked at in one read transaction: what stands under a checkpoint no longer changes."""
DONE = ("ok", "unknown")
"""Outcomes of calls that may have written a row."""
Progress = Callable[[int], None]


@dataclass
class Plan:
    """A purge before it is made.

    Args:
        start: Where the last one ended.
        upto: Where this one ends.
        cutoff: Everything it takes was recorded before, ISO 8601.
        years: The retention.
        root: The checkpoint's root.
        note: The checkpoint's note.
    """

    start: int
    upto: int
    cutoff: str
    years: int
    root: str
    note: str
    first: str = ""
    last: str = ""
    events: int = 0
    patients: int = 0
    details: int = 0
    open: dict[str, int] = field(default_factory=dict)
    """Calls whose intent it takes and whose outcome comes later or never, and the place of the intent."""


def last_purge(connection: Connection) -> Any:
    """The newest purge that is listed, or nothing."""
    return connection.execute(select(purges).order_by(purges.c.upto.desc()).limit(1)).first()


def choose(connection: Connection, years: int, moment: datetime) -> Plan | None:
    """The largest purge the retention allows, or nothing where nothing is old enough.

    Args:
        connection: An open read transaction.
        years: For how many years events are kept.
        moment: Now.
    """
    cutoff, last = timestamp(years_before(moment, years)), last_purge(connection)
    start = 0 if last is None else last.upto
    query = (
        select(checkpoints)
        .where(checkpoints.c.recorded < cutoff, checkpoints.c.size > start)
        .order_by(checkpoints.c.size.desc(), checkpoints.c.id)
    )
    row = connection.execute(query.limit(1)).first()
    return None if row is None else Plan(start, row.size, cutoff, years, row.root, row.note)


def examine(database: Database, plan: Plan, progress: Progress = lambda _: None) -> Iterator[PurgedCall]:
    """Read what the plan would take, counting it into the plan.

    Args:
        database: The clinic's.
        plan: The plan.
        progress: Called with the number of events read so far.

    Returns:
        What is to be kept of the calls, in the order of the tree but for the intents of open ones, which come last.

    Raises:
        Conflict: Something in it may not be purged yet.
    """
    started: dict[str, tuple[str, str]] = {}
    for index, row in prefix(database, plan.start, plan.upto):
        record = json.loads(row.leaf)
        if record["recorded"] >= plan.cutoff:
            raise Conflict("An event under the old checkpoint is younger than the retention.", "Run `audit verify`.")
        plan.first, plan.last = min(plan.first or "~", record["recorded"]), max(plan.last, record["recorded"])
        plan.events += 1
        _follow(started, record)
        if row.phase == Phase.INTENT:
            plan.open[row.call_id] = index
        elif row.phase == Phase.OUTCOME:
            plan.open.pop(row.call_id, None)
        effect = record.get("effect")
        if effect and (row.phase in (Phase.ADMIN, Phase.REVIEW) or row.outcome in DONE):
            yield PurgedCall(index, row.call_id, str(effect["table"]), str(effect["row"]))
        if plan.events % BATCH == 0:
            progress(plan.events)
    yield from (PurgedCall(index, call_id, None, None) for call_id, index in plan.open.items())
    with database.read() as connection:
        _check_ended(connection, started)
        below = select(leaves.c.event_id).where(leaves.c.leaf_index >= plan.start, leaves.c.leaf_index < plan.upto)
        for table, name in ((event_patients, "patients"), (detail, "details")):
            query = select(func.count()).select_from(table).where(table.c.event_id.in_(below))
            setattr(plan, name, int(connection.execute(query).scalar_one()))
    progress(plan.events)


def prefix(database: Database, start: int, upto: int) -> Iterator[tuple[int, Any]]:
    """The events between two places that are there, each with its place; a short read transaction for each batch."""
    for low in range(start, upto, BATCH):
        query = (
            select(leaves.c.leaf_index, events)
            .join_from(leaves, events, events.c.id == leaves.c.event)
            .where(leaves.c.leaf_index >= low, leaves.c.leaf_index < min(low + BATCH, upto))
            .order_by(leaves.c.leaf_index)
        )
        with database.read() as connection:
            rows = connection.execute(query).all()
        yield from ((row.leaf_index, row) for row in rows)


def _follow(started: dict[str, tuple[str, str]], record: dict[str, Any]) -> None:
    writer, code = record["writer"], record["code"]
    if code == "server.started":
        started[writer["boot_id"]] = (writer["server"], record["recorded"])
    elif code == "server.stopped":
        started.pop(writer["boot_id"], None)
    elif code == "server.lost":
        started.pop(record["lost"]["boot_id"], None)


def _check_ended(connection: Connection, started: dict[str, tuple[str, str]]) -> None:
    """Every start that would be taken has ended: a later start closes the calls a lost one left, and finds it by its
    first event."""
    query = select(events.c.leaf).where(
        events.c.phase == Phase.LIFECYCLE, events.c.server.in_({server for server, _ in started.values()})
    )
    for row in connection.execute(query):
        record = json.loads(row.leaf)
        if record["code"] != "server.started":
            _follow(started, record)
    for server, recorded in started.values():
        raise Conflict(
            f"{server} started on {recorded[:10]}, and nothing on record says that it stopped.",
            "Start it once more: that closes the calls it left. Then purge.",
        )
