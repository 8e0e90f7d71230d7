"""What the pharmacy reads: an item by name, and what of it is on the shelf and not expired."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import NotRequired

from sqlalchemy import Connection, Row, bindparam, func, or_, select
from typing_extensions import TypedDict

from clinic_mcp.pharmacy.models import inventory_items, stock_entries


class Alternative(TypedDict):
    """A listed equivalent that is in stock."""

    medication: str
    quantity: int
    unit: str


class Stock(TypedDict):
    """What the pharmacy knows of a medication; quantities count `unit`."""

    medication: str
    in_stock: bool
    quantity: int
    generic_name: NotRequired[str]
    unit: NotRequired[str]
    alternatives: NotRequired[list[Alternative]]
    note: NotRequired[str]


_ITEMS = (
    select(inventory_items)
    .where(inventory_items.c.clinic_id == bindparam("clinic"))
    .where(
        or_(
            func.lower(inventory_items.c.medication).like(bindparam("pattern"), escape="\\"),
            func.lower(inventory_items.c.inn).like(bindparam("pattern"), escape="\\"),
            func.lower(inventory_items.c.generic_name).like(bindparam("pattern"), escape="\\"),
        )
    )
    .order_by(inventory_items.c.id)
    .limit(1)
)
_ITEM = select(inventory_items).where(
    inventory_items.c.id == bindparam("id"), inventory_items.c.clinic_id == bindparam("clinic")
)
_ON_HAND = select(func.coalesce(func.sum(stock_entries.c.quantity), 0)).where(
    stock_entries.c.item_id == bindparam("id"), stock_entries.c.expires >= bindparam("today")
)


def stock_of(connection: Connection, medication_name: str, clinic_id: str) -> Stock:
    """What is on the shelf of a medication.

    Args:
        connection: An open transaction.
        medication_name: A name, or part of one; a strength after it may be left out or written with a space.
        clinic_id: The clinic served.
    """
    item = _find(connection, medication_name, clinic_id)
    if item is None:
        return {
            "medication": medication_name,
            "in_stock": False,
            "quantity": 0,
            "note": "Not found in the pharmacy's formulary.",
        }
    quantity = on_hand(connection, item.id)
    found: Stock = {
        "medication": item.medication,
        "generic_name": item.generic_name,
        "in_stock": quantity > 0,
        "quantity": quantity,
        "unit": item.unit,
    }
    if quantity <= 0:
        found["alternatives"] = _alternatives(connection, item, clinic_id)
    return found


def _find(connection: Connection, name: str, clinic_id: str) -> Row[tuple[object, ...]] | None:
    """The item a name means: as written, then without spaces before units, then by its first word."""
    lowered = " ".join(name.lower().replace("\0", " ").split())  # SQLite ends a LIKE pattern at a NUL
    tight = re.sub(r"(\d)\s+(mg|g|ml|mcg)\b", r"\1\2", lowered)
    first = next(iter(re.findall(r"[^\W\d_]{4,}", lowered)), None)
    for wanted in dict.fromkeys(part for part in (lowered, tight, first) if part):
        literal = re.sub(r"([\\%_])", r"\\\1", wanted)
        row = connection.execute(_ITEMS, {"pattern": f"%{literal}%", "clinic": clinic_id}).first()
        if row is not None:
            return row
    return None


def on_hand(connection: Connection, item_id: str) -> int:
    """What is on the shelf of an item and not expired, in its unit."""
    today = datetime.now(UTC).date().isoformat()
    return int(connection.execute(_ON_HAND, {"id": item_id, "today": today}).scalar_one())


def _alternatives(connection: Connection, item: Row[tuple[object, ...]], clinic_id: str) -> list[Alternative]:
    found: list[Alternative] = []
    for item_id in item.alternatives.split():
        other = connection.execute(_ITEM, {"id": item_id, "clinic": clinic_id}).first()
        quantity = on_hand(connection, item_id) if other is not None else 0
        if other is not None and quantity > 0:
            found.append({"medication": other.medication, "quantity": quantity, "unit": other.unit})
    return found
