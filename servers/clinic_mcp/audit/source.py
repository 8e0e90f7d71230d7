"""Where a log is read from to be checked: the database, or an export that was carried elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from sqlalchemy import Connection, and_, select

from clinic_mcp.audit.models import checkpoints, events, leaves, policy_texts, purged_calls, purges, slices
from clinic_mcp.audit.retention.statement import PurgedCall
from clinic_mcp.core.policy import text_digest

BATCH = 1_000
"""Rows read at a time."""

Kind = Literal["policies", "slices"]
TextState = Literal["intact", "altered", "missing"]


@dataclass(frozen=True)
class Stored:
    """An event as it is kept.

    Args:
        event_id: Its id, as it stands beside it.
        leaf: Its bytes; none where a leaf of the tree has lost its event.
        index: Its place in the tree, if it has one yet.
        hash: Its leaf hash as the tree keeps it, where that is at hand.
        row: Its row's number; 0 in an export.
        columns: What stands beside the bytes; none in an export.
    """

    event_id: str
    leaf: bytes | None
    index: int | None = None
    hash: bytes | None = None
    row: int = 0
    columns: Any = None


@dataclass(frozen=True)
class KeptCheckpoint:
    """A checkpoint as it is kept: the note, and what repeats parts of it."""

    size: int
    root: str
    note: str
    recorded: str


@dataclass(frozen=True)
class KeptPurge:
    """A purge as it is listed: below which place events may be gone, the act that recorded it, and its cutoff."""

    upto: int
    call_id: str
    cutoff: str


class Source(Protocol):
    """What a check reads."""

    def events(self, start: int) -> Iterator[Stored]:
        """The events from a place in the tree on, in its order; then those that have no place yet."""
        ...

    def checkpoints(self, start: int) -> Iterator[KeptCheckpoint]:
        """The checkpoints from a size on, in the order they were signed."""
        ...

    def text(self, kind: Kind, digest: str) -> TextState:
        """How the text kept under a digest is."""
        ...

    def texts(self, kind: Kind) -> Iterator[tuple[str, str]]:
        """Every kept text, under its digest."""
        ...

    def purges(self) -> Iterator[KeptPurge]:
        """The purges that are listed."""
        ...

    def event_of(self, call_id: str) -> Stored | None:
        """The event of an operator's act, with its place, or nothing."""
        ...

    def purged_calls(self, upto: int) -> Iterator[PurgedCall]:
        """What is kept of the calls below a place, in its order."""
        ...

    def purged_call(self, call_id: str, table: str | None) -> PurgedCall | None:
        """What is kept of one call: what it wrote in a table, or that it had an intent."""
        ...

    def purged_leaf(self, hash_: bytes, upto: int) -> bool:
        """Whether a leaf below a place has this hash."""
        ...


_TABLES = {"policies": policy_texts, "slices": slices}


class DatabaseSource:
    """The log in the database, streamed.

    Args:
        connection: An open read transaction: one picture of the log.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def events(self, start: int) -> Iterator[Stored]:
        """See `Source`."""
        same = and_(events.c.id == leaves.c.event, events.c.event_id == leaves.c.event_id)
        placed = (
            select(leaves.c.leaf_index, leaves.c.event_id.label("leaf_event"), leaves.c.hash, events)
            .select_from(leaves.outerjoin(events, same))
            .where(leaves.c.leaf_index >= start)
            .order_by(leaves.c.leaf_index)
        )
        for row in self._stream(placed):
            leaf = None if row.leaf is None else bytes(row.leaf)
            yield Stored(row.leaf_event, leaf, row.leaf_index, bytes(row.hash), row.id or 0, row)
        loose = select(events).where(~select(leaves.c.event).where(same).exists()).order_by(events.c.id)
        for row in self._stream(loose):
            yield Stored(row.event_id, bytes(row.leaf), row=row.id, columns=row)

    def checkpoints(self, start: int) -> Iterator[KeptCheckpoint]:
        """See `Source`."""
        query = select(checkpoints).where(checkpoints.c.size >= start).order_by(checkpoints.c.id)
        for row in self._stream(query):
            yield KeptCheckpoint(row.size, row.root, row.note, row.recorded)

    def text(self, kind: Kind, digest: str) -> TextState:
        """See `Source`."""
        table = _TABLES[kind]
        found: str | None = self._connection.execute(select(table.c.text).where(table.c.digest == digest)).scalar()
        if found is None:
            return "missing"
        return "intact" if text_digest(found) == digest else "altered"

    def texts(self, kind: Kind) -> Iterator[tuple[str, str]]:
        """See `Source`."""
        table = _TABLES[kind]
        for row in self._stream(select(table.c.digest, table.c.text)):
            yield row.digest, row.text

    def purges(self) -> Iterator[KeptPurge]:
        """See `Source`."""
        for row in self._stream(select(purges)):
            yield KeptPurge(row.upto, row.call_id, row.cutoff)

    def event_of(self, call_id: str) -> Stored | None:
        """See `Source`."""
        query = (
            select(events.c.event_id, events.c.leaf, leaves.c.leaf_index, leaves.c.hash)
            .select_from(events.outerjoin(leaves, leaves.c.event == events.c.id))
            .where(events.c.call_id == call_id, events.c.phase == "admin")
        )
        row = self._connection.execute(query).first()
        return None if row is None else Stored(row.event_id, bytes(row.leaf), row.leaf_index, row.hash)

    def purged_calls(self, upto: int) -> Iterator[PurgedCall]:
        """See `Source`."""
        query = select(purged_calls).where(purged_calls.c.leaf_index < upto).order_by(purged_calls.c.leaf_index)
        for row in self._stream(query):
            yield PurgedCall(*row)

    def purged_call(self, call_id: str, table: str | None) -> PurgedCall | None:
        """See `Source`."""
        written = purged_calls.c.table_name.is_(None) if table is None else purged_calls.c.table_name == table
        row = self._connection.execute(select(purged_calls).where(purged_calls.c.call_id == call_id, written)).first()
        return None if row is None else PurgedCall(*row)

    def purged_leaf(self, hash_: bytes, upto: int) -> bool:
        """See `Source`. From the end, because a chain that goes on was mostly at work shortly before."""
        query = select(leaves.c.leaf_index).where(leaves.c.leaf_index < upto, leaves.c.hash == hash_)
        return self._connection.execute(query.order_by(leaves.c.leaf_index.desc()).limit(1)).first() is not None

    def by_place(self, boot_id: str, seq: int) -> Any:
        """An event by its place in its writer's chain: id, event_id and leaf, or nothing."""
        columns = select(events.c.id, events.c.event_id, events.c.leaf)
        return self._connection.execute(columns.where(events.c.boot_id == boot_id, events.c.writer_seq == seq)).first()

    def intent_of(self, call_id: str) -> str | None:
        """The event id of a call's intent, or nothing."""
        query = select(events.c.event_id).where(events.c.call_id == call_id, events.c.phase == "intent")
        found: str | None = self._connection.execute(query).scalar()
        return found

    def _stream(self, query: Any) -> Iterator[Any]:
        yield from self._connection.execution_options(yield_per=BATCH).execute(query)


def columns_of(stored: Stored) -> Mapping[str, Any] | None:
    """What stands beside an event's bytes, by column."""
    return None if stored.columns is None else stored.columns._mapping
