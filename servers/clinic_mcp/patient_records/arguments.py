"""What the patient-records tools take."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from clinic_mcp.core.tool import Arguments, PatientId


class OfPatient(Arguments):
    """A patient."""

    patient_id: PatientId


class Find(Arguments):
    """A name and a birth date."""

    name: Annotated[str, Field(min_length=2, max_length=100, description="The patient's name, or the start of a part")]
    birth_date: Annotated[
        str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", description="Date of birth, ISO 8601, e.g. 1985-03-12")
    ]


class Emergency(OfPatient):
    """A patient and why their record is needed now."""

    reason_code: Annotated[
        Literal["life-threatening", "unconscious", "team-unreachable", "public-health"],
        Field(description="Which kind of emergency it is"),
    ]
    reason: Annotated[
        str, Field(min_length=10, max_length=500, description="What happened, in a sentence; reviewers read it")
    ]
