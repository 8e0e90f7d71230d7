"""Where a clinic's data is: a SQLite file in its folder, or a database of the session's PostgreSQL.

Which of the two, `CLINIC_TEST_DATABASE` says. On PostgreSQL a copied folder gets a copied database the first time
somebody asks for it, as a copied folder with a SQLite file in it would.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

from support.postgres import OWNER, Cluster, cluster

POSTGRESQL = os.environ.get("CLINIC_TEST_DATABASE", "sqlite") == "postgresql"
MARK = ".test-database"
"""The file in a clinic's folder that says which folder its database was made for."""

_stack = ExitStack()
_started: list[Cluster] = []
_databases: dict[Path, tuple[Cluster, str]] = {}


def session_cluster(*, durable: bool = False) -> Cluster:
    """The PostgreSQL of this test session, started when it is first needed; whoever needs it first says how."""
    if not _started:
        _started.append(_stack.enter_context(cluster(durable=durable)))
    return _started[0]


def stop() -> None:
    """Stop it, if it was needed."""
    _started.clear()
    _stack.close()


def place(home: Path, where: Cluster) -> None:
    """Give a clinic a PostgreSQL database, whatever the session's tests run on."""
    _databases[home] = where, where.create()


def url(home: Path, role: str = OWNER) -> str:
    """The URL of a clinic's database, which is made if there is none; empty where it is the file in its folder."""
    if not POSTGRESQL and home not in _databases:
        return ""
    where, name = _place(home)
    return where.url(name, role)


def made() -> set[Path]:
    """The folders that have a database."""
    return set(_databases)


def lose(home: Path) -> None:
    """Put an empty database in the place of a clinic's."""
    where, name = _databases[home]
    where.drop(name)
    _databases[home] = where, where.create()


def forget(home: Path) -> None:
    """Drop a clinic's database."""
    where, name = _databases.pop(home)
    where.drop(name)


def _place(home: Path) -> tuple[Cluster, str]:
    mark = home / MARK
    known = mark.read_text("utf-8").split("\n") if mark.exists() else None
    if home not in _databases:
        source = _databases.get(Path(known[0])) if known is not None else None
        where, name = source or (session_cluster(), None)
        _databases[home] = where, where.create(name)
    if home.is_dir() and (known is None or known[0] != str(home)):
        mark.write_text(f"{home}\n", "utf-8")
    return _databases[home]


def place_of(home: Path) -> Cluster:
    """The PostgreSQL a clinic's database is on."""
    return _place(home)[0]
