"""A clinic's data folder as a test has it: the real command, the real database, the real keys."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from clinic_mcp.audit.event import Writer
from clinic_mcp.audit.log import AuditLog
from clinic_mcp.consultations.store import Actor, Consultations
from clinic_mcp.core.clinic import Status
from clinic_mcp.core.db import Database
from clinic_mcp.core.grants import role
from clinic_mcp.core.settings import Settings

from support import databases
from support.prompt import prompt
from support.tokens import Minter

COMMAND = [sys.executable, "-m", "clinic_mcp"]
COMMAND_TIMEOUT = 60
OPERATOR = Actor("Operator", "test")


@dataclass(frozen=True)
class Clinic:
    """A folder made by `clinic-mcp init --demo`."""

    home: Path

    @property
    def environment(self) -> dict[str, str]:
        """A child process's environment: this folder and its database, nothing else of CLINIC_*."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CLINIC_")}
        own = {"CLINIC_DATABASE_URL": self.url} if self.url else {}
        return {**kept, **own, "CLINIC_HOME": str(self.home), "NO_COLOR": "1"}

    def environment_of(self, part: str) -> dict[str, str]:
        """The environment of a server's process: on PostgreSQL it comes in its own role."""
        own = {"CLINIC_DATABASE_URL": databases.url(self.home, role(part))} if self.url else {}
        return {**self.environment, **own}

    @property
    def url(self) -> str:
        """The database's URL on PostgreSQL; empty means the file in the folder."""
        return databases.url(self.home)

    @property
    def settings(self) -> Settings:
        return Settings(home=self.home, database_url=self.url)

    @property
    def file(self) -> Path:
        return self.home / "clinic.db"

    @cached_property
    def tokens(self) -> Minter:
        return Minter(self.home / "keys")

    def run(self, *arguments: str, code: int | None = 0, **extra: str) -> subprocess.CompletedProcess[str]:
        """Run `clinic-mcp` in this clinic; `code` is the exit code it must have, None for any."""
        done = subprocess.run(
            [*COMMAND, *arguments],
            env={**self.environment, **extra},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT,
            check=False,
        )
        if code is not None:
            assert done.returncode == code, f"{arguments} exited {done.returncode}: {done.stdout}\n{done.stderr}"
        return done

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self.run(*arguments, "--json", code=code).stdout)

    @contextmanager
    def desk(self) -> Iterator[Consultations]:
        """The consultations of this clinic, in this process."""
        database = Database(self.settings.url)
        log = AuditLog(database, Writer("consultations", "main", "clinic-mcp/main"), announce=False)
        try:
            yield Consultations(log, "main")
        finally:
            log.close()
            database.close()

    def consult(
        self, patient: str = "P001", *, notes: str | None = None, closed: bool = False, clinician: str = "dr-osei"
    ) -> str:
        """Open a consultation, perhaps sign it off, perhaps close it; returns its session id.

        What earlier consultations prescribed has run its course: it would be a duplicate otherwise.
        """
        self.execute("UPDATE prescriptions SET status = 'completed' WHERE status = 'active'")
        with self.desk() as desk:
            session = str(desk.open(OPERATOR, patient, "headache and fever")["session_id"])
            if notes is not None:
                desk.move(OPERATOR, session, Status.AWAITING_DOCTOR)
                desk.sign_off(clinician, session, notes)
            if closed:
                desk.close(OPERATOR, session)
        return session

    @contextmanager
    def database(self) -> Iterator[Database]:
        opened = Database(self.settings.url)
        try:
            yield opened
        finally:
            opened.close()

    @contextmanager
    def sql(self) -> Iterator[Any]:
        """A plain connection in autocommit, in `sqlite3`'s words: what an attacker or an accident has."""
        with prompt(self.url, self.file) as connection:
            yield connection

    def execute(self, statement: str, *values: object) -> list[Any]:
        with self.sql() as connection:
            done = connection.execute(statement, values)
            return list(done.fetchall()) if done.description else []

    def lose_database(self) -> None:
        """What a failed disk leaves: the folder, without the data."""
        if self.url:
            databases.lose(self.home)
        else:
            self.file.unlink()

    @contextmanager
    def write_lock(self) -> Iterator[None]:
        """Hold SQLite's write lock, or PostgreSQL's on the log: whatever must be recorded now waits."""
        with self.sql() as connection:
            connection.execute("BEGIN" if self.url else "BEGIN IMMEDIATE")
            if self.url:
                connection.execute("LOCK TABLE audit_events IN EXCLUSIVE MODE")
            try:
                yield
            finally:
                connection.execute("ROLLBACK")
