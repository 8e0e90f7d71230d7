"""What an operator may be told of a database's error: its kind, in words, without SQL or values."""

from __future__ import annotations

import sqlite3

UNREACHABLE = "cannot be reached"

_SQLITE = {
    "FULL": "disk full",
    "BUSY": "locked by another process",
    "LOCKED": "locked by another connection",
    "READONLY": "read-only",
    "IOERR": "disk input/output error",
    "CANTOPEN": "cannot be opened",
    "CORRUPT": "file damaged",
    "NOTADB": "not a database file",
    "AUTH": "not permitted to this server",
}

# PostgreSQL 15 documentation, appendix A: the code itself, else its class (the first two characters).
_POSTGRESQL = {
    "08": "connection lost",
    "22": "value not storable",
    "23": "constraint violated",
    "25006": "read-only",
    "28": "access refused",
    "3D000": "no such database",
    "40001": "concurrent change",
    "40P01": "deadlock",
    "42501": "not permitted to this role",
    "42P01": "not set up",
    "53100": "disk full",
    "53200": "out of memory",
    "53300": "too many connections",
    "55P03": "locked by another process",
    "57014": "timed out",
    "57P01": "shutting down",
    "57P02": "stopped by a crash",
    "57P03": "starting up",
    "57P05": "idle for too long",
    "58": "disk input/output error",
    "XX001": "file damaged",
    "XX002": "file damaged",
}


def words(error: BaseException) -> str:
    """The kind of a driver's error.

    Args:
        error: What SQLite's or PostgreSQL's driver raised.

    Returns:
        A few words, or the error's class where none are kept for it; never its text, which may hold values.
    """
    if isinstance(error, sqlite3.Error):
        name = getattr(error, "sqlite_errorname", "") or type(error).__name__
        return _SQLITE.get(name.split("_")[1] if "_" in name else name, name)
    if (code := getattr(error, "sqlstate", None)) is not None:
        return _POSTGRESQL.get(code) or _POSTGRESQL.get(code[:2]) or type(error).__name__
    # libpq gives no code where there was no server to give one.
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return (
        UNREACHABLE if type(error).__module__.startswith("psycopg") and "OperationalError" in kinds else _named(error)
    )


def in_doubt(error: BaseException) -> bool:
    """Whether a COMMIT that failed with this may have happened all the same.

    SQLite rolls back whatever fails before the write-ahead log's sync; a sync that fails says nothing about what is on
    the disk. PostgreSQL has rolled back whatever it still answers with an error; a connection that broke says nothing.

    Args:
        error: What SQLite's or PostgreSQL's driver raised.
    """
    if isinstance(error, sqlite3.Error):
        return words(error) == _SQLITE["IOERR"]
    code = getattr(error, "sqlstate", None)
    return code is None or code[:2] == "08" or code in ("57P01", "57P02")


def _named(error: BaseException) -> str:
    return type(error).__name__
