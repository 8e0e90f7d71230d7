"""A purge: put on the record and signed over first, then carried out in small steps. Killed, it goes on where it was.

Nothing goes before the event that says so stands in the tree under a checkpoint. The rows the database's triggers let
go are those below a purge in `audit_purges`; the row comes with the event, in one transaction.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, tuple_

from clinic_mcp.audit import keys, tree
from clinic_mcp.audit.checkpoint import origin_of
from clinic_mcp.audit.event import Draft, Phase, uuid7
from clinic_mcp.audit.log import AuditLog
from clinic_mcp.audit.models import detail, event_patients, events, leaves, purged_calls, purges
from clinic_mcp.audit.retention import hold
from clinic_mcp.audit.retention.plan import Plan, last_purge
from clinic_mcp.audit.retention.statement import CODE, Purge, PurgedCall
from clinic_mcp.audit.retention.vanish import overwriting
from clinic_mcp.audit.sequencer import Sequencer
from clinic_mcp.core.db import Database
from clinic_mcp.core.errors import Conflict, Unavailable
from clinic_mcp.core.postgres import hold as lock
from clinic_mcp.core.settings import Settings

STEP = 500
"""Events deleted in one transaction: how long writers may wait for it."""
SIGNED_WITHIN = 15.0
"""Seconds to wait for a checkpoint over the purge's event, where another sequencer is at work."""
_LOCK = "audit.retention"


def stage(database: Database, calls: Iterable[PurgedCall]) -> None:
    """Write down what is to be kept of the calls; what an earlier plan that came to nothing left is replaced.

    Args:
        database: The clinic's.
        calls: What `plan.examine` yields.
    """
    with database.write() as connection:
        last = last_purge(connection)
        floor = 0 if last is None else last.upto
        connection.execute(delete(purged_calls).where(purged_calls.c.leaf_index >= floor))
    rows = (
        {"leaf_index": one.index, "call_id": one.call_id, "table_name": one.table, "row_id": one.row} for one in calls
    )
    while batch := list(islice(rows, STEP)):
        with database.write() as connection:
            connection.execute(insert(purged_calls), batch)


def record(settings: Settings, log: AuditLog, plan: Plan, operator: dict[str, str]) -> str:
    """Put the purge on the record: nothing is deleted yet.

    Args:
        settings: Where the key is.
        log: The log.
        plan: The purge, examined, and what is kept of its calls staged.
        operator: The event's principal.

    Returns:
        The id of the act.

    Raises:
        Misconfigured: The key cannot be read: a purge is for whoever may sign checkpoints.
        Conflict: The log is on hold, or somebody purges at the same time.
        AuditUnavailable: It cannot be recorded.
    """
    key, call_id = keys.read(settings.keys), uuid7()
    with log.transaction() as transaction:
        connection = transaction.connection
        lock(connection, _LOCK)
        hold.refuse(connection)
        last = last_purge(connection)
        if (0 if last is None else last.upto) != plan.start:
            raise Conflict("Somebody else purged meanwhile.", "Run it again.")
        digest, kept = _calls_digest(connection, plan)
        purge = Purge(
            plan.upto,
            plan.root,
            plan.note,
            plan.cutoff,
            plan.years,
            plan.first,
            plan.last,
            {"events": plan.events, "patients": plan.patients, "details": plan.details, "calls": kept},
            digest,
        )
        connection.execute(insert(purges), {"upto": plan.upto, "call_id": call_id, "cutoff": plan.cutoff})
        body: dict[str, Any] = {
            "principal": operator,
            "purge": purge.signed(origin_of(settings.id), key),
            # So that a later purge, which takes this event, keeps that it was made.
            "effect": {"table": purges.name, "row": str(plan.upto)},
        }
        transaction.record(Draft(Phase.ADMIN, CODE, call_id, body))
    return call_id


def _calls_digest(connection: Connection, plan: Plan) -> tuple[str, int]:
    query = select(purged_calls).where(purged_calls.c.leaf_index < plan.upto).order_by(purged_calls.c.leaf_index)
    digest, kept = hashlib.sha256(), 0
    for row in connection.execute(query):
        digest.update(PurgedCall(*row).line)
        kept += row.leaf_index >= plan.start
    return digest.hexdigest(), kept


def sign(settings: Settings, database: Database, call_id: str) -> None:
    """Have the purge's event under a signed checkpoint.

    Raises:
        Misconfigured: The key cannot be read.
        Inconsistent: The tree is not the one that was signed.
        Unavailable: Another sequencer did not sign in time.
    """
    sequencer, until = Sequencer(settings, database), time.monotonic() + SIGNED_WITHIN
    while True:
        sequencer.step(at_once=True)
        with database.read() as connection:
            if _is_covered(connection, call_id):
                return
        if time.monotonic() > until:
            raise Unavailable("The purge is on record and under no checkpoint yet.", "Run it again to carry it out.")
        time.sleep(0.2)


def _is_covered(connection: Connection, call_id: str) -> bool:
    query = (
        select(leaves.c.leaf_index)
        .join_from(events, leaves, leaves.c.event == events.c.id)
        .where(events.c.call_id == call_id, events.c.phase == Phase.ADMIN)
    )
    index, newest = connection.execute(query).scalar(), tree.latest_checkpoint(connection)
    return index is not None and newest is not None and index < newest.size


def remove(database: Database, upto: int, progress: Callable[[int], None] = lambda _: None, *, step: int = STEP) -> int:
    """Delete the events below a recorded purge, with their detail and their rows of the patient index.

    Args:
        database: The clinic's.
        upto: The purge's place.
        progress: Called with the number of places passed.
        step: Events a transaction deletes.

    Returns:
        How many events went.

    Raises:
        Conflict: The log was put on hold meanwhile.
    """
    gone = 0
    with database.read() as connection:
        hold.refuse(connection)
        seen = connection.execute(select(func.max(events.c.id))).scalar() or 0
    for low in range(0, upto, step):
        with database.read() as connection:
            there = connection.execute(_between(low, min(low + step, upto)).limit(1)).first()
        if there is not None:
            with database.write() as connection:
                overwriting(connection)
                hold.refuse(connection, seen)
                gone += _delete(connection, connection.execute(_between(low, min(low + step, upto))).all())
        progress(min(low + step, upto))
    return gone


def _between(low: int, high: int) -> Any:
    return (
        select(events.c.id, events.c.event_id, events.c.patient, events.c.leaf)
        .join_from(leaves, events, events.c.id == leaves.c.event)
        .where(leaves.c.leaf_index >= low, leaves.c.leaf_index < high)
    )


def _delete(connection: Connection, rows: Sequence[Any]) -> int:
    ids = [row.event_id for row in rows]
    connection.execute(delete(detail).where(detail.c.event_id.in_(ids)))
    for pairs in _batches(_indexed(rows)):
        key = tuple_(event_patients.c.patient_id, event_patients.c.event_id)
        connection.execute(delete(event_patients).where(key.in_(pairs)))
    connection.execute(delete(events).where(events.c.id.in_([row.id for row in rows])))
    return len(rows)


def _indexed(rows: Sequence[Any]) -> Iterator[tuple[str, str]]:
    """The keys of the patient index's rows, read from the events: the index has none by event."""
    for row in rows:
        if row.patient is None:
            yield from ((patient, row.event_id) for patient in json.loads(row.leaf).get("patients", []))


def _batches(pairs: Iterator[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    while batch := list(islice(pairs, STEP)):
        yield batch


def unfinished(connection: Connection) -> Any:
    """The newest purge, where events below it are still there or it is under no checkpoint yet; or nothing."""
    last = last_purge(connection)
    if last is None:
        return None
    left = _between(0, last.upto).limit(1)
    return last if connection.execute(left).first() or not _is_covered(connection, last.call_id) else None
