"""How this suite speaks to PostgreSQL: the driver, the limits of every session, and locks by name."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import Any

from sqlalchemy import URL, Connection, Engine, event, func, select
from sqlalchemy.exc import DBAPIError

CONNECT_TIMEOUT = 5
"""Seconds to reach the server."""
LOCK_TIMEOUT_MS = 5_000
"""How long a statement waits for another transaction's lock: as long as a SQLite writer waits."""
STATEMENT_TIMEOUT_MS = 10_000
"""How long a statement of a server may run. The operator's commands read whole tables and have no limit."""
IDLE_TIMEOUT_MS = 60_000
"""How long a transaction may do nothing before the server ends it, and with it the locks it holds."""
_STREAMS = "clinic_mcp.streams"
UNACKNOWLEDGED_MS = 10_000
"""How long sent data may stay unacknowledged: a server that went without a word is noticed."""


def with_driver(url: URL) -> URL:
    """The URL with the driver this suite is made for, however PostgreSQL is named in it."""
    return url.set(drivername="postgresql+psycopg") if url.drivername in ("postgres", "postgresql") else url


def engine_options(url: URL, part: str | None) -> dict[str, Any]:
    """SQLAlchemy's options for an engine.

    Args:
        url: The database; `options` in its query come after ours and win.
        part: Which server this process is, or none for the operator's commands.
    """
    limits = {
        "statement_timeout": 0 if part is None else STATEMENT_TIMEOUT_MS,
        "lock_timeout": LOCK_TIMEOUT_MS,
        "idle_in_transaction_session_timeout": IDLE_TIMEOUT_MS,
    }
    own = " ".join(f"-c {name}={value}" for name, value in limits.items())
    theirs = url.query.get("options", "")
    return {
        # Small: every part of the suite has a pool of its own, and a server takes a hundred connections in all.
        "pool_size": 4,
        "max_overflow": 4,
        "pool_timeout": 5,
        "pool_pre_ping": True,  # a connection that died since is replaced before anybody notices
        "pool_recycle": 1_800,
        "isolation_level": "READ COMMITTED",
        "connect_args": {
            "connect_timeout": CONNECT_TIMEOUT,
            "application_name": f"clinic-mcp {part or 'operator'}",
            "options": " ".join([own, *((theirs,) if isinstance(theirs, str) else theirs)]).strip(),
            "client_encoding": "utf8",
            "keepalives_idle": 30,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": UNACKNOWLEDGED_MS,
        },
    }


def keep_streams(engine: Engine) -> None:
    """Remember the server-side cursors that a transaction opens for long results, for `close_streams`."""

    def remember(connection: Connection, cursor: Any, *_: object) -> None:
        if getattr(cursor, "name", None):
            connection.info.setdefault(_STREAMS, []).append(cursor)

    event.listen(engine, "after_cursor_execute", remember)


def close_streams(connection: Connection) -> None:
    """Close the cursors of results that nobody read to their end: each keeps its transaction's rows on the server."""
    with suppress(DBAPIError):  # the connection was lost, and its cursors with it
        for cursor in connection.info.pop(_STREAMS, []):
            with suppress(connection.dialect.loaded_dbapi.Error):
                cursor.close()


def hold(connection: Connection, *names: str) -> None:
    """Wait until no other transaction holds these names, and hold them until this one ends.

    For what is read, judged and then written: another transaction must not judge the same meanwhile. A SQLite write
    transaction has the whole database, so there it does nothing. No privilege on any row is needed.

    Args:
        connection: An open write transaction.
        names: What is held, e.g. `consultation:C-0123456789abcdef`.
    """
    if connection.dialect.name != "postgresql":
        return
    for name in sorted(names):  # in one order, so that two transactions never wait for each other
        key = int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:8], "big", signed=True)
        connection.execute(select(func.pg_advisory_xact_lock(key)))
