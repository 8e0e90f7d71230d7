"""What auditors ask of the log of a real clinic, and what they are told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from support.calls import NOTES
from support.clinic import Clinic
from support.servers import Caller, connected

GLASS = {"patient_id": "P002", "reason_code": "unconscious", "reason": "Found on the street, does not answer"}


@pytest.fixture(scope="module")
def day(module_clinic: Clinic) -> Iterator[tuple[Clinic, dict[str, str]]]:
    """A day at the clinic: an agent at work, a doctor, a broken glass, an override, refusals, a stranger."""
    clinic, ids = module_clinic, {}
    with ExitStack() as stack:
        servers: dict[str, Caller] = {
            name: stack.enter_context(connected(clinic, name, "stdio"))
            for name in ("patient-records", "prescriptions", "desk")
        }

        def call(server: str, tool: str, arguments: dict[str, Any], token: str | None) -> str:
            return servers[server].call(tool, arguments, token).code

        session = ids["session"] = clinic.consult("P001", notes=NOTES)
        intake = clinic.tokens.grant(session, "intake_agent", audience="patient-records")
        assert call("patient-records", "get_patient_record", {"patient_id": "P001"}, intake) == "ok"
        assert call("patient-records", "get_patient_record", {"patient_id": "P002"}, intake) == "refused"
        assert call("patient-records", "get_patient_record", {"patient_id": "P001"}, None) == "unauthenticated"
        osei, lindqvist = (clinic.tokens.person(who, "patient-records") for who in ("dr-osei", "dr-lindqvist"))
        assert call("patient-records", "find_patients", {"name": "Bob", "birth_date": "1972-07-28"}, osei) == "ok"
        assert call("patient-records", "get_patient_record", {"patient_id": "P002"}, lindqvist) == "refused"
        assert call("patient-records", "request_emergency_access", GLASS, lindqvist) == "ok"
        assert call("patient-records", "get_patient_record", {"patient_id": "P002"}, lindqvist) == "ok"
        override = {
            "session_id": session,
            "guardrail": "allergy",
            "medication": "Amoxicillin 500mg",
            "reason_code": "tolerated-before",
            "reason": "Took it in 2024 without a reaction",
        }
        assert call("desk", "override_guardrail", override, clinic.tokens.person("dr-osei", "desk")) == "ok"
        agent = clinic.tokens.grant(session, "prescription_agent", audience="prescriptions")
        assert (
            call("prescriptions", "record_prescription", {"session_id": session, "prescription": NOTES}, agent) == "ok"
        )
        yield clinic, ids


def lines(clinic: Clinic, *question: str) -> list[tuple[str, str, str]]:
    """Who, what and how it ended, of each call."""
    calls = clinic.json("audit", *question)["calls"]
    return [(call["agent"] or call["who"] or "nobody", call["tool"], call["ended"]) for call in calls]


def test_who_saw_a_patient(day: tuple[Clinic, dict[str, str]]) -> None:
    clinic, _ = day
    assert lines(clinic, "who", "P002") == [
        ("Clinician:dr-lindqvist", "get_patient_record", "ok"),
        ("Clinician:dr-lindqvist", "request_emergency_access", "ok"),
        ("Clinician:dr-lindqvist", "get_patient_record", "refused"),
        ("Clinician:dr-osei", "find_patients", "ok"),
        ("intake_agent", "get_patient_record", "refused"),
    ]
    first = clinic.json("audit", "who", "P002")["calls"][0]
    assert (first["policies"], first["purpose"], first["reason"]) == (["physician-breaks-glass"], "BTG", "unconscious")
    through = clinic.json("audit", "who", "P001")["calls"][-1]
    assert (through["agent"], through["behalf"], through["purpose"]) == ("intake_agent", "dr-osei", "TREAT")


def test_what_somebody_did(day: tuple[Clinic, dict[str, str]]) -> None:
    clinic, _ = day
    assert lines(clinic, "by", "dr-osei") == [
        ("Clinician:dr-osei", "override_guardrail", "ok"),
        ("Clinician:dr-osei", "find_patients", "ok"),
        ("Clinician:dr-osei", "consultation.signed_off", "ok"),
    ]
    assert lines(clinic, "by", "prescription_agent") == [("prescription_agent", "record_prescription", "ok")]
    assert lines(clinic, "by", "dr-nobody") == []


def test_what_was_refused_and_by_what(day: tuple[Clinic, dict[str, str]]) -> None:
    clinic, _ = day
    told = clinic.json("audit", "denied")
    assert told["by_policy"] == {"default-deny": 1, "no-other-patient": 1}
    assert lines(clinic, "denied", "--policy", "no-other-patient") == [
        ("intake_agent", "get_patient_record", "refused")
    ]
    assert lines(clinic, "denied", "--policy", "no-other") == []


def test_broken_glass_and_overrides_wait_for_their_verdict(day: tuple[Clinic, dict[str, str]]) -> None:
    clinic, ids = day
    shown = clinic.json("audit", "break-glass")
    (glass,) = shown["accesses"]
    assert shown["more"] is None
    assert (glass["patient_id"], glass["clinician_id"], glass["used"], glass["verdict"]) == (
        "P002",
        "dr-lindqvist",
        1,
        None,
    )
    (override,) = clinic.json("audit", "overrides")["overrides"]
    assert (override["rule"], override["item_id"], override["consultation_id"], override["verdict"]) == (
        "allergy",
        "amoxicillin-500",
        ids["session"],
        None,
    )
    assert clinic.json("audit", "overrides", "--since", "2099-01-01") == {"overrides": [], "more": None}


def test_everything_about_a_consultation_or_a_call(day: tuple[Clinic, dict[str, str]]) -> None:
    clinic, ids = day
    traced = [what for _, what, _ in lines(clinic, "trace", ids["session"])]
    assert traced == [
        "record_prescription",
        "get_patient_record",
        "get_patient_record",
        "consultation.signed_off",
        "consultation.awaiting_doctor",
        "consultation.opened",
    ]
    one = clinic.json("audit", "who", "P002")["calls"][0]["call_id"]
    (event,) = clinic.execute("SELECT event_id FROM audit_events WHERE call_id = ? AND phase = 'outcome'", one)
    for name in (one, event["event_id"]):
        assert [call["call_id"] for call in clinic.json("audit", "trace", name)["calls"]] == [one]


def test_nothing_is_in_doubt(day: tuple[Clinic, dict[str, str]]) -> None:
    clinic, _ = day
    assert lines(clinic, "in-doubt") == []


def test_a_table_is_shown_to_people(day: tuple[Clinic, dict[str, str]]) -> None:
    clinic, ids = day
    questions = (
        "who P001|by dr-osei|denied|break-glass|overrides|unusual|in-doubt|disclosures P001|trace " + ids["session"]
    )
    for question in questions.split("|"):
        assert clinic.run("audit", *question.split()).stdout.strip(), question
    assert clinic.run("audit", "unusual", "--zone", "Nowhere/Atlantis", code=2).stderr
