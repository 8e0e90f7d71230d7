"""The triggers that keep the log's tables append-only, but for what a recorded purge lets go: are they as they were?

The migrations create them; here stands what they must be, and a test holds the two together. Which rows of four tables
may be deleted is for the database itself to judge: what is below a purge in `audit_purges`, a table that only takes
rows (docs/decisions/012-purge.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

KEYS: dict[str, tuple[tuple[str, ...], ...]] = {
    "audit_events": (("id",), ("event_id",), ("call_id", "phase"), ("boot_id", "writer_seq")),
    "audit_event_patients": (("patient_id", "event_id"),),
    "audit_policy_texts": (("digest",),),
    "audit_slices": (("digest",),),
    "audit_leaves": (("leaf_index",), ("event",)),
    "audit_nodes": (("level", "position"),),
    "audit_checkpoints": (("id",),),
    "audit_purges": (("upto",),),
    "audit_purged_calls": (("leaf_index",),),
}
"""The log's tables and their unique keys: no row replaces another."""
TABLES = tuple(KEYS)

_PURGED = "SELECT 1 FROM audit_leaves JOIN audit_purges ON audit_leaves.leaf_index < audit_purges.upto"
PURGED = {
    "audit_events": f"{_PURGED} WHERE audit_leaves.event = old.id AND audit_leaves.event_id = old.event_id",
    "audit_event_patients": f"{_PURGED} JOIN audit_events ON audit_events.id = audit_leaves.event"
    " WHERE audit_events.event_id = old.event_id AND audit_leaves.event_id = old.event_id",
    "audit_policy_texts": "SELECT 1 FROM audit_purges WHERE old.first_used < audit_purges.cutoff",
    "audit_slices": "SELECT 1 FROM audit_purges WHERE old.first_used < audit_purges.cutoff",
    # Put there before the purge that they belong to is recorded; until then they are notes of what is planned.
    "audit_purged_calls": "SELECT 1 WHERE NOT EXISTS"
    " (SELECT 1 FROM audit_purges WHERE old.leaf_index < audit_purges.upto)",
}
"""What must be there for a row to go."""

DETAIL = "audit_detail"
DETAIL_KEYS = (("id",), ("event_id", "part"))
"""Detail is not part of the log: the operator erases it. It is not altered, and not replaced."""

_ABORT = "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
APPEND_ONLY = "BEGIN RAISE EXCEPTION 'the audit log is append-only'; END"


def on_sqlite() -> dict[str, str]:
    """The statement behind each trigger on SQLite, by its name."""
    found = {}
    for table, keys in (*KEYS.items(), (DETAIL, DETAIL_KEYS)):
        taken = " OR ".join("(" + " AND ".join(f"{key} IS new.{key}" for key in unique) + ")" for unique in keys)
        found[f"{table}_no_update"] = f"BEFORE UPDATE ON {table} {_ABORT}"
        found[f"{table}_no_replace"] = (
            f"BEFORE INSERT ON {table} WHEN EXISTS (SELECT 1 FROM {table} WHERE {taken}) {_ABORT}"  # noqa: S608 - the names are this file's own
        )
        if table != DETAIL:
            unless = f" WHEN NOT EXISTS ({PURGED[table]})" if table in PURGED else ""
            found[f"{table}_no_delete"] = f"BEFORE DELETE ON {table}{unless} {_ABORT}"
    return {name: f"CREATE TRIGGER {name} {rest}" for name, rest in found.items()}


@dataclass(frozen=True)
class Trigger:
    """A trigger on PostgreSQL, as its catalog describes it.

    Args:
        table: Its table.
        kind: When it fires, as `pg_trigger.tgtype` says: 1 for each row, 2 before, 8 DELETE, 16 UPDATE, 32 TRUNCATE
            (PostgreSQL documentation, "pg_trigger"; bits in its `catalog/pg_trigger.h`).
        function: The function it runs.
    """

    table: str
    kind: int
    function: str


def on_postgresql() -> tuple[dict[str, Trigger], dict[str, str]]:
    """Each trigger on PostgreSQL by its name, and each function's body by its name."""
    triggers, functions = {}, {"audit_append_only": APPEND_ONLY}
    for table in (*TABLES, DETAIL):
        kind = {DETAIL: 2 + 16}.get(table, 2 + 16 + 32 if table in PURGED else 2 + 8 + 16 + 32)
        triggers[f"{table}_append_only"] = Trigger(table, kind, "audit_append_only")
        if table in PURGED:
            triggers[f"{table}_purged_only"] = Trigger(table, 1 + 2 + 8, f"{table}_purged_only")
            functions[f"{table}_purged_only"] = (
                f"BEGIN IF EXISTS ({PURGED[table]}) THEN RETURN old; END IF;"
                " RAISE EXCEPTION 'the audit log is append-only'; END"
            )
    return triggers, functions


def problem(connection: Connection) -> str | None:
    """What somebody did to the triggers, in a sentence, or nothing.

    Args:
        connection: An open transaction.
    """
    wanted, there = (_sqlite if connection.dialect.name == "sqlite" else _postgresql)(connection)
    said = {
        "was removed": [name for name in wanted if name not in there],
        "was weakened": [name for name, found in wanted.items() if name in there and there[name] != found],
        "got a trigger put beside it": [name for name in there if name not in wanted],
    }
    sentences = [
        f"The log's guard against changes {what}: {', '.join(names)}." for what, names in said.items() if names
    ]
    return " ".join(sentences) or None


Found = tuple[dict[str, Any], dict[str, Any]]


def _sqlite(connection: Connection) -> Found:
    rows = connection.execute(text("SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'trigger'"))
    tables = {*TABLES, DETAIL}
    there = {row.name: _plain(row.sql) for row in rows if row.tbl_name in tables}
    return {name: _plain(sql) for name, sql in on_sqlite().items()}, there


_CATALOG = text(
    """
    SELECT t.tgname, c.relname, t.tgtype, t.tgenabled, p.proname, p.prosrc,
           t.tgqual IS NULL AND t.tgattr = ''::int2vector AND t.tgnargs = 0 AND l.lanname = 'plpgsql'
           AND coalesce(p.proconfig, '{}') = CASE WHEN p.proname = 'audit_append_only' THEN '{}'
               ELSE ARRAY['search_path=' || quote_ident(current_schema()) || ', pg_temp'] END AS plain
    FROM pg_trigger t
    JOIN pg_class c ON c.oid = t.tgrelid
    JOIN pg_proc p ON p.oid = t.tgfoid
    JOIN pg_language l ON l.oid = p.prolang
    WHERE NOT t.tgisinternal AND c.relnamespace = current_schema()::regnamespace AND c.relname LIKE 'audit\\_%'
    """
)


def _postgresql(connection: Connection) -> Found:
    triggers, functions = on_postgresql()
    wanted = {name: (one, _plain(functions[one.function]), True) for name, one in triggers.items()}
    tables, there = {*TABLES, DETAIL}, {}
    for row in connection.execute(_CATALOG):
        if row.relname not in tables or row.tgenabled not in ("O", "A"):
            continue
        there[row.tgname] = (Trigger(row.relname, row.tgtype, row.proname), _plain(row.prosrc), row.plain)
    return wanted, there


def _plain(statement: str) -> str:
    return " ".join(statement.split())
