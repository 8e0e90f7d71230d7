"""The rows the servers wrote and the calls that wrote them, both ways: each row has its call, each effect its row."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, and_, or_, select

from clinic_mcp.audit.event import Phase
from clinic_mcp.audit.findings import Found
from clinic_mcp.audit.models import events, purged_calls
from clinic_mcp.audit.source import BATCH

STARTER_CALL = "starter"
"""What rows of the starter data say instead of a call, where a table has such rows."""
CREATED = {"consultation.opened": "consultations", "consultation.signed_off": "sign_offs"}
"""The desk's events that made a row, and its table."""
REVIEWED = ("emergency_access", "guardrail_overrides")
"""Tables a row of which brings a row of `review_items` with it, written by the same call."""
REVIEW_ITEMS = "review_items"


class Effects:
    """Checks that what the events say was written is there.

    Args:
        connection: An open read transaction.
        tables: The tables the servers' tools write.
        floor: Below this place events were purged: what their calls wrote is kept in `audit_purged_calls`.
    """

    def __init__(self, connection: Connection, tables: Sequence[Table], floor: int = 0) -> None:
        self._connection = connection
        self._floor = floor
        self._tables = {table.name: table for table in tables}

    def check(self, record: Mapping[str, Any]) -> None:
        """Look up the row an event says its call made.

        Raises:
            Found: It is gone.
        """
        effect = record.get("effect")
        if effect is None:
            return
        if record["phase"] == Phase.REVIEW:
            self._check_verdict(record)
            return
        name = effect.get("table") if effect.get("kind") == "insert" else CREATED.get(record["code"])
        table = self._tables.get(name or "")
        if table is None:
            return
        if self._connection.execute(select(table.c.id).where(table.c.id == effect["row"])).first() is None:
            raise Found(
                f"The row {effect['row']} of {name} is gone: event {record['event_id']} says that its call wrote it.",
                record["event_id"],
            )

    def check_rows(self) -> None:
        """Look up the call of every row.

        Raises:
            Found: A row was written by no call that is on the record as done.
        """
        for table in self._tables.values():
            for row in self._rows(table):
                if table.c.call_id.nullable and row.call_id == STARTER_CALL:
                    continue
                effect = {} if row.leaf is None else json.loads(row.leaf).get("effect") or {}
                if not _explains(effect, table.name, row) and not self._was_purged(table.name, row):
                    raise Found(
                        f"The row {row.id} of {table.name} was put in or altered past the servers: no call that the log"
                        " has as done wrote it.",
                        row.event_id,
                    )

        if REVIEW_ITEMS in self._tables:
            self._check_verdicts(self._tables[REVIEW_ITEMS])

    def _check_verdict(self, record: Mapping[str, Any]) -> None:
        table = self._tables.get(REVIEW_ITEMS)
        if table is None:
            return
        item = record["effect"]["row"]
        row = self._connection.execute(select(table).where(table.c.id == item)).first()
        if row is None or not _says(record, row):
            raise Found(
                f"The verdict on {item} was altered or removed: event {record['event_id']} says what it was.",
                record["event_id"],
            )

    def _check_verdicts(self, table: Table) -> None:
        """Look up the event of every verdict: it names the item's one patient, which is how it is found."""
        given = and_(events.c.patient == table.c.patient_id, events.c.phase == Phase.REVIEW)
        query = select(table, events.c.leaf).select_from(table.outerjoin(events, given))
        judged: set[str] = set()
        explained: set[str] = set()
        for row in self._connection.execute(query.where(table.c.verdict.is_not(None)).order_by(table.c.id)):
            judged.add(row.id)
            record = {} if row.leaf is None else json.loads(row.leaf)
            if record.get("effect", {}).get("row") == row.id and _says(record, row):
                explained.add(row.id)
        for item in sorted(judged - explained - self._judged_before()):
            raise Found(f"The verdict on {item} was put in or altered past the review: no event on the log gave it.")

    def _judged_before(self) -> set[str]:
        """The items whose verdicts' events were purged."""
        if not self._floor:
            return set()
        kept = select(purged_calls.c.row_id).where(
            purged_calls.c.table_name == REVIEW_ITEMS, purged_calls.c.leaf_index < self._floor
        )
        return set(self._connection.execute(kept).scalars())

    def _was_purged(self, table: str, row: Any) -> bool:
        """Whether a purged call wrote the row. That such a row is gone says nothing: the clinic keeps its records for
        as long as it must, which is not how long their calls are on record."""
        if not self._floor:
            return False
        kept = select(purged_calls.c.table_name, purged_calls.c.row_id).where(
            purged_calls.c.call_id == row.call_id, purged_calls.c.leaf_index < self._floor
        )
        effects = ({"table": one.table_name, "row": one.row_id} for one in self._connection.execute(kept))
        return any(_explains(effect, table, row) for effect in effects)

    def _rows(self, table: Table) -> Iterator[Any]:
        done = and_(
            events.c.call_id == table.c.call_id,
            or_(
                events.c.phase == Phase.ADMIN,
                and_(events.c.phase == Phase.OUTCOME, events.c.outcome.in_(("ok", "unknown"))),
            ),
        )
        about = [table.c.row_id.label("about")] if "row_id" in table.c else []
        query = select(table.c.id, table.c.call_id, *about, events.c.leaf, events.c.event_id).select_from(
            table.outerjoin(events, done)
        )
        yield from self._connection.execution_options(yield_per=BATCH).execute(query)


def _says(record: Mapping[str, Any], row: Any) -> bool:
    """Whether an event of the review is what a row of the queue says."""
    given = record.get("review", {})
    reviewer = record.get("principal", {}).get("id") if row.reviewer_id is not None else None
    return (given.get("verdict"), given.get("reviewed_at"), reviewer) == (
        row.verdict,
        row.reviewed_at,
        row.reviewer_id,
    )


def _explains(effect: Mapping[str, Any], table: str, row: Any) -> bool:
    """Whether a call's effect is this row. A medication is dispensed from several lots: a row for each, one call."""
    if table == REVIEW_ITEMS:
        return effect.get("table") in REVIEWED and effect.get("row") == row.about
    if table == "stock_entries":
        return effect.get("table") == table
    return bool(effect.get("row") == row.id)
