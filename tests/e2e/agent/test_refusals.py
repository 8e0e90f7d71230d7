"""What the servers refuse is a value the graph reads, and is on the record."""

from collections.abc import Callable

import pytest
from agent_e2e.clinic import Clinic
from agent_e2e.player import Player
from agent_e2e.runs import run
from clinic_agent import tools
from test_unchanged import FOREIGN, MCP_TOOLS

PERMITTED = "The clinic's policies do not permit this call."


def test_a_graph_that_asks_for_somebody_else_gets_a_refusal_value_and_goes_on(clinic: Clinic) -> None:
    """The scripted model reads whoever the state names; the session is Alice's, whatever the state says."""
    session = clinic.open("P001")
    player = Player(FOREIGN, MCP_TOOLS, clinic.environment)
    try:
        at = player.play(
            start={"session_id": session, "patient_id": "P002", "symptoms": "headache and fever", "messages": []}
        )
    finally:
        player.end()
    record, history, articles = at["calls"]
    assert record["args"] == history["args"] == {"patient_id": "P002"}
    assert record["result"]["code"] == "refused"
    assert record["result"]["error"].startswith(PERMITTED)
    assert history["result"] == [record["result"]]
    assert articles["result"][0]["topic"] == "Fever"
    assert "could not be read" in at["state"]["intake_summary"]
    assert len(at["paused"]) == 1, "it waits for the doctor as ever"
    refused = [event for event in clinic.events(session) if event["phase"] == "decision"]
    assert [event["call"]["tool"] for event in refused] == ["get_patient_record", "get_medical_history"]
    for event in refused:
        assert event["code"] == "call.refused"
        assert event["decision"]["effect"] == "deny"
        assert event["decision"]["policies"]
    assert "Bob Patel" not in str(at)


@pytest.mark.parametrize("transport", ["http", "sse"])
def test_closing_a_consultation_ends_its_grants_at_the_next_call(
    transport: str, clinic: Clinic, reach: Callable[..., None]
) -> None:
    reach(clinic, transport)
    session, other = clinic.open("P001"), clinic.open("P001")

    def read(of: str) -> dict[str, str]:
        answer: dict[str, str] = run(
            "intake_agent", of, lambda: tools.get_patient_record.invoke({"patient_id": "P001"})
        )
        return answer

    assert read(session)["name"] == read(other)["name"] == "Alice Thompson"
    clinic.mcp("consultation", "close", session)
    answer = read(session)
    assert set(answer) == {"error", "code"}
    assert answer["code"] == "refused"
    assert "closed" in answer["error"]
    last = clinic.events(session)[-1]
    assert (last["phase"], last["decision"]["policies"]) == ("decision", ["no-closed-consultation"])
    assert read(other)["name"] == "Alice Thompson", "the connection they share goes on"


def test_before_the_sign_off_the_prescription_agent_gets_no_grant_and_the_words_say_why(
    clinic: Clinic, reach: Callable[..., None]
) -> None:
    reach(clinic)
    session = clinic.open("P001")
    work = lambda: tools.record_prescription.invoke({"session_id": session, "prescription": "Paracetamol"})  # noqa: E731
    said = run("prescription_agent", session, work)
    assert said == "Refused (refused): The consultation is not signed off. A clinician must sign it off first."
    clinic.sign_off(session, "Paracetamol 500mg")
    assert run("prescription_agent", session, work).endswith(f"recorded for session {session}.")
