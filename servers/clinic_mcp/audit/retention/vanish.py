"""Making the bytes of deleted rows really go."""

from __future__ import annotations

from contextlib import closing

from sqlalchemy import Connection

from clinic_mcp.core.db import Database


def overwriting(connection: Connection) -> None:
    """On SQLite, overwrite what this connection deletes with zeros (SQLite documentation, "PRAGMA secure_delete").

    Args:
        connection: An open write transaction.
    """
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete = ON")


def flush(database: Database) -> bool:
    """On SQLite, move the write-ahead log into the file and cut it off, with the older pages in it.

    PostgreSQL keeps a deleted row's bytes until `VACUUM` and later writes reuse its place, and in its own log and
    backups until those go: docs/audit.md says so.

    Returns:
        Whether that was done; not while somebody reads for longer than a writer waits.
    """
    if not database.sqlite:
        return True
    with closing(database.engine.raw_connection()) as connection, closing(connection.cursor()) as cursor:
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        row = cursor.fetchone()  # whether somebody was in the way, and two counts
    return row is not None and row[0] == 0
