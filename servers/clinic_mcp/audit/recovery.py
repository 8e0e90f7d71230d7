"""What a starting server does about the calls an earlier start of it left without an outcome."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, exists, select

from clinic_mcp.audit.event import Draft, Phase, uuid7
from clinic_mcp.audit.log import AuditLog
from clinic_mcp.audit.models import events
from clinic_mcp.core.clinic import timestamp

GIVEN_UP_AFTER = timedelta(hours=1)
"""A start on another machine that never said it stopped is taken for lost after this long without an event."""


def close_orphans(log: AuditLog, effects: Sequence[Table]) -> int:
    """Close each call of a lost start as `unknown`, after looking up whether it had an effect.

    Args:
        log: The starting process's log.
        effects: Tables this server writes; a row that carries the call's id is its effect.

    Returns:
        How many calls were closed.

    Raises:
        AuditUnavailable: They could not be put on the record.
    """
    closed = 0
    with log.database.read() as connection:
        lost = [boot for boot in _unfinished(connection, log.writer.server) if _is_lost(connection, boot)]
        found = {
            boot.boot_id: _orphans(connection, events.c.boot_id == boot.boot_id, effects, "process lost")
            for boot in lost
        }
    for boot_id, drafts in found.items():
        calls = [draft.call_id for draft in drafts]
        body = {"lost": {"boot_id": boot_id, "calls": calls[:100], "count": len(calls)}}
        log.append(*drafts, Draft(Phase.LIFECYCLE, "server.lost", uuid7(), body))
        closed += len(drafts)
    return closed


def close_calls(log: AuditLog, call_ids: Collection[str], effects: Sequence[Table]) -> None:
    """Close calls of this process whose outcome the log could not take, as `unknown` unless it was taken after all.

    Args:
        log: This process's log.
        call_ids: The calls.
        effects: As in `close_orphans`.

    Raises:
        AuditUnavailable: They still cannot be put on the record.
        Unavailable: The database cannot be read.
    """
    with log.database.read() as connection:
        drafts = _orphans(connection, events.c.call_id.in_(call_ids), effects, "not recorded")
    if drafts:
        log.append(*drafts)


def _unfinished(connection: Connection, server: str) -> list[Any]:
    """The starts of a server that neither said they stopped nor were found lost."""
    lifecycle = select(events.c.boot_id, events.c.code, events.c.leaf).where(
        events.c.phase == Phase.LIFECYCLE, events.c.server == server
    )
    rows = connection.execute(lifecycle).all()
    ended = {row.boot_id for row in rows if row.code == "server.stopped"}
    ended |= {json.loads(row.leaf)["lost"]["boot_id"] for row in rows if row.code == "server.lost"}
    return [row for row in rows if row.code == "server.started" and row.boot_id not in ended]


def _is_lost(connection: Connection, boot: Any) -> bool:
    """Whether the process behind a start is gone: on this machine by asking, elsewhere by its long silence."""
    host, _, pid = json.loads(boot.leaf)["writer"]["instance"].rpartition(":")
    if host == platform.node()[:40]:
        return int(pid) != os.getpid() and not _runs(int(pid))
    last = connection.execute(
        select(events.c.recorded).where(events.c.boot_id == boot.boot_id).order_by(events.c.writer_seq.desc()).limit(1)
    ).scalar_one()
    return str(last) < timestamp(datetime.now(UTC) - GIVEN_UP_AFTER)


def _orphans(connection: Connection, which: ColumnElement[bool], effects: Sequence[Table], reason: str) -> list[Draft]:
    outcomes = events.alias()
    answered = exists().where(and_(outcomes.c.call_id == events.c.call_id, outcomes.c.phase == Phase.OUTCOME))
    intents = connection.execute(
        select(events.c.leaf).where(which, events.c.phase == Phase.INTENT, ~answered).order_by(events.c.writer_seq)
    )
    return [_unknown(connection, json.loads(row.leaf), effects, reason) for row in intents]


def _unknown(connection: Connection, intent: dict[str, object], effects: Sequence[Table], reason: str) -> Draft:
    call_id = str(intent["call_id"])
    kept = ("principal", "agent", "delegation", "session", "call", "cedar")
    body = {name: intent[name] for name in kept if name in intent}
    body["outcome"] = {"status": "unknown", "error": reason}
    for table in effects:
        row = connection.execute(select(table.c.id).where(table.c.call_id == call_id)).first()
        if row is not None:
            body["effect"] = {"table": table.name, "row": str(row.id), "kind": "found"}
    patients = intent.get("patients", [])
    return Draft(Phase.OUTCOME, "call.unknown", call_id, body, tuple(patients) if isinstance(patients, list) else ())


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
