"""The roles a person can have at a clinic, and what each makes of them in the policies."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """Who somebody is at the clinic. The names are those of the policies' `Role` entities."""

    PHYSICIAN = "physician"
    NURSE = "nurse"
    PHARMACIST = "pharmacist"
    AUDITOR = "auditor"
    ADMINISTRATOR = "administrator"
    PATIENT = "patient"


KINDS = {
    Role.PHYSICIAN: "Clinician",
    Role.NURSE: "Clinician",
    Role.PHARMACIST: "Clinician",
    Role.AUDITOR: "Auditor",
    Role.ADMINISTRATOR: "Administrator",
}
"""The Cedar entity type of those who work at the clinic. A patient does not: their record is what makes them one."""

PERSON_ID = r"^[A-Za-z0-9._@-]{1,64}$"
"""What a person's or a patient's id may be. No colon: it can never be taken for `patient:ID` or `client:ID`."""
