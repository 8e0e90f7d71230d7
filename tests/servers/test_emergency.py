"""Breaking the glass: a recorded reason, an hour, a review, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from support.clinic import Clinic
from support.log import AuditReader
from support.servers import Answer, Caller, connected

ASKED = {"patient_id": "P002", "reason_code": "unconscious", "reason": "Found on the street, does not answer"}


@pytest.fixture
def caller(clinic: Clinic) -> Iterator[Caller]:
    with connected(clinic, "patient-records", "stdio") as connection:
        yield connection


def call(clinic: Clinic, caller: Caller, tool: str, arguments: dict[str, Any], who: str = "dr-lindqvist") -> Answer:
    return caller.call(tool, arguments, clinic.tokens.person(who, "patient-records"))


def test_the_glass_opens_one_record_to_one_physician_for_an_hour(clinic: Clinic, caller: Caller) -> None:
    assert call(clinic, caller, "get_patient_record", {"patient_id": "P002"}).code == "refused"
    log = AuditReader(clinic, "patient-records")
    granted = call(clinic, caller, "request_emergency_access", ASKED).content
    (row,) = clinic.execute("SELECT * FROM emergency_access")
    assert granted["expires_at"] == row["expires_at"]
    lasts = datetime.fromisoformat(row["expires_at"]) - datetime.fromisoformat(row["granted_at"])
    assert lasts == timedelta(hours=1)
    assert (row["clinician_id"], row["patient_id"], row["reason"]) == ("dr-lindqvist", "P002", ASKED["reason"])
    for tool in ("get_patient_record", "get_medical_history"):
        assert call(clinic, caller, tool, {"patient_id": "P002"}).code == "ok"
    assert call(clinic, caller, "get_patient_record", {"patient_id": "P001"}).code == "refused", "another patient"
    other = clinic.tokens.person("nurse-adeyemi", "patient-records")
    assert caller.call("get_patient_record", {"patient_id": "P002"}, other).code == "refused", "another person"

    read = next(e for e in log.events() if e["phase"] == "intent" and e["call"]["tool"] == "get_patient_record")
    assert read["decision"]["policies"] == ["physician-breaks-glass"]
    assert read["purpose"] == "BTG"
    assert read["cedar"]["context"]["facts"]["emergency"]["reason"] == "unconscious"
    asked = next(e for e in log.events() if e["phase"] == "intent" and e["call"]["tool"] == "request_emergency_access")
    assert asked["cedar"]["context"]["input"] == {"patient_id": "P002", "reason_code": "unconscious", "reason": ""}

    clinic.execute("UPDATE emergency_access SET expires_at = '2026-01-01T00:00:00.000Z'")
    assert call(clinic, caller, "get_patient_record", {"patient_id": "P002"}).code == "refused", "the hour is over"


def test_each_access_is_reviewed_once_and_the_same_request_is_the_same_access(clinic: Clinic, caller: Caller) -> None:
    first, again = (call(clinic, caller, "request_emergency_access", ASKED).content for _ in range(2))
    assert first == again
    more = call(clinic, caller, "request_emergency_access", {**ASKED, "reason": "Still unconscious, second look"})
    assert more.content["review_id"] != first["review_id"]
    items = clinic.execute("SELECT * FROM review_items ORDER BY opened_at")
    assert [(item["kind"], item["person_id"], item["patient_id"], item["verdict"]) for item in items] == [
        ("break-glass", "dr-lindqvist", "P002", None)
    ] * 2
    assert {item["id"] for item in items} == {first["review_id"], more.content["review_id"]}
    assert clinic.run("audit", "verify", code=None).returncode == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"reason": ""},
        {"reason": "short"},
        {"reason": "x" * 501},
        {"reason_code": "curious"},
        {"patient_id": "P2"},
        {"patient_id": ["P002"]},
        {"minutes": 600},
    ],
    ids=str,
)
def test_a_request_without_a_proper_reason_changes_nothing(
    clinic: Clinic, caller: Caller, wrong: dict[str, Any]
) -> None:
    answer = call(clinic, caller, "request_emergency_access", {**ASKED, **wrong})
    assert answer.code == "invalid_arguments"
    assert clinic.execute("SELECT * FROM emergency_access") == []


def test_a_patient_nobody_knows_has_no_glass_to_break(clinic: Clinic, caller: Caller) -> None:
    assert call(clinic, caller, "request_emergency_access", {**ASKED, "patient_id": "P999"}).code == "not_found"
    clinic.execute("UPDATE patients SET clinic_id = 'elsewhere' WHERE id = 'P002'")
    assert call(clinic, caller, "request_emergency_access", ASKED).code == "refused"
    assert clinic.execute("SELECT * FROM review_items") == []


def test_an_inactive_physician_breaks_no_glass(clinic: Clinic, caller: Caller) -> None:
    call(clinic, caller, "request_emergency_access", ASKED)
    clinic.execute("UPDATE people SET active = FALSE WHERE id = 'dr-lindqvist'")
    for tool, arguments in (("get_patient_record", {"patient_id": "P002"}), ("request_emergency_access", ASKED)):
        assert call(clinic, caller, tool, arguments).code == "refused"


def test_a_patient_reads_their_own_record_and_no_other(clinic: Clinic, caller: Caller) -> None:
    own = call(clinic, caller, "get_patient_record", {"patient_id": "P001"}, "patient:P001")
    assert own.content["name"] == "Alice Thompson"
    assert call(clinic, caller, "get_medical_history", {"patient_id": "P001"}, "patient:P001").code == "ok"
    for patient in ("P002", "P999"):
        assert call(clinic, caller, "get_patient_record", {"patient_id": patient}, "patient:P001").code == "refused"
    assert call(clinic, caller, "get_patient_record", {"patient_id": "P001"}, "patient:P999").code == "refused"


def test_an_agent_does_not_touch_a_very_restricted_record(clinic: Clinic, caller: Caller) -> None:
    session = clinic.consult("P005")
    token = clinic.tokens.grant(session, "intake_agent", "P005", audience="patient-records")
    assert caller.call("get_patient_record", {"patient_id": "P005"}, token).code == "refused"
    assert call(clinic, caller, "get_patient_record", {"patient_id": "P005"}).code == "ok", "its care team does"


@pytest.mark.parametrize(
    ("name", "born", "found"),
    [
        ("Alice Thompson", "1985-03-12", ["P001"]),
        ("alice", "1985-03-12", ["P001"]),
        ("thom", "1985-03-12", ["P001"]),
        ("hompson", "1985-03-12", []),
        ("Alice", "1985-03-13", []),
        ("Bob", "1985-03-12", []),
        ("%%", "1985-03-12", []),
        ("__", "1985-03-12", []),
        ("Eva Markovic", "1994-08-30", []),
    ],
)
def test_a_physician_finds_the_patients_they_treat(
    clinic: Clinic, caller: Caller, name: str, born: str, found: list[str]
) -> None:
    log = AuditReader(clinic, "patient-records")
    answer = call(clinic, caller, "find_patients", {"name": name, "birth_date": born}, "dr-osei")
    assert [one["id"] for one in answer.content["result"]] == found
    intent, outcome = log.events()
    assert "patients" not in intent
    assert outcome.get("patients", []) == found, "who was shown is on the record"
    assert intent["cedar"]["context"]["input"] == {"name": "", "birth_date": ""}


def test_a_text_with_a_nul_is_no_argument(clinic: Clinic, caller: Caller) -> None:
    answer = call(clinic, caller, "find_patients", {"name": "A\x00", "birth_date": "1985-03-12"}, "dr-osei")
    assert answer.code == "invalid_arguments"


def test_accents_do_not_hide_a_patient(clinic: Clinic, caller: Caller) -> None:
    for name in ("Eva Marković", "eva markovic", "MARKOVIĆ"):
        answer = call(clinic, caller, "find_patients", {"name": name, "birth_date": "1994-08-30"})
        assert [one["id"] for one in answer.content["result"]] == ["P005"]


def test_what_is_found_is_bounded(clinic: Clinic, caller: Caller) -> None:
    with clinic.sql() as connection:
        connection.execute("BEGIN")
        for number in range(60):
            patient = f"P1{number:04}"
            connection.execute(
                "INSERT INTO patients (id, clinic_id, name, birth_date, allergy_status) VALUES (?, ?, ?, ?, ?)",
                (patient, "main", f"Ann Twin{number}", "1999-09-09", "none_known"),
            )
            connection.execute(
                "INSERT INTO care_team (patient_id, clinician_id, clinic_id) VALUES (?, 'dr-osei', 'main')", (patient,)
            )
        connection.execute("COMMIT")
    answer = call(clinic, caller, "find_patients", {"name": "Ann", "birth_date": "1999-09-09"}, "dr-osei")
    assert len(answer.content["result"]) == 20
