"""The write path of the audit log: events become durable, in chain order, or the call they belong to is refused.

Calls share commits. Each waits for its own event to be durable, not for its own fsync: whoever holds the turn
commits everything that queued up meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection, select
from sqlalchemy.exc import SQLAlchemyError

from clinic_mcp.audit.event import Draft, Phase, Writer, uuid7
from clinic_mcp.audit.held import Held
from clinic_mcp.audit.models import policy_texts
from clinic_mcp.audit.own_chain import OwnChain, insert_once
from clinic_mcp.core.clinic import now
from clinic_mcp.core.db import Database, cause, commit_in_doubt
from clinic_mcp.core.disk import Disk
from clinic_mcp.core.errors import IN_DOUBT, AuditUnavailable
from clinic_mcp.core.patience import DEFAULT, Patience

CLOSE_TIMEOUT = 1
"""Seconds a closing process waits for its turn, and again for the database."""


@dataclass(eq=False)
class _Pending:
    drafts: Sequence[Draft]
    durable: bool
    done: bool = False
    error: AuditUnavailable | None = None


class Transaction:
    """A write tool's transaction: its rows and its outcome event become durable together or not at all."""

    def __init__(self, connection: Connection, log: AuditLog) -> None:
        self.connection = connection
        self._log = log
        self.drafts: list[Draft] = []

    def record(self, draft: Draft) -> None:
        """Commit this event with the transaction."""
        self.drafts.append(draft)


class AuditLog:
    """A process's chain of events in the clinic's log.

    Args:
        database: Where the log lives: the same database as the data, so that both commit together.
        writer: The process.
        announce: Say on the record that the process starts, and at `close` that it stops.
        disk: Watches the room there is for it; without one, only the database itself can be full.
        patience: Seconds an event may take to become durable.
        details: The parts of calls whose bodies are kept beside the log: `arguments`, `result`, both or neither.

    Raises:
        AuditUnavailable: The log cannot be written; the server must not start.
    """

    def __init__(
        self,
        database: Database,
        writer: Writer,
        *,
        announce: bool = True,
        disk: Disk | None = None,
        patience: float = DEFAULT,
        details: Collection[str] = (),
    ) -> None:
        self.database = database
        self.writer = writer
        self.disk = disk
        self.patience = Patience(patience)
        self._announce = announce
        self._queue: list[_Pending] = []
        self._queue_lock = threading.Lock()
        self._turn = threading.Lock()  # held by the thread that commits
        self._held = Held(database)
        self._chain = OwnChain(writer, sqlite=database.sqlite, details=details)
        if announce:
            self.append(Draft(Phase.LIFECYCLE, "server.started", uuid7(), {}))

    def append(self, *drafts: Draft, durable: bool = True) -> None:
        """Put events on the record and return once they are.

        Args:
            drafts: Events, in the order they stand in the chain.
            durable: Wait for the disk. False only for an intent: it must survive this process, not the power,
                because nothing leaves before its outcome is durable in the same write-ahead log.

        Raises:
            AuditUnavailable: They are not on the record.
        """
        error = self._submit([_Pending(drafts, durable)])[0]
        if error is not None:
            raise error

    def append_each(self, drafts: Sequence[Draft], *, durable: bool) -> list[AuditUnavailable | None]:
        """Put events of different calls on the record together.

        Args:
            drafts: Events, one a call.
            durable: As in `append`.

        Returns:
            For each event why it is not on the record, or nothing.
        """
        return self._submit([_Pending([draft], durable) for draft in drafts])

    def _submit(self, pendings: list[_Pending]) -> list[AuditUnavailable | None]:
        if self.patience.over:  # the thread that has the turn may never come back
            return [too_slow(self.patience.seconds)] * len(pendings)
        with self._queue_lock:
            self._queue += pendings
        if not self._turn.acquire(timeout=self.patience.seconds):
            with self._queue_lock:  # whatever the thread that has the turn did not take yet is not recorded
                self._queue = [waiting for waiting in self._queue if waiting not in pendings]
            return [too_slow(self.patience.seconds)] * len(pendings)
        try:
            if not all(pending.done for pending in pendings):
                with self._queue_lock:
                    batch, self._queue = self._queue, []
                with self.patience.waiting():
                    self._commit(batch)
        finally:
            self._turn.release()
        interrupted = AuditUnavailable("The call could not be recorded: its writer was interrupted.")
        return [pending.error if pending.done else interrupted for pending in pendings]

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """A transaction for a write tool; its events are committed with its rows.

        Raises:
            AuditUnavailable: The transaction could not be opened or committed; nothing changed.
        """
        if not self._turn.acquire(timeout=self.patience.seconds):
            raise too_slow(self.patience.seconds)
        try:
            with _reported(), self.patience.waiting():
                self._check_room()
                connection = self._held.connection(durable=True)
                begun = connection.begin()
            transaction = Transaction(connection, self)
            try:
                yield transaction
                with _reported(), self.patience.waiting():
                    composed = self._chain.insert(connection, transaction.drafts)
                with _reported(committing=True), self.patience.waiting():
                    begun.commit()
            except BaseException:
                self._abandon()
                raise
            self._chain.advance(composed)
        finally:
            self._turn.release()

    def keep_policies(self, texts: Mapping[str, str]) -> None:
        """Keep the texts behind the decisions this process will make, under the digests its events name.

        Args:
            texts: Policy-set and schema text by SHA-256.

        Raises:
            AuditUnavailable: They cannot be kept.
        """
        with _reported(), self.database.write() as connection:
            known = set(connection.execute(select(policy_texts.c.digest)).scalars())
            for digest in texts.keys() - known:
                row = {"digest": digest, "text": texts[digest], "first_used": now()}
                connection.execute(insert_once(policy_texts, sqlite=self.database.sqlite), row)

    def close(self, *, finished: bool = True) -> None:
        """Say that this process stops, and let go of the database.

        Args:
            finished: Whether each of its calls has an outcome; else its next start shall find it lost, and close them.

        A process that is told to stop has no time to wait for a lock that somebody else holds; a start that never said
        it stopped is found by the next one.
        """
        if not self._turn.acquire(timeout=CLOSE_TIMEOUT):
            return
        try:
            if self._announce and finished:
                stopped = _Pending([Draft(Phase.LIFECYCLE, "server.stopped", uuid7(), {})], durable=True)
                self._held.hurry(CLOSE_TIMEOUT)
                self._commit([stopped])
        finally:
            self._abandon()
            self._turn.release()

    def _commit(self, batch: list[_Pending]) -> None:
        if not batch:
            return
        durable = any(pending.durable for pending in batch)
        error: AuditUnavailable | None = None
        try:
            with _reported():
                self._check_room()
                connection = self._held.connection(durable=durable)
                with connection.begin():
                    composed = self._chain.insert(connection, [draft for pending in batch for draft in pending.drafts])
            self._chain.advance(composed)
        except AuditUnavailable as exc:
            error = exc
            self._abandon()
        except Exception:  # noqa: BLE001 - whatever it was, the waiting calls must be told
            # A draft that cannot be encoded must not take its neighbours with it, nor wedge the queue.
            self._abandon()
            if len(batch) > 1:
                for pending in batch:
                    self._commit([pending])
                return
            error = AuditUnavailable("The call could not be recorded (event not encodable).")
        for pending in batch:
            pending.done, pending.error = True, error

    def _check_room(self) -> None:
        if self.disk is not None:
            self.disk.check(bulk=False)

    def _abandon(self) -> None:
        """Drop connections whose state is in doubt; the next event opens new ones."""
        self._chain.doubt()
        self._held.drop()


def too_slow(seconds: float) -> AuditUnavailable:
    """What callers are told when the store does not answer."""
    return AuditUnavailable(
        f"The call could not be recorded: the audit store is not available (no answer within {seconds:g} seconds).",
        "Nothing was returned. Try again when the clinic's database is back.",
    )


@contextmanager
def _reported(*, committing: bool = False) -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as exc:
        done, advice = "Nothing was changed.", "Try again when the clinic's database is back."
        if committing and commit_in_doubt(exc):
            done, advice = IN_DOUBT
        raise AuditUnavailable(
            f"The call could not be recorded: the audit store is not available ({cause(exc)}). {done}", advice
        ) from exc
