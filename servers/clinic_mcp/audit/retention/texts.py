"""The policy texts and entity slices that no event names any more, once events were purged."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import Connection, Table, delete, func, select, text

from clinic_mcp.audit.event import Phase
from clinic_mcp.audit.models import events, policy_texts, slices
from clinic_mcp.audit.retention.vanish import overwriting
from clinic_mcp.audit.tree import LATE
from clinic_mcp.core.db import Database

CHUNK = 100_000
"""Digests that may be unnamed, in memory at a time; for each such chunk the log is read once."""
STEP = 500
"""Texts deleted in one transaction."""
LOCK_TIMEOUT_MS = 1_000
"""How long a step waits on PostgreSQL for whoever reads the texts, and servers behind it."""


def named(record: dict[str, Any]) -> Iterator[str]:
    """The digests under which an event's texts are kept."""
    decision = record.get("decision") or {}
    loaded = record.get("policies") or {}
    for digest in (
        decision.get("policy_set"),
        decision.get("schema"),
        loaded.get("policy_set"),
        loaded.get("schema"),
        (record.get("cedar") or {}).get("slice"),
    ):
        if digest is not None:
            yield digest


def in_force(connection: Connection) -> set[str]:
    """The policies that some server may still have in force: what each server's newest event about them names."""
    newest = (
        select(func.max(events.c.id))
        .where(events.c.phase == Phase.ADMIN, events.c.code.in_(("policy.loaded", "policy.replaced")))
        .group_by(events.c.server)
    )
    rows = connection.execute(select(events.c.leaf).where(events.c.id.in_(newest)))
    return {digest for row in rows for digest in named(json.loads(row.leaf))}


def forget(
    database: Database, cutoff: str, kept: set[str], progress: Callable[[int], None] = lambda _: None
) -> dict[str, int]:
    """Delete the texts first used before a moment that no event names any more.

    Args:
        database: The clinic's.
        cutoff: ISO 8601; the purge's.
        kept: Digests that stay whoever names them: `in_force`, read before events were purged.
        progress: Called with the number of events read.

    Returns:
        How many of each table went.
    """
    return {table.name: sum(_forget(database, table, cutoff, kept, progress)) for table in (policy_texts, slices)}


def _forget(
    database: Database, table: Table, cutoff: str, kept: set[str], progress: Callable[[int], None]
) -> Iterator[int]:
    after = ""
    while True:
        with database.read() as connection:
            old = select(table.c.digest).where(table.c.first_used < cutoff, table.c.digest > after)
            found = list(connection.execute(old.order_by(table.c.digest).limit(CHUNK)).scalars())
            if not found:
                return
            after, candidates = found[-1], set(found) - kept
            last = _strike(connection, candidates, 0, progress)
        unnamed = sorted(candidates)
        for low in range(0, len(unnamed), STEP):
            yield delete_unnamed(database, table, set(unnamed[low : low + STEP]), last)


def _strike(
    connection: Connection, candidates: set[str], after: int, progress: Callable[[int], None] = lambda _: None
) -> int:
    """Take what events name out of the candidates; returns the number of the last event read."""
    last, query = after, select(events.c.id, events.c.leaf).where(events.c.id > after).order_by(events.c.id)
    for count, row in enumerate(connection.execute(query, execution_options={"yield_per": 1_000}), 1):
        if not candidates:
            break
        last = row.id
        candidates.difference_update(named(json.loads(row.leaf)))
        if count % 1_000 == 0:
            progress(count)
    return last


def delete_unnamed(database: Database, table: Table, digests: set[str], last: int) -> int:
    """Delete texts unless an event that came meanwhile names one.

    A writer that found a text there names it in the transaction in which it looked. On PostgreSQL the lock waits for
    such transactions to end, and later ones find the text gone and keep it again; SQLite has one writer.

    Args:
        database: The clinic's.
        table: `policy_texts` or `slices`.
        digests: Those nobody named when the log was read.
        last: The number of the last event that was read.

    Returns:
        How many went.
    """
    with database.write() as connection:
        overwriting(connection)
        if not database.sqlite:
            connection.execute(text(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}"))
            connection.execute(text(f"LOCK TABLE {table.name} IN ACCESS EXCLUSIVE MODE"))
        _strike(connection, digests, max(last - LATE, 0))
        return connection.execute(delete(table).where(table.c.digest.in_(digests))).rowcount
