"""What the audit log must say of a consultation."""

from typing import Any

POLICIES = {
    "get_patient_record": "intake-agent-reads-its-patient",
    "get_medical_history": "intake-agent-reads-its-patient",
    "search_knowledge_base": "agent-searches-knowledge-base",
    "check_pharmacy_inventory": "agent-reads-stock",
    "record_prescription": "prescription-agent-records-in-its-consultation",
}

Events = list[dict[str, Any]]


def codes(events: Events) -> list[str]:
    """The events' codes, in order."""
    return [event["code"] for event in events]


def one(events: Events, code: str) -> dict[str, Any]:
    """The only event of a code."""
    [event] = [event for event in events if event["code"] == code]
    return event


def assert_calls(events: Events, calls: list[tuple[str, str]], patient: str, transport: str) -> None:
    """Every call, as (agent, tool) in order, has its intent with the deciding policy and its outcome; nothing else
    is in the log about calls, and no event is about another patient."""
    intents = [event for event in events if event["phase"] == "intent"]
    assert [(event["agent"]["id"], event["call"]["tool"]) for event in intents] == calls
    outcomes = {event["call_id"]: event for event in events if event["phase"] == "outcome"}
    assert len(outcomes) == len(intents)
    for intent in intents:
        tool = intent["call"]["tool"]
        assert intent["decision"]["effect"] == "allow"
        assert intent["decision"]["policies"] == [POLICIES[tool]]
        assert intent["network"]["transport"] == transport
        outcome = outcomes[intent["call_id"]]
        assert outcome["outcome"] == {"status": "ok"}
        assert outcome["call"]["tool"] == tool
        assert events.index(outcome) > events.index(intent)
    assert not [event for event in events if event["phase"] in ("decision", "unauthenticated")]
    assert {name for event in events for name in event.get("patients", [])} == {patient}


def assert_signed_off(events: Events, clinician: str = "dr-osei") -> None:
    """The clinician's sign-off is on record, before the prescription."""
    signed = one(events, "consultation.signed_off")
    assert (signed["principal"]["type"], signed["principal"]["id"]) == ("Clinician", clinician)
    assert signed["about"] == {"type": "Clinician", "id": clinician}
    recorded = [event for event in events if event.get("call", {}).get("tool") == "record_prescription"]
    assert recorded
    assert all(events.index(event) > events.index(signed) for event in recorded)
