"""The one place that opens a database, and the rules every connection to it keeps."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, MetaData, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoFreeConnection

from clinic_mcp.core import postgres
from clinic_mcp.core.authorizer import authorizer
from clinic_mcp.core.causes import in_doubt, words
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
        url: SQLAlchemy URL: a SQLite file, or PostgreSQL.
        create: Whether a SQLite file may be created; only `clinic-mcp init` does.
        part: Which part of the suite opens it, by its name in `core.grants`: on SQLite its connections are held to
            that part's list, on PostgreSQL the role in the URL is. None is the operator, who may do everything.

    Raises:
        Misconfigured: The URL cannot be understood, its driver is not installed, or there is no such file.
    """

    def __init__(self, url: str, *, create: bool = False, part: str | None = None) -> None:
        try:
            parsed = postgres.with_driver(make_url(url))
            self.sqlite = parsed.get_backend_name() == "sqlite"
            options = _sqlite_options(parsed, create) if self.sqlite else postgres.engine_options(parsed, part)
            # hide_parameters: SQL parameters are patient data and must reach neither a log nor a model.
            self.engine: Engine = create_engine(
                parsed.difference_update_query(["options"]), hide_parameters=True, **options
            )
        except Exception as exc:
            raise Misconfigured(
                f"CLINIC_DATABASE_URL cannot be used ({type(exc).__name__}).",
                "Give a URL such as sqlite:////var/lib/clinic/clinic.db or postgresql://user@host/clinic.",
            ) from exc
        if self.sqlite:
            file = parsed.database
            if file and not create and not Path(file).exists():
                raise Misconfigured(
                    f"There is no database at {file}.", "Run `clinic-mcp init` for this data folder first."
                )
            event.listen(self.engine, "connect", _sqlite_rules)
            if part is not None:
                allowed = authorizer(part)
                event.listen(self.engine, "connect", lambda connection, _: connection.set_authorizer(allowed))
            event.listen(self.engine, "begin", _sqlite_begin)
            self._reader = self.engine
        else:
            postgres.keep_streams(self.engine)
            self._reader = self.engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads: one consistent picture.

        Raises:
            Unavailable: The database cannot be reached, or does not answer.
        """
        try:
            with self._reader.connect() as connection:
                try:
                    yield connection
                finally:
                    postgres.close_streams(connection)
        except (DBAPIError, NoFreeConnection) as exc:
            raise Unavailable(f"The database cannot be read ({cause(exc)}).") from exc

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that reads and writes, committed at the end, rolled back on any error.

        On SQLite it takes the write lock at once: plain BEGIN fails a reader that turns into a writer. On PostgreSQL
        it sees what others commit meanwhile (READ COMMITTED): what is judged before it is written needs `hold`.
        """
        with self.engine.connect().execution_options(clinic_write=True) as connection, connection.begin():
            yield connection

    def file_id(self) -> tuple[int, int] | None:
        """What tells the SQLite file from another one put in its place; nothing where there is none."""
        try:
            found = os.stat(self.engine.url.database or "")
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def close(self) -> None:
        self.engine.dispose()


def cause(exc: BaseException) -> str:
    """What an operator may be told of a database error: its kind, in words, without SQL or values."""
    if isinstance(exc, NoFreeConnection):
        return "no free connection"
    original = exc.orig if isinstance(exc, DBAPIError) else exc
    return words(original or exc)


def commit_in_doubt(exc: BaseException) -> bool:
    """Whether a COMMIT that failed like this may have happened."""
    return in_doubt((exc.orig if isinstance(exc, DBAPIError) else exc) or exc)


def _sqlite_options(url: URL, create: bool) -> dict[str, Any]:
    mode = "rwc" if create else "rw"  # a file that went missing must not come back empty

    def connect() -> sqlite3.Connection:
        where = f"file:{quote(url.database or '')}?mode={mode}"
        return sqlite3.connect(where, uri=True, check_same_thread=False, timeout=BUSY_TIMEOUT_MS / 1000)

    return {"pool_size": 8, "max_overflow": 8, "pool_timeout": 5, "creator": connect}


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
