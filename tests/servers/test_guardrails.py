"""Prescribing guardrails on the real server: what is refused, by which policies, and what a physician can lift."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from clinic_mcp.core.policy import PolicySet
from support.clinic import Clinic
from support.log import AuditReader
from support.servers import Answer, Caller, connected

AMOXICILLIN = "Amoxicillin 500mg three times daily for 7 days"
CLARITHROMYCIN = "Clarithromycin 500mg twice daily for 7 days"
WHY = {"reason_code": "benefit-outweighs-risk", "reason": "Discussed with the patient at length"}

CASES = [
    # patient, what the notes sign and the agent records, the policy that refuses, the guardrail, the medication
    ("P001", AMOXICILLIN, "no-prescription-against-allergy", "allergy", "Amoxicillin 500mg"),
    ("P006", CLARITHROMYCIN, "no-prescription-against-interaction", "interaction", "Clarithromycin 500mg"),
    (
        "P002",
        "Metformin 500mg twice daily",
        "no-prescription-of-duplicate-therapy",
        "duplicate",
        "Metformin 500mg",
    ),
    (
        "P004",
        "Paracetamol 500mg twice daily for 2 days",
        "no-prescription-before-allergies-are-asked",
        "never_asked",
        "Paracetamol 500mg",
    ),
]
each_guardrail = pytest.mark.parametrize(
    ("patient", "text", "policy", "rule", "label"), CASES, ids=[case[3] for case in CASES]
)


@pytest.fixture
def caller(clinic: Clinic) -> Iterator[Caller]:
    clinic.execute("UPDATE stock_entries SET quantity = 100")
    clinic.execute(
        "INSERT INTO stock_entries (id, clinic_id, item_id, kind, quantity, lot, expires, recorded, call_id) VALUES"
        " ('s1', 'main', 'amoxicillin-500', 'received', 50, 'L', '2099-01-01', '2026-01-01T00:00:00.000Z', 'starter')"
    )
    with connected(clinic, "prescriptions", "stdio") as connection:
        yield connection


def by_agent(clinic: Clinic, caller: Caller, session: str, text: str) -> Answer:
    patient = clinic.execute("SELECT patient_id FROM consultations WHERE id = ?", session)[0][0]
    token = clinic.tokens.grant(session, "prescription_agent", patient, audience="prescriptions")
    return caller.call("record_prescription", {"session_id": session, "prescription": text}, token)


def by_physician(clinic: Clinic, caller: Caller, session: str, text: str, who: str = "dr-osei") -> Answer:
    token = clinic.tokens.person(who, "prescriptions")
    return caller.call("record_prescription", {"session_id": session, "prescription": text}, token)


def override(clinic: Clinic, session: str, rule: str, label: str) -> None:
    with connected(clinic, "desk", "stdio") as desk:
        arguments: dict[str, Any] = {"session_id": session, "guardrail": rule, "medication": label, **WHY}
        assert desk.call("override_guardrail", arguments, clinic.tokens.person("dr-osei", "desk")).code == "ok"


@each_guardrail
def test_a_guardrail_refuses_agent_and_physician_until_it_is_overridden_for_that_drug(
    clinic: Clinic, caller: Caller, patient: str, text: str, policy: str, rule: str, label: str
) -> None:
    session = clinic.consult(patient, notes=text)
    log = AuditReader(clinic, "prescriptions")
    for answer in (by_agent(clinic, caller, session, text), by_physician(clinic, caller, session, text)):
        assert answer.code == "refused"
        assert "a physician overrides it in person" in answer.text
    assert [event["decision"]["policies"] for event in log.events()] == [[policy], [policy]]
    assert clinic.execute("SELECT * FROM prescriptions") == []

    override(clinic, session, rule, "Ibuprofen 400mg")
    assert by_agent(clinic, caller, session, text).code == "refused", "overridden for another drug"
    override(clinic, session, rule, label)
    answer = by_agent(clinic, caller, session, text)
    assert answer.code == "ok", answer.text
    assert "recorded" in answer.content["result"]
    assert [row["status"] for row in clinic.execute("SELECT status FROM prescriptions")] == ["active"]
    facts = log.events()[-2]["cedar"]["context"]["facts"]
    assert set(facts["findings"][rule]) <= set(facts["overridden"][rule]), "the override is on the record"


def test_every_guardrail_that_speaks_is_named(clinic: Clinic, caller: Caller) -> None:
    clinic.execute("UPDATE patients SET allergy_status = 'never_asked' WHERE id = 'P001'")
    text = f"{AMOXICILLIN}\nLisinopril 10mg daily\nMorphine 10mg twice daily"
    session = clinic.consult("P001", notes=text)
    log = AuditReader(clinic, "prescriptions")
    by_agent(clinic, caller, session, text)
    assert set(log.events()[0]["decision"]["policies"]) == {
        "no-prescription-against-allergy",
        "no-prescription-of-duplicate-therapy",
        "no-prescription-before-allergies-are-asked",
        "no-controlled-drug-by-agent",
    }


def test_two_drugs_of_one_prescription_that_interact_are_refused(clinic: Clinic, caller: Caller) -> None:
    text = f"Simvastatin 20mg once daily\n{CLARITHROMYCIN}"
    session = clinic.consult("P002", notes=text)
    assert by_agent(clinic, caller, session, text).code == "refused"
    override(clinic, session, "interaction", "Clarithromycin 500mg")
    assert by_agent(clinic, caller, session, text).code == "refused", "the pair has two"
    override(clinic, session, "interaction", "Simvastatin 20mg")
    assert by_agent(clinic, caller, session, text).code == "ok"


def test_a_controlled_drug_is_the_physicians_own(clinic: Clinic, caller: Caller) -> None:
    text = "Morphine 10mg twice daily for 2 days"
    session = clinic.consult("P002", notes=text)
    refused = by_agent(clinic, caller, session, text)
    assert refused.words[2] == "A controlled drug is prescribed by a physician, with their own token."
    assert by_physician(clinic, caller, session, text).code == "ok"
    (row,) = clinic.execute("SELECT status, signed_by, items FROM prescriptions")
    assert tuple(row) == ("active", "dr-osei", "morphine-10")


def test_a_physician_signs_a_draft_by_recording_exactly_it(clinic: Clinic, caller: Caller) -> None:
    session = clinic.consult("P002", notes="Paracetamol 500mg three times daily")
    text = "Paracetamol 500mg twice daily"
    drafted = by_agent(clinic, caller, session, text)
    assert "kept as a draft" in drafted.content["result"]
    assert by_physician(clinic, caller, session, f"{text} ").code == "conflict", "other words"
    assert by_physician(clinic, caller, session, text, "nurse-adeyemi").code == "refused"
    assert by_physician(clinic, caller, session, text, "dr-lindqvist").code == "refused", "does not treat the patient"
    signed = by_physician(clinic, caller, session, text)
    assert "signed by dr-osei" in signed.content["result"]
    (row,) = clinic.execute("SELECT status, intent, signed_by FROM prescriptions")
    assert tuple(row) == ("active", "order", "dr-osei")
    assert by_physician(clinic, caller, session, text).content == signed.content
    assert by_agent(clinic, caller, session, text).content == signed.content
    assert clinic.run("audit", "verify").returncode == 0


def test_another_consultations_prescription_is_a_duplicate_while_it_lasts(clinic: Clinic, caller: Caller) -> None:
    text = "Paracetamol 500mg three times daily for 3 days"
    first = clinic.consult("P002", notes=text)
    second = clinic.consult("P002", notes=text)
    assert by_agent(clinic, caller, first, text).code == "ok"
    assert by_agent(clinic, caller, first, text).code == "ok", "no duplicate of itself"
    assert by_agent(clinic, caller, second, text).code == "refused"
    clinic.execute("UPDATE prescriptions SET recorded = '2026-01-01T00:00:00.000Z'")
    assert by_agent(clinic, caller, second, text).code == "ok"


def test_a_pair_no_rule_is_known_for_is_not_called_safe(clinic: Clinic, caller: Caller) -> None:
    """Nothing in the answer says that a prescription is safe, or that it has no interactions."""
    text = "Paracetamol 500mg three times daily for 3 days\nOmeprazole 20mg once daily for 7 days"
    answer = by_agent(clinic, caller, clinic.consult("P002", notes=text), text)
    assert answer.code == "ok"
    assert not {"safe", "interaction", "checked"} & set(answer.text.lower().split())


def test_a_milder_interaction_keeps_a_draft(clinic: Clinic, caller: Caller) -> None:
    clinic.execute("UPDATE interactions SET severity = 'avoid'")
    session = clinic.consult("P006", notes=CLARITHROMYCIN)
    answer = by_agent(clinic, caller, session, CLARITHROMYCIN)
    assert "kept as a draft" in answer.content["result"]
    assert "muscle can be destroyed" in answer.content["result"]


def test_the_overridable_guardrails_are_the_ones_a_physician_can_name() -> None:
    from clinic_mcp.core.clinic import Rule
    from clinic_mcp.registry import SERVERS

    overridable = {
        p.annotations["overridable"] for p in PolicySet.load().policies.values() if "overridable" in p.annotations
    }
    schema = SERVERS["desk"]().tools["override_guardrail"].input_schema
    assert overridable == set(Rule) == set(schema["properties"]["guardrail"]["enum"])
