"""The sequencer: gives every event its place in the tree, and signs checkpoints.

It runs after the events are committed, so no tool server waits for it, sequences, or needs its key. Everything it does
is one transaction a batch: killed at any moment, the next start goes on where the last commit ended.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, func, insert, select
from sqlalchemy.exc import SQLAlchemyError

from clinic_mcp.audit import checkpoint, keys, tree, witness
from clinic_mcp.audit.checkpoint import Checkpoint, origin_of
from clinic_mcp.audit.merkle import root
from clinic_mcp.audit.models import checkpoints
from clinic_mcp.audit.note import BadNote
from clinic_mcp.core import tracing
from clinic_mcp.core.clinic import now
from clinic_mcp.core.db import Database, cause
from clinic_mcp.core.errors import ClinicError, Misconfigured
from clinic_mcp.core.grants import SEQUENCER
from clinic_mcp.core.log import logger
from clinic_mcp.core.settings import Settings

EVERY = 1.0
"""Seconds between two looks for pending events."""
BATCH = 1_000
"""Events a transaction gives their places, at most: how long writers may wait for it."""
GROWN = timedelta(minutes=1)
"""A tree that has grown is signed this long after its last checkpoint."""
IDLE = timedelta(hours=1)
"""One that has not is signed again after this long, so that silence shows."""
RETRY = 60.0
"""Seconds before something that failed is said again."""
_LOCK = 0x636C696E6974  # "clinit": the advisory lock of the one sequencer


@dataclass(frozen=True)
class Step:
    """What a pass did: events that got their places, and the size that was signed, if one was."""

    sequenced: int
    signed: int | None


class Inconsistent(ClinicError):
    """The tree no longer holds what its last checkpoint says: nothing more is signed (C2SP tlog-checkpoint,
    "Signatures": a log must not sign a checkpoint that is inconsistent with one it signed before)."""

    code = "inconsistent"


class Sequencer:
    """Grows the tree of one clinic's log.

    Args:
        settings: Where the keys and the witness file are.
        database: Where the log is.
    """

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._origin = origin_of(settings.id)
        self._lines = logger("sequencer")
        self._said: dict[str, datetime] = {}

    def run(self, stop: threading.Event) -> None:
        """Pass after pass until told to stop; what fails is logged and tried again."""
        while not stop.wait(EVERY):
            try:
                self.step()
            except SQLAlchemyError as exc:
                self._say("sequencer.waiting", cause=cause(exc))
            except Exception as exc:  # noqa: BLE001 - the thread must outlive whatever one pass meets
                self._say("sequencer.failed", error=type(exc).__name__)

    def step(self, *, at_once: bool = False) -> Step:
        """Sequence what is pending, and sign if it is time.

        Args:
            at_once: Sign what has grown now; a key that cannot be read is an error then.

        Raises:
            SQLAlchemyError: The database cannot be written.
            Misconfigured: The key cannot be read, and signing was asked for.
            Inconsistent: The tree is not the one that was signed, and signing was asked for.
        """
        sequenced = 0
        while count := self._sequence():
            sequenced += count
        try:
            return Step(sequenced, self._sign(at_once))
        except (Misconfigured, Inconsistent) as exc:
            if at_once:
                raise
            self._say("checkpoint.failed", cause=exc.message)
            return Step(sequenced, None)

    def _sequence(self) -> int:
        sqlite = self._database.sqlite
        with self._database.read() as connection:  # so that an idle log never takes the write lock
            oldest = tree.pending(connection, 1, sqlite=sqlite)
        tracing.lag(_age(oldest[0].recorded) if oldest else 0.0)
        if not oldest:
            return 0
        with self._database.write() as connection:
            if not self._alone(connection):
                return 0
            pending = tree.pending(connection, BATCH, sqlite=sqlite)
            tree.grow(connection, pending)
        return len(pending)

    def _sign(self, at_once: bool) -> int | None:
        with self._database.read() as connection:
            if not self._is_due(connection, at_once):
                return None
        with self._database.write() as connection:
            # Read in the transaction, so that checkpoints stand in the order of their keys.
            if not self._alone(connection) or not self._is_due(connection, at_once):
                return None
            key = keys.read(self._settings.keys)
            made = self._next(connection)
            note = made.signed(key)
            row = {"size": made.size, "root": made.root64, "note": note, "recorded": now()}
            connection.execute(insert(checkpoints), row)
        self._tell_witness(note)
        return made.size

    def _next(self, connection: Connection) -> Checkpoint:
        size, nodes = tree.size(connection), tree.StoredNodes(connection)
        last = tree.latest_checkpoint(connection)
        try:
            signed = checkpoint.parse(last.note).checkpoint if last is not None else None
            if signed is not None and (signed.size > size or root(nodes, signed.size) != signed.root):
                raise Inconsistent("The tree is not the one that was signed.", "Run `clinic-mcp audit verify`.")
            return Checkpoint(self._origin, size, root(nodes, size))
        except (LookupError, BadNote) as exc:
            raise Inconsistent("The tree was damaged.", "Run `clinic-mcp audit verify`.") from exc

    def _is_due(self, connection: Connection, at_once: bool) -> bool:
        size, last = tree.size(connection), tree.latest_checkpoint(connection)
        if last is None or size == 0:
            return size > 0
        if at_once:
            return bool(size != last.size)
        age = datetime.now(UTC) - datetime.fromisoformat(last.recorded)
        return age >= (GROWN if size != last.size else IDLE)

    def _alone(self, connection: Connection) -> bool:
        """Whether only this transaction sequences: by SQLite's write lock, or PostgreSQL's advisory one."""
        if self._database.sqlite:
            return True
        return bool(connection.execute(select(func.pg_try_advisory_xact_lock(_LOCK))).scalar())

    def _tell_witness(self, note: str) -> None:
        path = self._settings.witness
        if path is None:
            return
        try:
            witness.append(path, note)
        except OSError as exc:
            self._say("witness.failed", path=str(path), cause=exc.strerror)

    def _say(self, what: str, **facts: object) -> None:
        moment = datetime.now(UTC)
        if moment - self._said.get(what, datetime.min.replace(tzinfo=UTC)) >= timedelta(seconds=RETRY):
            self._said[what] = moment
            self._lines.warning(what, **facts)


def _age(recorded: str) -> float:
    return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(recorded)).total_seconds())


class Background:
    """The sequencer in a thread of its own, beside a service.

    Args:
        settings: The operator's settings.
    """

    def __init__(self, settings: Settings) -> None:
        self._database = Database(settings.url, part=SEQUENCER)
        self._stop = threading.Event()
        run = Sequencer(settings, self._database).run
        self._thread = threading.Thread(target=run, args=(self._stop,), name="sequencer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop after the pass in hand; what it leaves is the next start's."""
        self._stop.set()
        self._thread.join(timeout=1)
        with suppress(SQLAlchemyError):
            self._database.close()
