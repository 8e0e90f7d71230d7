"""The write path of the audit log: events become durable, in chain order, or the call they belong to is refused.

Calls share commits. Each waits for its own event to be durable, not for its own fsync: whoever holds the turn
commits everything that queued up meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Insert, Table, func, insert, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import SQLAlchemyError

from clinic_mcp.audit.event import GENESIS, Draft, Event, Phase, Writer, compose, leaf_hash, uuid7
from clinic_mcp.audit.models import detail, event_patients, events, policy_texts, slices
from clinic_mcp.core.clinic import now
from clinic_mcp.core.db import Database, cause
from clinic_mcp.core.errors import AuditUnavailable

CLOSE_TIMEOUT = 1
"""Seconds a closing process waits for its turn, and again for the database."""
_LINK_LOCK = 0x636C696E6963  # "clinic": the advisory lock under which a writer finds the event it continues from
KNOWN_SLICES = 10_000
"""Digests of kept entity slices that a writer remembers, at most: it asks the database about others."""
REMEMBER_SLICES = 86_400
"""Seconds it remembers them: far less than any retention, so that none it relies on can have been purged."""
_INSERT_EVENT = insert(events).inline()  # no RETURNING: nobody asks for the row's number
_INSERT_PATIENT = insert(event_patients)
_INSERT_DETAIL = insert(detail).inline()


@dataclass
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
        details: The parts of calls whose bodies are kept beside the log: `arguments`, `result`, both or neither.

    Raises:
        AuditUnavailable: The log cannot be written; the server must not start.
    """

    def __init__(
        self, database: Database, writer: Writer, *, announce: bool = True, details: Collection[str] = ()
    ) -> None:
        self.database = database
        self.writer = writer
        self._announce = announce
        self._details = frozenset(details)
        self._queue: list[_Pending] = []
        self._queue_lock = threading.Lock()
        self._turn = threading.Lock()  # held by the thread that commits
        self._held: Connection | None = None
        self._held_durable = True
        self._seq = 0
        self._prev = GENESIS
        self._in_doubt = False  # whether the last commit happened: its answer may have been lost with the connection
        self._kept_slices: set[str] = set()
        self._remembered_at = time.monotonic()
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
        with self._queue_lock:
            self._queue += pendings
        with self._turn:
            if not all(pending.done for pending in pendings):
                with self._queue_lock:
                    batch, self._queue = self._queue, []
                self._commit(batch)
        interrupted = AuditUnavailable("The call could not be recorded: its writer was interrupted.")
        return [pending.error if pending.done else interrupted for pending in pendings]

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """A transaction for a write tool; its events are committed with its rows.

        Raises:
            AuditUnavailable: The transaction could not be opened or committed; nothing changed.
        """
        with self._turn:
            with _reported():
                connection = self._connection(durable=True)
                begun = connection.begin()
            transaction = Transaction(connection, self)
            try:
                yield transaction
                with _reported():
                    composed = self._insert(connection, transaction.drafts)
                    begun.commit()
            except BaseException:
                self._abandon()
                raise
            self._advance(composed)

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
                connection.execute(_insert_once(policy_texts, sqlite=self.database.sqlite), row)

    def close(self) -> None:
        """Say that this process stops, and let go of the database.

        A process that is told to stop has no time to wait for a lock that somebody else holds; a start that never said
        it stopped is found by the next one.
        """
        if not self._turn.acquire(timeout=CLOSE_TIMEOUT):
            return
        try:
            if self._announce:
                stopped = _Pending([Draft(Phase.LIFECYCLE, "server.stopped", uuid7(), {})], durable=True)
                self._hurry()
                self._commit([stopped])
        finally:
            self._abandon()
            self._turn.release()

    def _hurry(self) -> None:
        """Wait for SQLite's write lock no longer than a closing process may."""
        with suppress(SQLAlchemyError):
            if self.database.sqlite:
                cursor = self._connection(durable=True).connection.cursor()
                cursor.execute(f"PRAGMA busy_timeout={CLOSE_TIMEOUT * 1000}")
                cursor.close()

    def _link(self, connection: Connection) -> dict[str, Any] | None:
        """Continue from this server's last event, so that a tail cut off earlier shows from now on."""
        if not self.database.sqlite:  # SQLite's write transaction holds the only writer; PostgreSQL needs asking
            connection.execute(select(func.pg_advisory_xact_lock(_LINK_LOCK)))
        last = connection.execute(
            select(events.c.leaf, events.c.boot_id, events.c.writer_seq)
            .where(events.c.server == self.writer.server)
            .order_by(events.c.id.desc())
            .limit(1)
        ).first()
        self._prev = GENESIS if last is None else leaf_hash(last.leaf)
        return None if last is None else {"boot_id": last.boot_id, "seq": last.writer_seq, "hash": self._prev}

    def _commit(self, batch: list[_Pending]) -> None:
        if not batch:
            return
        durable = any(pending.durable for pending in batch)
        error: AuditUnavailable | None = None
        try:
            with _reported():
                connection = self._connection(durable=durable)
                with connection.begin():
                    composed = self._insert(connection, [draft for pending in batch for draft in pending.drafts])
            self._advance(composed)
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

    def _insert(self, connection: Connection, drafts: Sequence[Draft]) -> list[Event]:
        composed: list[Event] = []
        if self._in_doubt:
            self._catch_up(connection)
        if self._seq == 0 and drafts:
            after = self._link(connection)
            drafts = [replace(drafts[0], body={**drafts[0].body, "after": after}), *drafts[1:]]
        seq, prev, recorded = self._seq, self._prev, now()
        self._keep_slices(connection, {digest: text for draft in drafts for digest, text in draft.slices.items()})
        for draft in drafts:
            event = compose(draft, self.writer, seq, prev, recorded)
            composed.append(event)
            seq, prev = seq + 1, event.hash
        if composed:
            connection.execute(_INSERT_EVENT, [event.row for event in composed])
        patients = [
            {"patient_id": patient, "event_id": event.row["event_id"]}
            for event in composed
            if len(event.patients) > 1
            for patient in event.patients
        ]
        if patients:
            connection.execute(_INSERT_PATIENT, patients)
        if self._details:
            self._keep_details(connection, drafts, composed)
        return composed

    def _keep_details(self, connection: Connection, drafts: Sequence[Draft], composed: Sequence[Event]) -> None:
        """Keep what these events' commitments are to, where it can be erased without touching them."""
        rows = [
            {
                "event_id": event.row["event_id"],
                "part": part,
                "salt": committed.salt,
                "body": committed.body,
                "recorded": event.row["recorded"],
            }
            for draft, event in zip(drafts, composed, strict=True)
            for part, committed in draft.details.items()
            if part in self._details
        ]
        if rows:
            connection.execute(_INSERT_DETAIL, rows)

    def _catch_up(self, connection: Connection) -> None:
        """Go on from this process's last event that is really on the record."""
        last = connection.execute(
            select(events.c.leaf, events.c.writer_seq)
            .where(events.c.boot_id == self.writer.boot_id)
            .order_by(events.c.writer_seq.desc())
            .limit(1)
        ).first()
        if last is not None:
            self._seq, self._prev = last.writer_seq + 1, leaf_hash(last.leaf)
        self._in_doubt = False

    def _keep_slices(self, connection: Connection, texts: Mapping[str, str]) -> None:
        """Keep what the decisions of these events were made on, once for all that saw the same."""
        if len(self._kept_slices) > KNOWN_SLICES or time.monotonic() - self._remembered_at > REMEMBER_SLICES:
            self._kept_slices.clear()
            self._remembered_at = time.monotonic()
        wanted = texts.keys() - self._kept_slices
        if not wanted:
            return
        known = set(connection.execute(select(slices.c.digest).where(slices.c.digest.in_(wanted))).scalars())
        rows = [{"digest": digest, "text": texts[digest], "first_used": now()} for digest in sorted(wanted - known)]
        if rows:
            # Another writer may keep the same meanwhile, on PostgreSQL; SQLite has one writer.
            connection.execute(_insert_once(slices, sqlite=self.database.sqlite), rows)
        self._kept_slices |= wanted

    def _advance(self, composed: list[Event]) -> None:
        if composed:
            self._seq += len(composed)
            self._prev = composed[-1].hash

    def _connection(self, *, durable: bool) -> Connection:
        """The one connection of the log, waiting for the disk at its next commit or not.

        One, because SQLite drops a connection's page cache when another connection has written.
        """
        if self._held is None:
            self._held = self.database.engine.connect().execution_options(clinic_write=True)
            self._held_durable = True
        if self.database.sqlite and durable != self._held_durable:
            cursor = self._held.connection.cursor()
            cursor.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            cursor.close()
            self._held_durable = durable
        return self._held

    def _abandon(self) -> None:
        """Drop a connection whose state is in doubt; the next event opens a new one."""
        self._in_doubt = True
        self._kept_slices.clear()  # what an unfinished transaction kept is not kept
        held, self._held = self._held, None
        if held is not None:
            held.invalidate()
            held.close()


def _insert_once(table: Table, *, sqlite: bool) -> Insert:
    return insert(table) if sqlite else postgresql.insert(table).on_conflict_do_nothing()


@contextmanager
def _reported() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as exc:
        raise AuditUnavailable(
            f"The call could not be recorded: the audit store is not available ({cause(exc)}).",
            "Nothing was changed. Try again when the clinic's database is back.",
        ) from exc
