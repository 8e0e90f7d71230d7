"""The four scenarios of the seed, by the command, over real server processes."""

import pytest
from agent_e2e.clinic import Clinic, result
from agent_e2e.record import Events, assert_calls, assert_signed_off, codes, one

INTAKE = [
    ("intake_agent", "get_patient_record"),
    ("intake_agent", "get_medical_history"),
    ("intake_agent", "search_knowledge_base"),
]
STOCK = ("prescription_agent", "check_pharmacy_inventory")
RECORD = ("prescription_agent", "record_prescription")
PARACETAMOL = "Paracetamol 500mg three times daily for 3 days"


def events_of(clinic: Clinic, session: str, patient: str, calls: list[tuple[str, str]], transport: str) -> Events:
    events = clinic.audit_list(session)
    assert_calls(events, calls, patient, transport)
    return events


@pytest.mark.parametrize("transport", ["http", "sse"])
def test_an_emergency_is_told_at_once_and_never_enters_the_doctors_queue(clinic: Clinic, transport: str) -> None:
    words = "chest pain radiating to my left arm"
    done = clinic.agent("consult", "--patient", "P001", words, "--json", **clinic.over(transport))
    assert done.returncode == 3, done.stderr
    value = result(done)
    assert (value["outcome"], value["status"], value["is_emergency"]) == ("emergency", "emergency", True)
    assert value["messages"][-1]["role"] == "emergency"
    assert value["prescription"] is None
    standing = clinic.standing(value["session_id"])
    assert (standing["status"], standing["open"], standing["signed_off_by"]) == ("emergency", False, None)
    events = events_of(clinic, value["session_id"], "P001", INTAKE, transport)
    assert "consultation.awaiting_doctor" not in codes(events)
    assert codes(events).index("consultation.emergency") < codes(events).index("consultation.closed")


@pytest.mark.parametrize("transport", ["http", "stdio"])
def test_the_doctor_asks_the_patient_answers_and_the_prescription_follows(clinic: Clinic, transport: str) -> None:
    options = ("--ask", "Since when?", "--answer", "Two days.", "--diagnose", PARACETAMOL, "--servers", transport)
    done = clinic.agent("consult", "--patient", "P001", "headache and fever", *options, "--json")
    assert done.returncode == 0, done.stderr
    value = result(done)
    roles = [message["role"] for message in value["messages"]]
    assert roles == ["patient", "assistant", "doctor_question", "patient", "prescription"]
    assert value["prescription"] == PARACETAMOL
    assert "recorded for session" in value["messages"][-1]["recorded"]
    standing = clinic.standing(value["session_id"])
    assert standing["clarifications"] == [{"question": "Since when?", "answer": "Two days."}]
    assert (standing["status"], standing["open"], standing["signed_off_by"]) == ("complete", False, "dr-osei")
    events = events_of(clinic, value["session_id"], "P001", [*INTAKE, STOCK, RECORD], transport)
    assert_signed_off(events)
    steps = [code for code in codes(events) if code.startswith("consultation.")]
    assert [step.partition(".")[2] for step in steps] == [
        "opened", "awaiting_doctor", "clarifying", "answered", "signed_off", "closed",
    ]  # fmt: skip
    assert one(events, "consultation.clarifying")["principal"]["id"] == "dr-osei"


def test_a_medicine_that_is_out_of_stock_is_replaced_by_name_and_waits_for_the_doctor(clinic: Clinic) -> None:
    notes = "Amoxicillin 500mg three times daily for 7 days"
    done = clinic.agent("consult", "--patient", "P002", "sore throat and fever", "--diagnose", notes, "--json")
    assert done.returncode == 5, done.stderr
    value = result(done)
    standing = clinic.standing(value["session_id"])
    assert (value["outcome"], standing["open"]) == ("handed_over", True), "open, for the doctor to sign the draft in"
    assert "Azithromycin 250mg in place of Amoxicillin, which is out of stock" in value["prescription"]
    said = value["messages"][-1]["recorded"]
    assert "kept as a draft" in said
    assert "Azithromycin stands in for Amoxicillin, which is out of stock" in said
    # Amoxicillin, then the two the pharmacy lists for it.
    events = events_of(clinic, value["session_id"], "P002", [*INTAKE, STOCK, STOCK, STOCK, RECORD], "http")
    assert_signed_off(events)


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("J'ai mal à la tête et de la fièvre depuis deux jours", "Merci. Un médecin va examiner votre cas"),
        ("Tengo dolor de cabeza y fiebre desde hace dos días", "Gracias. Un médico revisará su caso"),
    ],
    ids=["French", "Spanish"],
)
def test_patients_are_answered_in_their_language_and_the_doctor_reads_english(
    clinic: Clinic, words: str, answer: str
) -> None:
    done = clinic.agent("consult", "--patient", "P003", words, "--diagnose", PARACETAMOL, "--json")
    assert done.returncode == 0, done.stderr
    value = result(done)
    assert value["messages"][1]["content"].startswith(answer)
    summary = value["intake_summary"]
    assert summary.startswith(f"The patient reports: {words}. Recognised: headache, fever. Carol Nguyen;")
    assert value["triage_reason"].startswith("Headache")
    assert value["prescription"] == PARACETAMOL
    events = events_of(clinic, value["session_id"], "P003", [*INTAKE, STOCK, RECORD], "http")
    assert_signed_off(events)


def test_a_medicine_the_pharmacy_does_not_know_waits_for_the_doctor_and_is_not_left_out(clinic: Clinic) -> None:
    notes = "Warfarin 5mg daily. Paracetamol 500mg three times daily for 3 days."
    value = result(clinic.agent("consult", "--patient", "P002", "sore throat", "--diagnose", notes, "--json"))
    assert value["prescription"] == "Warfarin 5mg daily\n" + PARACETAMOL
    assert "kept as a draft" in value["messages"][-1]["recorded"]


def test_the_log_of_it_all_is_whole(clinic: Clinic) -> None:
    clinic.mcp("audit", "verify")
