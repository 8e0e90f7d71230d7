"""This process's chain in the log: where it stands, and how events join it inside somebody's transaction."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Insert, Table, func, insert, select
from sqlalchemy.dialects import postgresql

from clinic_mcp.audit.event import GENESIS, Draft, Event, Writer, compose, leaf_hash
from clinic_mcp.audit.models import detail, event_patients, events, slices
from clinic_mcp.core.clinic import now

KNOWN_SLICES = 10_000
"""Digests of kept entity slices that a writer remembers, at most: it asks the database about others."""
REMEMBER_SLICES = 86_400
"""Seconds it remembers them: far less than any retention, so that none it relies on can have been purged."""
_LINK_LOCK = 0x636C696E6963  # "clinic": the advisory lock under which a writer finds the event it continues from
_INSERT_EVENT = insert(events).inline()  # no RETURNING: nobody asks for the row's number
_INSERT_PATIENT = insert(event_patients)
_INSERT_DETAIL = insert(detail).inline()


class OwnChain:
    """Gives drafts their places and writes them; whoever calls takes turns.

    Args:
        writer: The process.
        sqlite: Whether the log is on SQLite.
        details: The parts of calls whose bodies are kept beside the log.
    """

    def __init__(self, writer: Writer, *, sqlite: bool, details: Collection[str] = ()) -> None:
        self._writer = writer
        self._sqlite = sqlite
        self._seq = 0
        self._prev = GENESIS
        self._in_doubt = False  # whether the last commit happened: its answer may have been lost with the connection
        self._details = frozenset(details)
        self._kept_slices: set[str] = set()
        self._remembered_at = time.monotonic()

    def insert(self, connection: Connection, drafts: Sequence[Draft]) -> list[Event]:
        """Write events behind those that are committed. Once these are too, `advance`; if they may not be, `doubt`.

        Args:
            connection: An open write transaction.
            drafts: The events, in their order.
        """
        composed: list[Event] = []
        if self._in_doubt:
            self._catch_up(connection)
        if self._seq == 0 and drafts:
            after = self._link(connection)
            drafts = [replace(drafts[0], body={**drafts[0].body, "after": after}), *drafts[1:]]
        seq, prev, recorded = self._seq, self._prev, now()
        self._keep_slices(connection, {digest: text for draft in drafts for digest, text in draft.slices.items()})
        for draft in drafts:
            event = compose(draft, self._writer, seq, prev, recorded)
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

    def advance(self, composed: Sequence[Event]) -> None:
        """These events are committed."""
        if composed:
            self._seq += len(composed)
            self._prev = composed[-1].hash

    def doubt(self) -> None:
        """Nobody knows whether the last transaction was committed: ask before the next one."""
        self._in_doubt = True
        self._kept_slices.clear()  # what an unfinished transaction kept is not kept

    def _catch_up(self, connection: Connection) -> None:
        """Go on from this process's last event that is really on the record."""
        last = connection.execute(
            select(events.c.leaf, events.c.writer_seq)
            .where(events.c.boot_id == self._writer.boot_id)
            .order_by(events.c.writer_seq.desc())
            .limit(1)
        ).first()
        if last is not None:
            self._seq, self._prev = last.writer_seq + 1, leaf_hash(last.leaf)
        self._in_doubt = False

    def _link(self, connection: Connection) -> dict[str, Any] | None:
        """Continue from this server's last event, so that a tail cut off earlier shows from now on."""
        if not self._sqlite:  # SQLite's write transaction holds the only writer; PostgreSQL needs asking
            connection.execute(select(func.pg_advisory_xact_lock(_LINK_LOCK)))
        last = connection.execute(
            select(events.c.leaf, events.c.boot_id, events.c.writer_seq)
            .where(events.c.server == self._writer.server)
            .order_by(events.c.id.desc())
            .limit(1)
        ).first()
        self._prev = GENESIS if last is None else leaf_hash(last.leaf)
        return None if last is None else {"boot_id": last.boot_id, "seq": last.writer_seq, "hash": self._prev}

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
            connection.execute(insert_once(slices, sqlite=self._sqlite), rows)
        self._kept_slices |= wanted


def insert_once(table: Table, *, sqlite: bool) -> Insert:
    """An INSERT that passes over what is there already, where another writer may have been faster."""
    return insert(table) if sqlite else postgresql.insert(table).on_conflict_do_nothing()
