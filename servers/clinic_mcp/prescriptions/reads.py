"""What the prescriptions server reads of tables that other servers own: the columns it may know, and no more.

Declared here rather than imported, because a server knows no other server's code.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Connection, bindparam, column, func, select, table

from clinic_mcp.prescriptions.review import Medication

_patients = table("patients", column("id"), column("clinic_id"), column("allergy_status"))
_allergies = table("allergy_intolerances", column("patient_id"), column("substance_class"))
_items = table(
    "inventory_items",
    column("id"),
    column("clinic_id"),
    column("medication"),
    column("inn"),
    column("generic_name"),
    column("strength"),
    column("classes"),
    column("alternatives"),
)
_stock = table("stock_entries", column("item_id"), column("quantity"), column("expires"))

_STATUS = select(_patients.c.allergy_status).where(
    _patients.c.id == bindparam("patient"), _patients.c.clinic_id == bindparam("clinic")
)
_CLASSES = select(_allergies.c.substance_class).where(_allergies.c.patient_id == bindparam("patient"))
_ITEMS = select(_items).where(_items.c.clinic_id == bindparam("clinic")).order_by(_items.c.id)
_ON_HAND = (
    select(_stock.c.item_id, func.sum(_stock.c.quantity))
    .where(_stock.c.expires >= bindparam("today"))
    .group_by(_stock.c.item_id)
)


def allergies_of(connection: Connection, patient_id: str, clinic_id: str) -> tuple[str, frozenset[str]]:
    """A patient's allergy status and the classes of the recorded allergies."""
    status = connection.execute(_STATUS, {"patient": patient_id, "clinic": clinic_id}).scalar()
    classes = connection.execute(_CLASSES, {"patient": patient_id}).scalars()
    return status or "never_asked", frozenset(classes)


def formulary(connection: Connection, clinic_id: str) -> list[Medication]:
    """The clinic's medications, each with whether any unexpired stock is left."""
    today = datetime.now(UTC).date().isoformat()
    on_hand = {row[0]: row[1] for row in connection.execute(_ON_HAND, {"today": today})}
    return [
        Medication(
            id=row.id,
            names=tuple(dict.fromkeys(name.lower() for name in (row.inn, row.generic_name))),
            strength=row.strength,
            classes=frozenset(row.classes.split()),
            in_stock=on_hand.get(row.id, 0) > 0,
            alternatives=tuple(row.alternatives.split()),
        )
        for row in connection.execute(_ITEMS, {"clinic": clinic_id})
    ]
