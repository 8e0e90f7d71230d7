"""Finds patients by name and birth date, among those whose record the caller may read."""

from __future__ import annotations

import unicodedata

from sqlalchemy import bindparam, select
from typing_extensions import TypedDict

from clinic_mcp.core.tool import Work
from clinic_mcp.patient_records import entities
from clinic_mcp.patient_records.arguments import OfPatient
from clinic_mcp.patient_records.models import patients

FOUND_LIMIT = 20
"""Patients one answer holds."""
CANDIDATE_LIMIT = 2_000
"""Patients of one birth date that are looked at: a bound on the work of one call."""

_BORN = (
    select(patients.c.id, patients.c.name, patients.c.birth_date)
    .where(patients.c.clinic_id == bindparam("clinic"), patients.c.birth_date == bindparam("born"))
    .order_by(patients.c.id)
    .limit(CANDIDATE_LIMIT)
)


class Found(TypedDict):
    """A patient the caller may read. `birth_date` is ISO 8601."""

    id: str
    name: str
    birth_date: str


def patients_by_name(work: Work, name: str, birth_date: str) -> list[Found]:
    """The patients of a birth date with a name, or a part of one, that begins so.

    Args:
        work: The call; its policies decide about each patient as they would about reading the record.
        name: A name or its beginning.
        birth_date: ISO 8601.
    """
    wanted = _plain(name)
    found: list[Found] = []
    for row in work.connection.execute(_BORN, {"clinic": work.clinic_id, "born": birth_date}).all():
        if f" {wanted}" not in f" {_plain(row.name)}":
            continue
        arguments = OfPatient.model_construct(patient_id=row.id)
        target = entities.record(work.connection, arguments, work.clinic_id, work.caller)
        if work.may("get_patient_record", {"patient_id": row.id}, target):
            found.append({"id": row.id, "name": row.name, "birth_date": row.birth_date})
            work.disclosed.append(row.id)
        if len(found) == FOUND_LIMIT:
            break
    return found


def _plain(name: str) -> str:
    """A name without accents, case and extra spaces: people write names the way their keyboard lets them."""
    apart = unicodedata.normalize("NFKD", name)
    return " ".join("".join(one for one in apart if not unicodedata.combining(one)).casefold().split())
