"""The triggers that keep the log's tables append-only: are they still there?"""

from __future__ import annotations

from sqlalchemy import Connection, text

TABLES = (
    "audit_events",
    "audit_event_patients",
    "audit_policy_texts",
    "audit_slices",
    "audit_leaves",
    "audit_nodes",
    "audit_checkpoints",
)
_ON_SQLITE = text("SELECT name FROM sqlite_master WHERE type = 'trigger' AND sql LIKE '%RAISE(ABORT%append-only%'")
_ON_POSTGRESQL = text("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgenabled IN ('O', 'A')")


def missing(connection: Connection) -> list[str]:
    """The triggers that somebody removed or turned off, by name.

    Args:
        connection: An open transaction.
    """
    if connection.dialect.name == "sqlite":
        wanted = [f"{table}_no_{verb}" for table in TABLES for verb in ("update", "delete", "replace")]
        there = set(connection.execute(_ON_SQLITE).scalars())
    else:
        wanted = [f"{table}_append_only" for table in TABLES]
        there = set(connection.execute(_ON_POSTGRESQL).scalars())
    return [name for name in wanted if name not in there]
