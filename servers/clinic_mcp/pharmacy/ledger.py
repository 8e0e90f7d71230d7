"""The stock ledger: entries are added, never changed; what expires first goes first; the shelf is never negative.

Each write runs in a transaction that holds the database's write lock (SQLite) or the item (PostgreSQL), so two
dispensings cannot both take the last box.
"""

from __future__ import annotations

import secrets
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import bindparam, func, insert, select
from typing_extensions import TypedDict

from clinic_mcp.core.errors import Conflict, InvalidArguments
from clinic_mcp.core.postgres import hold
from clinic_mcp.core.tool import Work
from clinic_mcp.pharmacy import store
from clinic_mcp.pharmacy.arguments import Delivery, Dispensing
from clinic_mcp.pharmacy.entities import prescriptions
from clinic_mcp.pharmacy.models import inventory_items, stock_entries

_FORMULARY = select(inventory_items).where(inventory_items.c.clinic_id == bindparam("clinic"))
_LOTS = (
    select(stock_entries.c.lot, stock_entries.c.expires, func.sum(stock_entries.c.quantity).label("left"))
    .where(stock_entries.c.item_id == bindparam("item"), stock_entries.c.expires >= bindparam("today"))
    .group_by(stock_entries.c.lot, stock_entries.c.expires)
    .having(func.sum(stock_entries.c.quantity) > 0)
    .order_by(stock_entries.c.expires, stock_entries.c.lot)
)
_RECEIVED = select(stock_entries.c.id, stock_entries.c.quantity, stock_entries.c.expires).where(
    stock_entries.c.item_id == bindparam("item"),
    stock_entries.c.lot == bindparam("lot"),
    stock_entries.c.kind == "received",
)
_DISPENSED = select(stock_entries.c.id, stock_entries.c.lot, stock_entries.c.quantity).where(
    stock_entries.c.item_id == bindparam("item"),
    stock_entries.c.prescription_id == bindparam("prescription"),
    stock_entries.c.kind == "dispensed",
)
_ITEMS = select(prescriptions.c["items"]).where(prescriptions.c.id == bindparam("prescription"))


class Received(TypedDict):
    """A lot on the shelf; quantities count the item's unit."""

    medication: str
    lot: str
    expires: str
    received: int
    quantity: int


class Taken(TypedDict):
    """What was taken from one lot."""

    lot: str
    quantity: int


class Dispensed(TypedDict):
    """What was handed out and what is left; quantities count the item's unit."""

    medication: str
    dispensed: int
    lots: list[Taken]
    quantity: int


def receive(work: Work, arguments: Delivery) -> Received:
    """Add a delivery.

    Raises:
        InvalidArguments: The formulary has no such medication, or the day does not exist or has passed.
        Conflict: The lot is on the shelf already, with another quantity or expiry.
    """
    item = _item(work, arguments.medication_name)
    if _day(arguments.expires) < datetime.now(UTC).date():
        raise InvalidArguments("The lot has expired already (expires).")
    earlier = work.connection.execute(_RECEIVED, {"item": item.id, "lot": arguments.lot}).first()
    if earlier is None:
        row = _entry(work, item.id, "received", arguments.quantity, arguments.lot, arguments.expires)
        work.effect = {"table": "stock_entries", "row": row, "kind": "insert"}
    elif (earlier.quantity, earlier.expires) == (arguments.quantity, arguments.expires):
        work.effect = {"table": "stock_entries", "row": earlier.id, "kind": "repeat"}
    else:
        raise Conflict("This lot was received already, with another quantity or expiry.")
    return {
        "medication": item.medication,
        "lot": arguments.lot,
        "expires": arguments.expires,
        "received": arguments.quantity,
        "quantity": store.on_hand(work.connection, item.id),
    }


def dispense(work: Work, arguments: Dispensing) -> Dispensed:
    """Take a medication off the shelf for a prescription, once.

    Raises:
        InvalidArguments: The formulary has no such medication.
        Conflict: The prescription does not have it, it was dispensed with another quantity, or too little is left.
    """
    item = _item(work, arguments.medication_name)
    prescribed = work.connection.execute(_ITEMS, {"prescription": arguments.prescription_id}).scalar() or ""
    if item.id not in prescribed.split():
        raise Conflict("The prescription does not have this medication.")
    asked = {"item": item.id, "prescription": arguments.prescription_id}
    earlier = work.connection.execute(_DISPENSED, asked).all()
    if earlier:
        if -sum(row.quantity for row in earlier) != arguments.quantity:
            raise Conflict("It was dispensed for this prescription already, with another quantity.")
        work.effect = {"table": "stock_entries", "row": earlier[0].id, "kind": "repeat"}
        taken: list[Taken] = [{"lot": row.lot, "quantity": -row.quantity} for row in earlier]
    else:
        taken = _take(work, item.id, arguments)
    return {
        "medication": item.medication,
        "dispensed": arguments.quantity,
        "lots": taken,
        "quantity": store.on_hand(work.connection, item.id),
    }


def _take(work: Work, item_id: str, arguments: Dispensing) -> list[Taken]:
    lots = work.connection.execute(_LOTS, {"item": item_id, "today": datetime.now(UTC).date().isoformat()}).all()
    wanted, plan = arguments.quantity, []
    for lot in lots:
        share = min(wanted, lot.left)
        plan.append((lot, share))
        wanted -= share
        if wanted == 0:
            break
    if wanted:
        raise Conflict("There is not enough of it in stock.", "Ask check_pharmacy_inventory what is left.")
    rows = [
        _entry(work, item_id, "dispensed", -share, lot.lot, lot.expires, arguments.prescription_id)
        for lot, share in plan
    ]
    work.effect = {"table": "stock_entries", "row": rows[0], "kind": "insert"}
    return [{"lot": lot.lot, "quantity": share} for lot, share in plan]


def _item(work: Work, name: str) -> Any:
    """The item a label or ingredient names exactly: a guess is good enough to look, not to change the stock. Locks
    it, so that one change of an item happens at a time; SQLite's write transaction has the whole database anyway."""
    wanted = _tight(name)
    rows = work.connection.execute(_FORMULARY, {"clinic": work.clinic_id}).all()
    labelled = [row for row in rows if _tight(row.medication) == wanted]
    found = labelled or [row for row in rows if wanted in (_tight(row.inn), _tight(row.generic_name))]
    if len(found) != 1:
        many = "several medications of that name" if found else "no such medication"
        raise InvalidArguments(f"The formulary has {many} (medication_name).", "Give the label: name and strength.")
    hold(work.connection, f"item:{found[0].id}")
    return found[0]


def _tight(name: str) -> str:
    return "".join(name.lower().split())


def _entry(
    work: Work, item_id: str, kind: str, quantity: int, lot: str, expires: str, prescription_id: str | None = None
) -> str:
    entry_id = f"K-{secrets.token_hex(8)}"
    work.connection.execute(
        insert(stock_entries),
        {
            "id": entry_id,
            "clinic_id": work.clinic_id,
            "item_id": item_id,
            "kind": kind,
            "quantity": quantity,
            "lot": lot,
            "expires": expires,
            "recorded": work.started,
            "prescription_id": prescription_id,
            "call_id": work.call_id,
        },
    )
    return entry_id


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as exc:
        raise InvalidArguments("There is no such day (expires).") from exc
