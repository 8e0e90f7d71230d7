"""The model's answer is data: read it, check it, and fall to the safe side when it cannot be used."""

import json

from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError

UNREADABLE_NOTE = "The model's answer could not be read; the doctor reviews this case from the patient's own words."


class IntakeReply(BaseModel):
    """The intake agent's answer."""

    model_config = ConfigDict(extra="ignore")

    intake_summary: str = Field(min_length=1, max_length=6000)
    is_emergency: StrictBool
    triage_score: int = Field(ge=1, le=5, strict=True)
    triage_reason: str = Field(min_length=1, max_length=1000)
    patient_message: str = Field(min_length=1, max_length=3000)


class UnreadableReply(ValueError):
    """The answer is not the JSON object that was asked for; the text says what is wrong with it."""


def read_intake_reply(text: str) -> IntakeReply:
    """Read the one JSON object of an answer, whatever stands around it.

    Raises:
        UnreadableReply: there is none, or a field is missing or out of range.
    """
    start = text.find("{")
    if start < 0:
        raise UnreadableReply("there is no JSON object in it")
    try:
        parsed, _ = json.JSONDecoder().raw_decode(text[start:])
        return IntakeReply.model_validate(parsed)
    except ValidationError as error:
        fields = ", ".join(sorted({str(part["loc"][0]) for part in error.errors() if part["loc"]}))
        raise UnreadableReply(f"missing or out of range: {fields or 'everything'}") from None
    except (ValueError, RecursionError):
        raise UnreadableReply("it is not valid JSON") from None


def safe_side(symptoms: str, note: str = UNREADABLE_NOTE) -> IntakeReply:
    """Return the answer that stands in for one that cannot be had: the doctor looks, and looks first here.

    Not an emergency that nobody judged, and never a low score either: triage 5 and a note why.
    """
    return IntakeReply(
        intake_summary=f"{note} The patient reports: {symptoms}"[:6000],
        is_emergency=False,
        triage_score=5,
        triage_reason=note,
        patient_message=(
            "Thank you. A doctor will look at your case as soon as possible. If you get worse, or have trouble"
            " breathing, chest pain or heavy bleeding, call for help at once."
        ),
    )
