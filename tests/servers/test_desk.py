"""Clinicians at their own client: the consultations that wait for them, their signature, their overrides."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support.calls import NOTES
from support.clinic import OPERATOR, Clinic
from support.log import AuditReader
from support.servers import Answer, Caller, connected


@pytest.fixture
def caller(clinic: Clinic) -> Iterator[Caller]:
    with connected(clinic, "desk", "stdio") as connection:
        yield connection


def call(clinic: Clinic, caller: Caller, tool: str, who: str = "dr-osei", /, **arguments: Any) -> Answer:
    return caller.call(tool, arguments, clinic.tokens.person(who, "desk"))


def test_a_physician_sees_what_waits_for_them_and_no_more(clinic: Clinic, caller: Caller) -> None:
    mine, strange, closed = clinic.consult("P001"), clinic.consult("P005"), clinic.consult("P002", closed=True)
    with clinic.desk() as desk:
        desk.assign(OPERATOR, strange, "dr-osei")
    listed = call(clinic, caller, "list_my_consultations").content["result"]
    assert [(one["session_id"], one["assigned_to_me"]) for one in listed] == [(mine, False), (strange, True)]
    assert closed not in {one["session_id"] for one in listed}
    theirs = call(clinic, caller, "list_my_consultations", "dr-lindqvist").content["result"]
    assert [one["session_id"] for one in theirs] == [strange], "the care team sees it too"
    nurse = call(clinic, caller, "list_my_consultations", "nurse-adeyemi").content["result"]
    assert [one["session_id"] for one in nurse] == [mine]


def test_a_consultation_is_shown_whole(clinic: Clinic, caller: Caller) -> None:
    session = clinic.consult("P001")
    with clinic.desk() as desk:
        from clinic_mcp.core.clinic import Status

        desk.move(OPERATOR, session, Status.AWAITING_DOCTOR)
        desk.ask("dr-osei", session, "Since when?")
        desk.answer(OPERATOR, session, "Two days")
    shown = call(clinic, caller, "get_consultation", session_id=session).content
    assert shown["symptoms"] == "headache and fever"
    assert shown["clarifications"] == [{"question": "Since when?", "answer": "Two days"}]
    assert "notes" not in shown
    assert call(clinic, caller, "sign_off_consultation", session_id=session, notes=NOTES).code == "ok"
    shown = call(clinic, caller, "get_consultation", session_id=session).content
    assert (shown["signed_off_by"], shown["notes"], shown["status"]) == ("dr-osei", NOTES, "prescribing")


def test_a_sign_off_at_the_desk_is_what_the_prescription_agent_needs(clinic: Clinic, caller: Caller) -> None:
    session = clinic.consult("P001")
    token = clinic.tokens.grant(session, "prescription_agent", audience="prescriptions")
    work = {"session_id": session, "prescription": NOTES}
    with connected(clinic, "prescriptions", "stdio") as prescriptions:
        before = prescriptions.call("record_prescription", work, token)
        assert before.words[2] == "A clinician must sign off the consultation first."
        log = AuditReader(clinic, "desk")
        signed = call(clinic, caller, "sign_off_consultation", session_id=session, notes=NOTES)
        assert session in signed.content["result"]
        again = call(clinic, caller, "sign_off_consultation", session_id=session, notes=NOTES)
        assert again.content == signed.content
        other = call(clinic, caller, "sign_off_consultation", session_id=session, notes="Ibuprofen 400mg")
        assert other.code == "conflict"
        assert prescriptions.call("record_prescription", work, token).code == "ok"
    effects = [event["effect"]["kind"] for event in log.events() if event["code"] == "call.ok"]
    assert effects == ["insert", "repeat"]
    assert [row["clinician_id"] for row in clinic.execute("SELECT clinician_id FROM sign_offs")] == ["dr-osei"]
    assert clinic.run("audit", "verify").returncode == 0


def test_a_closed_consultation_is_not_signed(clinic: Clinic, caller: Caller) -> None:
    session = clinic.consult("P001", closed=True)
    answer = call(clinic, caller, "sign_off_consultation", session_id=session, notes=NOTES)
    assert (answer.code, answer.words[2]) == ("refused", "The consultation is closed. Open a new one to go on.")
    stranger = call(clinic, caller, "sign_off_consultation", "dr-lindqvist", session_id=session, notes=NOTES)
    assert stranger.words[2] is None, "who may not know of it is not told that it is closed"


def test_an_administrator_assigns_and_sees_nothing(clinic: Clinic, caller: Caller) -> None:
    session = clinic.consult("P002")
    assigned = call(
        clinic, caller, "assign_consultation", "admin-kaur", session_id=session, clinician_id="dr-lindqvist"
    )
    assert assigned.code == "ok"
    assert call(clinic, caller, "get_consultation", "dr-lindqvist", session_id=session).code == "ok"
    assert call(clinic, caller, "get_consultation", "admin-kaur", session_id=session).code == "refused"
    for nobody in ("nurse-adeyemi", "dr-nobody", "auditor-tan"):
        tried = call(clinic, caller, "assign_consultation", "admin-kaur", session_id=session, clinician_id=nobody)
        assert tried.code == "refused"
    assert clinic.execute("SELECT assignee_id FROM consultations")[0][0] == "dr-lindqvist"


OVERRIDE = {
    "guardrail": "allergy",
    "medication": "Amoxicillin 500mg",
    "reason_code": "tolerated-before",
    "reason": "Took it in 2024 without a reaction",
}


def test_an_override_is_recorded_once_and_reviewed(clinic: Clinic, caller: Caller) -> None:
    session = clinic.consult("P001")
    log = AuditReader(clinic, "desk")
    first, again = (call(clinic, caller, "override_guardrail", session_id=session, **OVERRIDE) for _ in range(2))
    assert first.code == "ok"
    assert first.content == again.content
    other = {**OVERRIDE, "reason": "Another reason altogether"}
    assert call(clinic, caller, "override_guardrail", session_id=session, **other).code == "conflict"
    (row,) = clinic.execute("SELECT * FROM guardrail_overrides")
    assert (row["rule"], row["item_id"], row["clinician_id"]) == ("allergy", "amoxicillin-500", "dr-osei")
    (item,) = clinic.execute("SELECT * FROM review_items")
    assert (item["kind"], item["row_id"], item["patient_id"]) == ("override", row["id"], "P001")
    kept = log.events()[0]["cedar"]["context"]["input"]
    assert kept == {
        "session_id": session,
        "guardrail": "allergy",
        "reason_code": "tolerated-before",
        "reason": "",
        "medication": "",
    }
    shown = call(clinic, caller, "get_consultation", session_id=session).content["overrides"]
    assert shown == [
        {
            "guardrail": "allergy",
            "medication": "Amoxicillin 500mg",
            "reason_code": "tolerated-before",
            "by": "dr-osei",
        }
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"guardrail": "controlled"},
        {"guardrail": "no-other-patient"},
        {"medication": "Oxycodone 10mg"},
        {"medication": "Amoxicillin"},
        {"reason_code": "because"},
        {"reason": "no"},
        {"session_id": "C-1"},
    ],
    ids=str,
)
def test_an_override_of_something_else_changes_nothing(clinic: Clinic, caller: Caller, wrong: dict[str, Any]) -> None:
    session = clinic.consult("P001")
    answer = call(clinic, caller, "override_guardrail", **{"session_id": session, **OVERRIDE, **wrong})
    assert answer.code == "invalid_arguments"
    assert clinic.execute("SELECT * FROM guardrail_overrides") == []
    assert clinic.execute("SELECT * FROM review_items") == []
