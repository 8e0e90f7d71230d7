"""A log made years ago: every event, checkpoint and text is dated back, and the tree grown and signed anew with the
clinic's own key. Nothing in it is for verification to find."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

from clinic_mcp.audit import keys, tree
from clinic_mcp.audit.checkpoint import Checkpoint
from clinic_mcp.audit.event import canonical, leaf_hash, project
from clinic_mcp.audit.merkle import Frontier, root
from clinic_mcp.audit.merkle import leaf_hash as merkle_hash
from clinic_mcp.audit.retention.statement import CODE, Purge, years_before
from clinic_mcp.core.clinic import timestamp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from support.clinic import Clinic

ORIGIN = "clinic-mcp/main"


@contextmanager
def without_triggers(clinic: Clinic) -> Iterator[Any]:
    """A SQL prompt in whose time the log's triggers are gone; afterwards they are as they were."""
    with clinic.sql() as prompt:
        if isinstance(prompt, sqlite3.Connection):
            found = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'audit_%'"
            kept = [tuple(row) for row in prompt.execute(found)]
            for name, _ in kept:
                prompt.execute(f"DROP TRIGGER {name}")
            yield prompt
            for _, sql in kept:
                prompt.execute(sql)
            return
        tables = prompt.execute("SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE 'audit%'").fetchall()
        for (table,) in tables:
            prompt.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        yield prompt
        for (table,) in tables:
            prompt.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")


def age(clinic: Clinic, years: int = 7, *, size: int | None = None) -> None:
    """Date back what is on record.

    Args:
        clinic: The clinic; nobody writes meanwhile.
        years: By how many years.
        size: Date back only the events below this place of the tree, and the checkpoints up to it.
    """
    key = keys.read(clinic.settings.keys)
    with without_triggers(clinic) as prompt:
        hashes: dict[str, str] = {}
        (placed,) = prompt.execute(
            "SELECT coalesce(max(event), 0) FROM audit_leaves WHERE leaf_index < ?", (2**40 if size is None else size,)
        ).fetchone()
        last = 2**40 if size is None else placed
        for row in prompt.execute("SELECT id, leaf FROM audit_events ORDER BY id").fetchall():
            event = json.loads(row["leaf"])
            before = leaf_hash(canonical(event))
            old_id = event["event_id"]
            event = _back(event, years if row["id"] <= last else 0, key)
            writer = event["writer"]
            writer["prev"] = hashes.get(writer["prev"], writer["prev"])
            if "after" in event:
                event["after"]["hash"] = hashes.get(event["after"]["hash"], event["after"]["hash"])
            leaf = canonical(event)
            hashes[before] = leaf_hash(leaf)
            columns = project(event, leaf)
            names = ", ".join(f"{name} = ?" for name in columns)
            prompt.execute(f"UPDATE audit_events SET {names} WHERE id = ?", (*columns.values(), row["id"]))  # noqa: S608
            for table in ("audit_event_patients", "audit_detail"):
                prompt.execute(f"UPDATE {table} SET event_id = ? WHERE event_id = ?", (event["event_id"], old_id))  # noqa: S608
        for table, column, key in (
            ("audit_checkpoints", "recorded", "id"),
            ("audit_policy_texts", "first_used", "digest"),
            ("audit_slices", "first_used", "digest"),
            ("audit_detail", "recorded", "id"),
            ("audit_purges", "cutoff", "upto"),
        ):
            checkpoint = table == "audit_checkpoints" and size is not None
            only = f" WHERE size <= {size}" if checkpoint else ""
            for row in prompt.execute(f"SELECT {key} AS key, {column} AS moment FROM {table}{only}").fetchall():  # noqa: S608
                moment = _earlier(row["moment"], years)
                prompt.execute(f"UPDATE {table} SET {column} = ? WHERE {key} = ?", (moment, row["key"]))  # noqa: S608
        _sign_again(clinic, prompt, years)


def _back(event: dict[str, Any], years: int, key: Ed25519PrivateKey) -> dict[str, Any]:
    moved = {**event, "recorded": _earlier(event["recorded"], years), "event_id": _older(event["event_id"], years)}
    if event["code"] == CODE and years:
        made = Purge.of(event)
        earlier = (_earlier(moment, years) for moment in (made.cutoff, made.first, made.last))
        cutoff, first, last = earlier
        moved["purge"] = replace(made, cutoff=cutoff, first=first, last=last).signed(ORIGIN, key)
    if "started" in event:
        moved["started"] = _earlier(event["started"], years)
    return moved


def _earlier(moment: str, years: int) -> str:
    return timestamp(years_before(datetime.fromisoformat(moment), years))


def _older(event_id: str, years: int) -> str:
    """The same UUID, made years earlier."""
    value = uuid.UUID(event_id).int
    made = datetime.fromtimestamp((value >> 80) / 1000).astimezone()
    milliseconds = int(years_before(made, years).timestamp() * 1000)
    return str(uuid.UUID(int=milliseconds << 80 | value & (2**80 - 1)))


def _sign_again(clinic: Clinic, prompt: Any, years: int) -> None:
    edge, full = Frontier(), []
    query = "SELECT l.leaf_index, l.event_id, l.hash, e.leaf, e.event_id AS now FROM audit_leaves l"
    for row in prompt.execute(f"{query} LEFT JOIN audit_events e ON e.id = l.event ORDER BY l.leaf_index").fetchall():
        fresh = row["hash"] if row["leaf"] is None else merkle_hash(row["leaf"])  # a purged one stays what it was
        prompt.execute(
            "UPDATE audit_leaves SET hash = ?, event_id = ? WHERE leaf_index = ?",
            (fresh, row["now"] or _older(row["event_id"], years), row["leaf_index"]),
        )
        full += [node for node in edge.append(bytes(fresh)) if node[0]]
    prompt.execute("DELETE FROM audit_nodes")
    prompt.executemany("INSERT INTO audit_nodes (level, position, hash) VALUES (?, ?, ?)", full)
    key = keys.read(clinic.settings.keys)
    for row_id, size in prompt.execute("SELECT id, size FROM audit_checkpoints").fetchall():
        with clinic.database() as database, database.read() as connection:
            made = Checkpoint(ORIGIN, size, root(tree.StoredNodes(connection), size))
        prompt.execute(
            "UPDATE audit_checkpoints SET root = ?, note = ? WHERE id = ?", (made.root64, made.signed(key), row_id)
        )
