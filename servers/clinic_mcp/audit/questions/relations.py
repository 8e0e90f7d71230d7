"""What the clinic's data says of a person and a patient: whether they have to do with each other, and how.

Names are compared here and go no further: what comes out is which rule it was.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from sqlalchemy import Connection, column, select, table

from clinic_mcp.core.clinic import consultations, people

REMEMBERED = 10_000
"""Patients, and pairs of person and patient, that are remembered at most."""
TITLES = frozenset({"dr", "prof", "mr", "mrs", "ms", "miss", "sr", "jr"})
"""Words of a name that are none."""

# The columns by name, because the tables are another part's and this one reads them only.
_patients = table("patients", column("id"), column("name"))
_care_team = table("care_team", column("patient_id"), column("clinician_id"))


class Relations:
    """Looks up relations.

    Args:
        connection: An open read transaction.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        rows = connection.execute(select(people.c.id, people.c.name).where(people.c.kind == "Clinician"))
        self._clinicians = {row.id: _words(row.name) for row in rows}
        # Held by this object, so that they go with it and with its transaction.
        self._name_of = lru_cache(REMEMBERED)(self._patients_name)
        self._consulted = lru_cache(REMEMBERED)(self._consultations)
        self._in_team = lru_cache(REMEMBERED)(self._on_care_team)

    def is_clinician(self, person: str) -> bool:
        """Whether somebody is, or was, a clinician here."""
        return person in self._clinicians

    def treats(self, person: str, patient: str, moment: str) -> bool:
        """Whether a clinician is on a patient's care team, or had an open consultation with them.

        Args:
            person: The clinician's id.
            patient: The patient's id.
            moment: When, ISO 8601 in UTC.
        """
        if self._in_team(person, patient):
            return True
        return any(
            opened <= moment and (closed is None or moment <= closed)
            for opened, closed in self._consulted(person, patient)
        )

    def same_name(self, person: str, patient: str) -> str | None:
        """`own record` where person and patient have one name, `same surname` where they have one family name."""
        mine, theirs = self._clinicians.get(person, ()), self._name_of(patient)
        if not mine or not theirs:
            return None
        if sorted(mine) == sorted(theirs):
            return "own record"
        return "same surname" if mine[-1] == theirs[-1] else None

    def _patients_name(self, patient: str) -> tuple[str, ...]:
        name = self._connection.execute(select(_patients.c.name).where(_patients.c.id == patient)).scalar()
        return _words(name or "")

    def _on_care_team(self, person: str, patient: str) -> bool:
        query = select(_care_team.c.patient_id).where(
            _care_team.c.patient_id == patient, _care_team.c.clinician_id == person
        )
        return self._connection.execute(query).first() is not None

    def _consultations(self, person: str, patient: str) -> tuple[tuple[str, str | None], ...]:
        """From when to when each consultation of theirs was open."""
        query = select(consultations.c.opened_at, consultations.c.closed_at).where(
            consultations.c.patient_id == patient, consultations.c.assignee_id == person
        )
        return tuple((row.opened_at, row.closed_at) for row in self._connection.execute(query))


def _words(name: str) -> tuple[str, ...]:
    """A name's words without accents, case and titles, the family name last: `Family, Given` is turned round."""
    plain = "".join(one for one in unicodedata.normalize("NFKD", name) if not unicodedata.combining(one))
    family, _, given = plain.partition(",")
    return tuple(word for word in re.findall(r"\w+", f"{given} {family}".casefold()) if word not in TITLES)
