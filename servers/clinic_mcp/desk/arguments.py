"""What the desk's tools take."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from clinic_mcp.core.tool import Arguments, SessionId


class Nothing(Arguments):
    """No arguments."""


class OfConsultation(Arguments):
    """A consultation."""

    session_id: SessionId


class SignOff(OfConsultation):
    """A consultation and what the physician decided."""

    notes: Annotated[
        str, Field(min_length=1, max_length=4000, description="What was decided; what it names may be prescribed")
    ]


class Override(OfConsultation):
    """A prescribing guardrail to set aside for one medication, and why."""

    guardrail: Annotated[
        Literal["allergy", "interaction", "duplicate", "never_asked"], Field(description="Which guardrail")
    ]
    medication: Annotated[
        str, Field(min_length=2, max_length=120, description="The medication's label, e.g. Amoxicillin 500mg")
    ]
    # Coded, because people count them; in words as well, because people review them.
    reason_code: Annotated[
        Literal["benefit-outweighs-risk", "record-is-wrong", "tolerated-before", "no-alternative", "will-monitor"],
        Field(description="Which kind of reason"),
    ]
    reason: Annotated[
        str, Field(min_length=10, max_length=500, description="The reason in a sentence; reviewers read it")
    ]


class Assignment(OfConsultation):
    """A consultation and the physician who takes it."""

    clinician_id: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9._@-]{1,64}$", description="The physician's id, e.g. dr-osei")
    ]
