"""A consultation outlives every process it runs in."""

import json

from agent_e2e.clinic import Clinic, free_block, result
from agent_e2e.record import assert_calls, assert_signed_off, codes
from test_scenarios import INTAKE, PARACETAMOL, RECORD, STOCK


def waiting(clinic: Clinic) -> str:
    """Run intake until nobody is there to decide; the session."""
    done = clinic.agent("consult", "--patient", "P001", "headache and fever", "--json")
    assert done.returncode == 4, done.stderr
    value = result(done)
    assert (value["outcome"], value["waits_for"]) == ("waiting", "doctor")
    session = str(value["session_id"])
    assert clinic.standing(session)["status"] == "awaiting_doctor"
    return session


def finished(clinic: Clinic, session: str) -> None:
    value = result(clinic.agent("resume", session, "--diagnose", PARACETAMOL, "--json"))
    assert (value["outcome"], value["prescription"]) == ("complete", PARACETAMOL)
    events = clinic.events(session)
    assert_calls(events, [*INTAKE, STOCK, RECORD], "P001", "http")
    assert_signed_off(events)
    assert codes(events).count("consultation.opened") == 1


def test_it_goes_on_after_the_servers_were_restarted_too(other_clinic: Clinic) -> None:
    session = waiting(other_clinic)
    other_clinic.down()
    stopped = other_clinic.agent("resume", session, "--diagnose", PARACETAMOL)
    assert stopped.returncode == 1
    assert "No MCP server can be reached" in stopped.stderr
    assert len(stopped.stderr.strip().splitlines()) == 1
    other_clinic.up()
    finished(other_clinic, session)
    other_clinic.mcp("audit", "verify")


def test_a_sign_off_is_not_spent_on_a_server_that_is_away(clinic: Clinic) -> None:
    session = waiting(clinic)
    for server in ("pharmacy", "prescriptions"):
        urls = {**json.loads(clinic.environment["CLINIC_SERVER_URLS"]), server: f"http://127.0.0.1:{free_block(1)}/mcp"}
        away = clinic.agent("resume", session, "--diagnose", PARACETAMOL, CLINIC_SERVER_URLS=json.dumps(urls))
        assert away.returncode == 1, away.stdout
        assert f"The {server} server at {urls[server]} cannot be reached" in away.stderr
        assert f"clinic-agent resume {session}" in away.stderr
        assert len(away.stderr.strip().splitlines()) == 1
    assert "record_prescription" not in [event.get("call", {}).get("tool") for event in clinic.events(session)]
    done = clinic.agent("resume", session, "--json")
    assert done.returncode == 0, done.stderr
    assert result(done)["prescription"] == PARACETAMOL
    assert codes(clinic.events(session)).count("consultation.signed_off") == 1


def test_a_new_process_takes_the_consultation_up_and_another_finds_it_complete(clinic: Clinic) -> None:
    session = waiting(clinic)
    finished(clinic, session)
    before = codes(clinic.events(session))
    again = clinic.agent("resume", session, "--diagnose", "Something else", "--json")
    assert again.returncode == 0
    assert result(again)["prescription"] == PARACETAMOL
    assert codes(clinic.events(session)) == before
