"""The one place that opens a database, and the rules every connection to it keeps."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, MetaData, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, OperationalError

from clinic_mcp.core.errors import Misconfigured, Unavailable

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)
"""Every table of the suite, gathered for Alembic."""

BUSY_TIMEOUT_MS = 5_000
"""How long a SQLite writer waits for another process's transaction before it gives up."""


class Database:
    """A clinic's database, seen by one process.

    Args:
        url: SQLAlchemy URL.
        create: Whether a SQLite file may be created; only `clinic-mcp init` does.

    Raises:
        Misconfigured: The URL cannot be understood, its driver is not installed, or there is no such file.
    """

    def __init__(self, url: str, *, create: bool = False) -> None:
        try:
            parsed = make_url(url)
            self.sqlite = parsed.get_backend_name() == "sqlite"
            # hide_parameters: SQL parameters are patient data and must reach neither a log nor a model.
            options: dict[str, Any] = {"hide_parameters": True, "pool_size": 8, "max_overflow": 8, "pool_timeout": 5}
            if self.sqlite:
                options["connect_args"] = {"check_same_thread": False, "timeout": BUSY_TIMEOUT_MS / 1000}
            else:
                options["pool_pre_ping"] = True
            self.engine: Engine = create_engine(parsed, **options)
        except Exception as exc:
            raise Misconfigured(
                f"CLINIC_DATABASE_URL cannot be used ({type(exc).__name__}).",
                "Give a SQLAlchemy URL such as sqlite:////var/lib/clinic/clinic.db.",
            ) from exc
        if self.sqlite:
            file = parsed.database
            if file and not create and not Path(file).exists():
                raise Misconfigured(
                    f"There is no database at {file}.", "Run `clinic-mcp init` for this data folder first."
                )
            event.listen(self.engine, "connect", _sqlite_rules)
            event.listen(self.engine, "begin", _sqlite_begin)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads: one consistent picture.

        Raises:
            Unavailable: The database cannot be reached.
        """
        try:
            with self.engine.connect() as connection:
                yield connection
        except OperationalError as exc:
            raise Unavailable(f"The database cannot be read ({cause(exc)}).") from exc

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that reads and writes, committed at the end, rolled back on any error.

        On SQLite it takes the write lock at once: plain BEGIN fails a reader that turns into a writer.
        """
        with self.engine.connect().execution_options(clinic_write=True) as connection, connection.begin():
            yield connection

    def close(self) -> None:
        self.engine.dispose()


def cause(exc: BaseException) -> str:
    """What an operator may be told of a database error: its kind, in words, without SQL or values."""
    original = exc.orig if isinstance(exc, DBAPIError) else exc
    if isinstance(original, sqlite3.Error):
        name = getattr(original, "sqlite_errorname", "") or type(original).__name__
        return _SQLITE_CAUSES.get(name.split("_")[1] if "_" in name else name, name)
    return type(original).__name__


_SQLITE_CAUSES = {
    "FULL": "disk full",
    "BUSY": "locked by another process",
    "LOCKED": "locked by another connection",
    "READONLY": "read-only",
    "IOERR": "disk input/output error",
    "CANTOPEN": "cannot be opened",
    "CORRUPT": "file damaged",
    "NOTADB": "not a database file",
}


def _sqlite_rules(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA wal_autocheckpoint=4000")
    cursor.close()


def _sqlite_begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("clinic_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
