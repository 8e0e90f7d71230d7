"""The connections an audit log commits through, kept open from event to event."""

from __future__ import annotations

from contextlib import suppress

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from clinic_mcp.core.db import Database
from clinic_mcp.core.errors import AuditUnavailable


class Held:
    """Opens a connection when one is needed and gives it up when its state is in doubt.

    On SQLite there is one, which waits for the disk or not as it is told before each commit: SQLite drops a
    connection's page cache when another connection has written. On PostgreSQL there are two, one of each kind, because
    telling would cost a round trip each time.

    Args:
        database: Where the log lives.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._open: dict[bool, Connection] = {}  # by whether its commits wait for the disk
        self._durable = True  # SQLite: what its one connection was told last
        self._file: tuple[int, int] | None = None

    def connection(self, *, durable: bool) -> Connection:
        """The connection for the next transaction.

        Args:
            durable: Whether its commit waits for the disk.

        Raises:
            AuditUnavailable: The file that is open is no longer the clinic's database.
            SQLAlchemyError: It cannot be opened.
        """
        return self._sqlite(durable) if self._database.sqlite else self._postgresql(durable)

    def hurry(self, seconds: int) -> None:
        """Wait for somebody else's lock no longer than this from now on."""
        with suppress(SQLAlchemyError, AuditUnavailable):
            connection = self.connection(durable=True)
            if self._database.sqlite:
                _pragma(connection, f"busy_timeout={seconds * 1000}")
            else:
                with connection.begin():
                    connection.exec_driver_sql(f"SET lock_timeout = {seconds * 1000}")

    def drop(self) -> None:
        """Give up what is open; the next event opens anew."""
        held, self._open = self._open, {}
        for connection in held.values():
            connection.invalidate()
            connection.close()

    def _sqlite(self, durable: bool) -> Connection:
        self._check_file()
        connection = self._open.get(True)
        if connection is None:
            connection = self._open[True] = self._connect()
            self._durable = True
            self._file = self._database.file_id()
        if durable != self._durable:
            _pragma(connection, f"synchronous={'FULL' if durable else 'NORMAL'}")
            self._durable = durable
        return connection

    def _check_file(self) -> None:
        """A file that was removed or replaced goes on taking writes that nobody will ever read."""
        if self._open and self._database.file_id() != self._file:
            self.drop()
            raise AuditUnavailable(
                "The call could not be recorded: the audit store is not available (file removed or replaced).",
                "Nothing was changed. Try again when the clinic's database is back.",
            )

    def _postgresql(self, durable: bool) -> Connection:
        if not self._open:
            # Both at once: a server that crashed between an intent and its outcome has broken both, and no outcome can
            # follow an intent that the crash took back.
            waiting, quick = self._connect(), self._connect()
            with quick.begin():
                quick.exec_driver_sql("SET synchronous_commit = off")
            self._open = {True: waiting, False: quick}
        return self._open[durable]

    def _connect(self) -> Connection:
        return self._database.engine.connect().execution_options(clinic_write=True)


def _pragma(connection: Connection, setting: str) -> None:
    cursor = connection.connection.cursor()
    cursor.execute(f"PRAGMA {setting}")
    cursor.close()
