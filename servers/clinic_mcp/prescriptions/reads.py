"""What the prescriptions server reads of tables that other servers own: the columns it may know, and no more.

Declared here rather than imported, because a server knows no other server's code.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, bindparam, column, func, select, table

from clinic_mcp.prescriptions.models import interactions as interactions_table
from clinic_mcp.prescriptions.models import prescriptions
from clinic_mcp.prescriptions.review import Medication

UNSAID = timedelta(days=30)
"""How long a prescription that does not say it counts as therapy the patient takes."""
_COURSE = re.compile(r"\bfor (\d{1,3}) (day|week|month)s?\b")
_DAYS = {"day": 1, "week": 7, "month": 30}

_patients = table("patients", column("id"), column("clinic_id"), column("allergy_status"), column("sensitivity"))
_care_team = table("care_team", column("patient_id"), column("clinician_id"))
_allergies = table("allergy_intolerances", column("patient_id"), column("substance_class"))
_statements = table(
    "medication_statements",
    column("patient_id"),
    column("clinic_id"),
    column("atc"),
    column("classes"),
    column("status"),
)
_items = table(
    "inventory_items",
    column("id"),
    column("clinic_id"),
    column("medication"),
    column("inn"),
    column("generic_name"),
    column("strength"),
    column("classes"),
    column("atc"),
    column("alternatives"),
    column("controlled"),
)
_stock = table("stock_entries", column("item_id"), column("quantity"), column("expires"))

_ABOUT = select(_patients.c.allergy_status, _patients.c.sensitivity).where(
    _patients.c.id == bindparam("patient"), _patients.c.clinic_id == bindparam("clinic")
)
_TEAM = select(_care_team.c.clinician_id).where(_care_team.c.patient_id == bindparam("patient"))
_CLASSES = select(_allergies.c.substance_class).where(_allergies.c.patient_id == bindparam("patient"))
_TAKEN = select(_statements.c.atc, _statements.c.classes).where(
    _statements.c.patient_id == bindparam("patient"),
    _statements.c.clinic_id == bindparam("clinic"),
    _statements.c.status == "active",
)
_PRESCRIBED = select(prescriptions.c["items"], prescriptions.c.text, prescriptions.c.recorded).where(
    prescriptions.c.patient_id == bindparam("patient"),
    prescriptions.c.clinic_id == bindparam("clinic"),
    prescriptions.c.status == "active",
    prescriptions.c.consultation_id != bindparam("consultation"),
)
_INTERACTIONS = select(
    interactions_table.c.one,
    interactions_table.c.other,
    interactions_table.c.severity,
    interactions_table.c.sentence,
    interactions_table.c.source,
).where(interactions_table.c.clinic_id == bindparam("clinic"))
_ITEMS = select(_items).where(_items.c.clinic_id == bindparam("clinic")).order_by(_items.c.id)
_ON_HAND = (
    select(_stock.c.item_id, func.sum(_stock.c.quantity))
    .where(_stock.c.expires >= bindparam("today"))
    .group_by(_stock.c.item_id)
)


@dataclass(frozen=True)
class About:
    """What the prescribing checks may know of a patient."""

    patient_id: str
    allergy_status: str
    allergy_classes: frozenset[str]
    care_team: tuple[str, ...]
    sensitivity: str


@dataclass(frozen=True)
class Therapy:
    """A medication the patient takes: its ATC code, and the names and classes it goes by."""

    atc: str
    names: frozenset[str]


@dataclass(frozen=True)
class Interaction:
    """A pair that should not be taken together, in either order."""

    one: str
    other: str
    severity: str
    sentence: str
    source: str


def patient(connection: Connection, patient_id: str, clinic_id: str) -> About:
    """A patient, with the classes of the recorded allergies; one nobody knows was never asked for any."""
    row = connection.execute(_ABOUT, {"patient": patient_id, "clinic": clinic_id}).first()
    return About(
        patient_id,
        row.allergy_status if row else "never_asked",
        frozenset(connection.execute(_CLASSES, {"patient": patient_id}).scalars()),
        tuple(connection.execute(_TEAM, {"patient": patient_id}).scalars()) if row else (),
        row.sensitivity if row else "N",
    )


def therapies(connection: Connection, patient_id: str, session_id: str, clinic_id: str) -> list[Therapy]:
    """What the patient takes today: by the record, and by active prescriptions of other consultations that have not run
    their course."""
    asked = {"patient": patient_id, "clinic": clinic_id}
    taken = [Therapy(row.atc, frozenset(row.classes.split())) for row in connection.execute(_TAKEN, asked)]
    by_id = {item.id: item for item in formulary(connection, clinic_id)}
    for row in connection.execute(_PRESCRIBED, {**asked, "consultation": session_id}):
        if datetime.fromisoformat(row.recorded) + course(row.text) < datetime.now(UTC):
            continue
        items = (by_id.get(item_id) for item_id in row[0].split())
        taken += [Therapy(item.atc, item.groups) for item in items if item is not None]
    return taken


def course(text: str) -> timedelta:
    """How long a prescription lasts: the longest time it says, else `UNSAID`."""
    said = [int(number) * _DAYS[unit] for number, unit in _COURSE.findall(text.lower())]
    return timedelta(days=max(said)) if said else UNSAID


def interactions(connection: Connection, clinic_id: str) -> list[Interaction]:
    """The pairs a rule is known for. A pair that is not among them is not therefore safe."""
    rows = connection.execute(_INTERACTIONS, {"clinic": clinic_id})
    return [Interaction(row.one, row.other, row.severity, row.sentence, row.source) for row in rows]


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
            atc=row.atc,
            controlled=bool(row.controlled),
        )
        for row in connection.execute(_ITEMS, {"clinic": clinic_id})
    ]
