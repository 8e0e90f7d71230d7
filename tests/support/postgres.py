"""A PostgreSQL of the tests' own: a cluster in a temporary folder, with a database for each clinic."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path
from tempfile import mkdtemp

import psycopg
from psycopg import sql

from support.ports import free_port
from support.waiting import eventually

OWNER = "clinic_owner"
"""Owns the clinics' databases, as the role an operator runs `clinic-mcp init` with does: no superuser."""
START_TIMEOUT = 60
_CONFIGURATION = """
listen_addresses = '127.0.0.1'
max_connections = 200
synchronous_commit = on
shared_buffers = 64MB
log_min_messages = fatal
"""


class NoPrograms(Exception):
    """PostgreSQL's programs are not on this machine."""


@dataclass
class Cluster:
    """A running PostgreSQL server.

    Args:
        folder: Everything of it.
        port: Of 127.0.0.1.
    """

    folder: Path
    port: int = field(default_factory=free_port)
    _names: count[int] = field(default_factory=count)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def url(self, database: str, role: str = OWNER) -> str:
        return f"postgresql://{role}@127.0.0.1:{self.port}/{database}"

    def admin(self, database: str = "postgres") -> psycopg.Connection[tuple[object, ...]]:
        """A superuser's connection, in autocommit."""
        return psycopg.connect(self.url(database, "postgres"), autocommit=True)

    def create(self, template: str | None = None) -> str:
        """A new database; a copy of another one where that is given, which nobody may be connected to."""
        with self._lock:
            name = f"clinic{next(self._names)}"
        statement = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}").format(
            sql.Identifier(name), sql.Identifier(OWNER), sql.Identifier(template or "template0")
        )

        def made() -> bool:
            try:
                with self.admin() as connection:
                    connection.execute(statement)
            except psycopg.errors.ObjectInUse:  # a process that was told to stop is still on its way out
                return False
            return True

        eventually(made, 30, every=0.2)
        return name

    def drop(self, database: str) -> None:
        with self.admin() as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database)))

    def start(self) -> None:
        self._ctl("start", "-o", f"-p {self.port} -k {self.folder}", "-l", str(self.folder / "log"), "-w")

    def stop(self, mode: str = "fast") -> None:
        """Stop it: `fast` ends every connection, `immediate` is a crash."""
        self._ctl("stop", "-m", mode, "-w")

    def start_again(self) -> None:
        """Start it if it has stopped."""
        try:
            self.admin().close()
        except psycopg.OperationalError:
            self.start()

    def _ctl(self, *arguments: str) -> None:
        run_as_postgres([program("pg_ctl"), "-D", str(self.data), "-t", str(START_TIMEOUT), *arguments])


@contextmanager
def cluster(parent: Path | None = None, *, durable: bool = False) -> Iterator[Cluster]:
    """A new cluster, running; gone at the end.

    Args:
        parent: Where its folder is made.
        durable: Whether it waits for the disk. A killed process needs no disk to be remembered, only a lost power does,
            so the tests do without; what measures it does not.

    Raises:
        NoPrograms: PostgreSQL is not installed.
    """
    made = Cluster(Path(mkdtemp(prefix="clinic-pg-", dir=parent)))
    try:
        _give(made.folder)
        options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"]
        run_as_postgres([program("initdb"), "-D", str(made.data), *options])
        with (made.data / "postgresql.conf").open("a") as file:
            file.write(f"{_CONFIGURATION}fsync = {'on' if durable else 'off'}\n")
        made.start()
        try:
            with made.admin() as connection:
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN CREATEROLE").format(sql.Identifier(OWNER)))
            yield made
        finally:
            made.stop("immediate")
    finally:
        shutil.rmtree(made.folder, ignore_errors=True)


@cache
def program(name: str) -> str:
    """Where one of PostgreSQL's programs is: on the path, or where distributions put them.

    Raises:
        NoPrograms: It is nowhere.
    """
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    folders += [*Path("/usr").glob("pgsql-*/bin"), *Path("/opt/homebrew/opt").glob("postgresql*/bin")]
    for folder in folders:
        if (folder / name).is_file():
            return str(folder / name)
    raise NoPrograms(
        f"These tests need PostgreSQL's own programs, and `{name}` is not on the path or under /usr/lib/postgresql:"
        " install the package `postgresql`."
    )


def run_as_postgres(command: Sequence[str]) -> None:
    """Run one of its programs, as somebody else where this is root: it refuses root."""
    name = _somebody()
    owner = {} if name is None else {"user": name, "group": pwd.getpwnam(name).pw_gid, "extra_groups": []}
    done = subprocess.run(
        command,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if "start" not in command else subprocess.DEVNULL,
        stderr=subprocess.PIPE if "start" not in command else subprocess.DEVNULL,
        text=True,
        timeout=START_TIMEOUT * 2,
        cwd="/",
        **owner,  # type: ignore[call-overload]
    )
    assert done.returncode == 0, f"{command} exited {done.returncode}: {done.stdout} {done.stderr}"


def _somebody() -> str | None:
    if os.getuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _give(folder: Path) -> None:
    if (name := _somebody()) is not None:
        entry = pwd.getpwnam(name)
        os.chown(folder, entry.pw_uid, entry.pw_gid)
