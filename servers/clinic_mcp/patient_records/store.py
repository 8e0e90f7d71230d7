"""What the patient-records server reads."""

from __future__ import annotations

from typing import NotRequired

from sqlalchemy import Connection, bindparam, select
from typing_extensions import TypedDict

from clinic_mcp.patient_records.models import allergies, conditions, patients

HISTORY_LIMIT = 200
"""Entries of a history that one answer holds, newest first: an answer must fit a model's context."""


class PatientRecord(TypedDict):
    """A patient's basic record, or `error` alone. Dates are ISO 8601."""

    id: NotRequired[str]
    name: NotRequired[str]
    dob: NotRequired[str | None]
    blood_type: NotRequired[str | None]
    allergies: NotRequired[str]
    error: NotRequired[str]


class HistoryEntry(TypedDict):
    """One condition and how it was treated. `date` is ISO 8601."""

    date: str
    condition: str
    treatment: str
    notes: str


_PATIENT = (
    select(
        patients.c.id,
        patients.c.name,
        patients.c.birth_date,
        patients.c.blood_type,
        patients.c.allergy_status,
        allergies.c.substance,
    )
    .select_from(patients.outerjoin(allergies, allergies.c.patient_id == patients.c.id))
    .where(patients.c.id == bindparam("patient"), patients.c.clinic_id == bindparam("clinic"))
    .order_by(allergies.c.id)
)
_HISTORY = (
    select(conditions.c.recorded_date, conditions.c.condition, conditions.c.treatment, conditions.c.notes)
    .where(conditions.c.patient_id == bindparam("patient"), conditions.c.clinic_id == bindparam("clinic"))
    .order_by(conditions.c.recorded_date.desc(), conditions.c.id)
    .limit(HISTORY_LIMIT)
)


def patient_record(connection: Connection, patient_id: str, clinic_id: str) -> PatientRecord:
    """A patient's basic record.

    Args:
        connection: An open transaction.
        patient_id: The patient's id.
        clinic_id: The clinic served; the query asks for both, whatever the policies said.
    """
    rows = connection.execute(_PATIENT, {"patient": patient_id, "clinic": clinic_id}).all()
    if not rows:
        return {"error": "No such patient is on record."}
    row = rows[0]
    return {
        "id": row.id,
        "name": row.name,
        "dob": row.birth_date,
        "blood_type": row.blood_type,
        "allergies": _allergies(row.allergy_status, [row.substance for row in rows if row.substance]),
    }


def medical_history(connection: Connection, patient_id: str, clinic_id: str) -> list[HistoryEntry]:
    """A patient's conditions and treatments, newest first."""
    rows = connection.execute(_HISTORY, {"patient": patient_id, "clinic": clinic_id})
    return [
        {"date": row.recorded_date, "condition": row.condition, "treatment": row.treatment, "notes": row.notes}
        for row in rows
    ]


def _allergies(status: str, substances: list[str]) -> str:
    if status == "none_known":
        return "None"
    if status == "never_asked":
        return "Not recorded: ask the patient"
    return ", ".join(substances)
