"""A consultation's states: what may follow what, and who may bring it about."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from clinic_mcp.consultations.rows import MAX_TEXT, MOVES
from clinic_mcp.consultations.store import Consultations
from clinic_mcp.core.clinic import Status
from clinic_mcp.core.errors import Conflict, InvalidArguments, Refused
from support.calls import NOTES
from support.clinic import OPERATOR, Clinic
from support.log import AuditReader

WAY: dict[Status, tuple[Status, ...]] = {
    Status.INTAKE: (),
    Status.AWAITING_DOCTOR: (Status.AWAITING_DOCTOR,),
    Status.CLARIFYING: (Status.AWAITING_DOCTOR, Status.CLARIFYING),
    Status.PRESCRIBING: (Status.PRESCRIBING,),
    Status.COMPLETE: (Status.PRESCRIBING, Status.COMPLETE),
    Status.EMERGENCY: (Status.EMERGENCY,),
}
"""How a consultation comes to stand where it stands."""


@pytest.fixture(scope="module")
def desk(module_clinic: Clinic) -> Iterator[Consultations]:
    with module_clinic.desk() as opened:
        yield opened


@pytest.fixture
def session(desk: Consultations) -> str:
    return str(desk.open(OPERATOR, "P001", "fever")["session_id"])


def test_a_new_consultation_is_open_in_intake_and_on_the_record(module_clinic: Clinic, desk: Consultations) -> None:
    log = AuditReader(module_clinic)
    opened = desk.open(OPERATOR, "P001", "fever")
    assert (opened["status"], opened["open"], opened["signed_off_by"], opened["clarifications"]) == (
        "intake",
        True,
        None,
        [],
    )
    (event,) = log.events()
    assert (event["phase"], event["code"], event["patients"]) == ("admin", "consultation.opened", ["P001"])
    assert "fever" not in str(event)


@pytest.mark.parametrize("patient", ["P999", "", "'; --", "P001 ", "\x00"])
def test_no_consultation_about_a_patient_nobody_knows(desk: Consultations, patient: str) -> None:
    with pytest.raises(Refused):
        desk.open(OPERATOR, patient, "fever")


@pytest.mark.parametrize("symptoms", ["", "   ", "x" * (MAX_TEXT + 1), "a\x00b", "\ud800"], ids=ascii)
def test_symptoms_are_a_text_of_bounded_length(desk: Consultations, symptoms: str) -> None:
    with pytest.raises(InvalidArguments) as refusal:
        desk.open(OPERATOR, "P001", symptoms)
    assert "xxx" not in refusal.value.message


@pytest.mark.parametrize("present", Status)
@pytest.mark.parametrize("wanted", Status)
def test_only_a_legal_move_is_made(desk: Consultations, session: str, present: Status, wanted: Status) -> None:
    for step in WAY[present]:
        desk.move(OPERATOR, session, step)
    if wanted == present or wanted in MOVES[present]:
        assert desk.move(OPERATOR, session, wanted)["status"] == wanted
    else:
        with pytest.raises(Conflict):
            desk.move(OPERATOR, session, wanted)
        with desk.log.database.read() as connection:
            assert desk.show(connection, session)["status"] == present


@pytest.mark.parametrize("present", [Status.PRESCRIBING, Status.COMPLETE, Status.EMERGENCY])
def test_no_question_and_no_sign_off_once_it_is_decided(desk: Consultations, session: str, present: Status) -> None:
    for step in WAY[present]:
        desk.move(OPERATOR, session, step)
    with pytest.raises(Conflict):
        desk.ask("dr-osei", session, "Since when?")
    if present is not Status.PRESCRIBING:
        with pytest.raises(Conflict):
            desk.sign_off("dr-osei", session, NOTES)


def test_a_question_waits_for_one_answer(desk: Consultations, session: str) -> None:
    with pytest.raises(Conflict):
        desk.answer(OPERATOR, session, "Two days")
    desk.move(OPERATOR, session, Status.AWAITING_DOCTOR)
    assert desk.ask("dr-osei", session, "Since when?")["status"] == "clarifying"
    with pytest.raises(Conflict):
        desk.ask("dr-osei", session, "And?")
    answered = desk.answer(OPERATOR, session, "Two days")
    assert answered["status"] == "awaiting_doctor"
    assert answered["clarifications"] == [{"question": "Since when?", "answer": "Two days"}]
    with pytest.raises(Conflict):
        desk.answer(OPERATOR, session, "Three days")


def test_the_same_sign_off_again_is_the_same_sign_off(desk: Consultations, session: str) -> None:
    first, new = desk.sign_off("dr-osei", session, NOTES)
    again, second_new = desk.sign_off("dr-osei", session, NOTES)
    assert (new, second_new) == (True, False)
    assert first["sign_off_id"] == again["sign_off_id"]
    assert again["signed_off_by"] == "dr-osei"
    with pytest.raises(Conflict):
        desk.sign_off("dr-osei", session, NOTES + "!")


@pytest.mark.parametrize(
    "person", ["dr-lindqvist", "nurse-adeyemi", "pharm-rossi", "auditor-tan", "admin-kaur", "ghost", ""]
)
def test_only_a_treating_physician_signs_off_or_asks(desk: Consultations, session: str, person: str) -> None:
    desk.move(OPERATOR, session, Status.AWAITING_DOCTOR)
    with pytest.raises(Refused):
        desk.sign_off(person, session, NOTES)
    with pytest.raises(Refused):
        desk.ask(person, session, "Since when?")


def test_an_assigned_physician_signs_off(desk: Consultations, session: str) -> None:
    desk.assign(OPERATOR, session, "dr-lindqvist")
    signed, _new = desk.sign_off("dr-lindqvist", session, NOTES)
    assert signed["signed_off_by"] == "dr-lindqvist"


@pytest.mark.parametrize("person", ["nurse-adeyemi", "auditor-tan", "ghost"])
def test_only_a_physician_is_assigned(desk: Consultations, session: str, person: str) -> None:
    with pytest.raises(Refused):
        desk.assign(OPERATOR, session, person)


def test_a_physician_who_left_signs_nothing(clinic: Clinic) -> None:
    clinic.execute("UPDATE people SET active = FALSE WHERE id = 'dr-osei'")
    with clinic.desk() as desk:
        session = str(desk.open(OPERATOR, "P001", "fever")["session_id"])
        with pytest.raises(Refused):
            desk.sign_off("dr-osei", session, NOTES)


@pytest.mark.parametrize("notes", ["", " \n", "x" * (MAX_TEXT + 1), "\x00"], ids=ascii)
def test_notes_are_a_text_of_bounded_length(desk: Consultations, session: str, notes: str) -> None:
    with pytest.raises(InvalidArguments):
        desk.sign_off("dr-osei", session, notes)


CHANGES: dict[str, Callable[[Consultations, str], object]] = {
    "move": lambda desk, session: desk.move(OPERATOR, session, Status.AWAITING_DOCTOR),
    "assign": lambda desk, session: desk.assign(OPERATOR, session, "dr-osei"),
    "ask": lambda desk, session: desk.ask("dr-osei", session, "Since when?"),
    "answer": lambda desk, session: desk.answer(OPERATOR, session, "Two days"),
    "sign off": lambda desk, session: desk.sign_off("dr-osei", session, NOTES),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_closed_consultation_does_not_change(desk: Consultations, session: str, change: str) -> None:
    closed = desk.close(OPERATOR, session)
    assert (closed["open"], closed["status"]) == (False, "complete")
    assert desk.close(OPERATOR, session) == closed, "closing twice changes nothing"
    with pytest.raises(Conflict):
        CHANGES[change](desk, session)


def test_an_emergency_stays_one_when_it_is_closed(desk: Consultations, session: str) -> None:
    desk.move(OPERATOR, session, Status.EMERGENCY)
    assert desk.close(OPERATOR, session)["status"] == "emergency"


@pytest.mark.parametrize("change", [*CHANGES, "close"])
def test_a_consultation_nobody_opened_does_not_change(desk: Consultations, change: str) -> None:
    with pytest.raises(Refused):
        desk.close(OPERATOR, "C-0") if change == "close" else CHANGES[change](desk, "C-0")


def test_a_refused_change_leaves_no_row_and_no_event(module_clinic: Clinic, desk: Consultations, session: str) -> None:
    log = AuditReader(module_clinic)
    with pytest.raises(Refused):
        desk.sign_off("dr-lindqvist", session, NOTES)
    assert log.events() == []
    assert not module_clinic.execute("SELECT 1 FROM sign_offs WHERE consultation_id = ?", session)
