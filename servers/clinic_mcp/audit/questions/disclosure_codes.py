"""The codes a disclosure is recorded in, each with its words."""

from __future__ import annotations

from enum import StrEnum


class Purpose(StrEnum):
    """HL7 v3 PurposeOfUse (CodeSystem v3-ActReason) for what 45 CFR 164.512 permits without an authorization."""

    PUBLIC_HEALTH = "PUBHLTH"
    DISASTER = "DISASTER"
    THREAT = "THREAT"
    LEGAL = "HLEGAL"
    OVERSIGHT = "HCOMPL"
    GOVERNMENT = "GOV"
    FRAUD = "FRAUD"
    DECEDENT = "HDECD"
    DONATION = "DONAT"
    RESEARCH = "HRESCH"
    MARKETING = "HMARKT"


PURPOSES = {
    Purpose.PUBLIC_HEALTH: "public health",
    Purpose.DISASTER: "disaster relief",
    Purpose.THREAT: "a threat to somebody's health or safety",
    Purpose.LEGAL: "a court, a lawyer or the police, as the law requires",
    Purpose.OVERSIGHT: "oversight of the health system",
    Purpose.GOVERNMENT: "a government's benefits or functions",
    Purpose.FRAUD: "inquiry into fraud",
    Purpose.DECEDENT: "a coroner or funeral director",
    Purpose.DONATION: "organ or tissue donation",
    Purpose.RESEARCH: "research",
    Purpose.MARKETING: "marketing",
}
"""Each in words that tell the patient on what basis (164.528(b)(2)(iv))."""


class What(StrEnum):
    """The parts of a record, after the FHIR resource types that hold them; `everything` after `Patient/$everything`."""

    PATIENT = "Patient"
    ALLERGIES = "AllergyIntolerance"
    CONDITIONS = "Condition"
    MEDICATIONS = "MedicationStatement"
    PRESCRIPTIONS = "MedicationRequest"
    DISPENSED = "MedicationDispense"
    CONSULTATIONS = "Encounter"
    EVERYTHING = "everything"


WHATS = {
    What.PATIENT: "name, birth date and other particulars",
    What.ALLERGIES: "allergies",
    What.CONDITIONS: "conditions and their treatment",
    What.MEDICATIONS: "medications taken",
    What.PRESCRIPTIONS: "prescriptions",
    What.DISPENSED: "medications handed out",
    What.CONSULTATIONS: "consultations and their notes",
    What.EVERYTHING: "the whole record",
}
"""Each as a brief description (164.528(b)(2)(iii))."""
