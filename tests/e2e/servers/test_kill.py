"""`kill -9` of a real server in the middle of calls: nothing acknowledged is lost, nothing happens twice or unseen."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from support.clinic import OPERATOR, Clinic
from support.servers import Process, headers, request, serving

CALLS = 200
CALLERS = 8


def call_until_killed(
    server: Process, jobs: list[tuple[str, dict[str, Any], str]], kill_after: int
) -> list[dict[str, Any]]:
    """Make calls from eight threads; kill the server once `kill_after` were answered. Returns the answers."""
    acknowledged: list[dict[str, Any]] = []
    reached = threading.Event()

    def one(job: tuple[str, dict[str, Any], str]) -> None:
        tool, arguments, token = job
        try:
            answer = client.post(f"{server.url}/mcp", json=request(tool, arguments), headers=headers(token))
        except httpx.HTTPError:
            return
        if answer.status_code == 200:
            acknowledged.append({"arguments": arguments, **answer.json()["result"]})
        if len(acknowledged) >= kill_after:
            reached.set()

    with httpx.Client(timeout=10) as client, ThreadPoolExecutor(CALLERS) as pool:
        futures = [pool.submit(one, job) for job in jobs]
        assert reached.wait(60), f"only {len(acknowledged)} calls were answered: {server.lines()}"
        server.kill()
        for future in futures:
            future.result(30)
    return acknowledged


def calls(clinic: Clinic) -> dict[str, set[str]]:
    """The phases on record by call."""
    found: dict[str, set[str]] = {}
    for row in clinic.execute("SELECT call_id, phase FROM audit_events WHERE tool IS NOT NULL"):
        found.setdefault(row["call_id"], set()).add(row["phase"])
    return found


def assert_verify_is_whole_or_in_doubt(clinic: Clinic) -> None:
    done = clinic.run("audit", "verify", "--json", code=None)
    assert done.returncode in (0, 3), done.stdout


@pytest.mark.parametrize("kill_after", [1, 60, 150])
def test_reads_that_were_answered_have_their_events(clinic: Clinic, kill_after: int) -> None:
    token = clinic.tokens.grant(clinic.consult(), "intake_agent", audience="patient-records")
    jobs = [("get_patient_record", {"patient_id": "P001"}, token)] * CALLS
    with serving(clinic, "patient-records") as server:
        acknowledged = call_until_killed(server, jobs, kill_after)
    assert kill_after <= len(acknowledged) < CALLS
    assert not [answer for answer in acknowledged if answer.get("isError")]
    complete = [phases for phases in calls(clinic).values() if phases == {"intent", "outcome"}]
    assert len(complete) >= len(acknowledged)
    assert_verify_is_whole_or_in_doubt(clinic)
    # The next start goes on where the killed one stopped.
    with serving(clinic, "patient-records") as server:
        answer = httpx.post(f"{server.url}/mcp", json=request(*jobs[0][:2]), headers=headers(token), timeout=20)
        assert answer.json()["result"]["structuredContent"]["id"] == "P001"
    assert_verify_is_whole_or_in_doubt(clinic)


def test_prescriptions_are_recorded_once_whenever_the_server_is_killed(clinic: Clinic) -> None:
    """Three kills over two hundred signed-off consultations, every call repeated until each is answered."""
    sessions = []
    with clinic.desk() as desk:
        for _ in range(CALLS):
            session = str(desk.open(OPERATOR, "P001", "fever")["session_id"])
            desk.sign_off("dr-osei", session, "Rest and fluids.")
            sessions.append(session)
    jobs = {
        session: (
            "record_prescription",
            {"session_id": session, "prescription": "No medication needed."},
            clinic.tokens.grant(session, "prescription_agent", audience="prescriptions"),
        )
        for session in sessions
    }
    answers: dict[str, set[str]] = {session: set() for session in sessions}

    def keep(acknowledged: list[dict[str, Any]]) -> None:
        for answer in acknowledged:
            assert not answer.get("isError"), answer
            answers[answer["arguments"]["session_id"]].add(answer["structuredContent"]["result"])

    for kill_after in (5, 40, 90):
        with serving(clinic, "prescriptions") as server:
            keep(call_until_killed(server, list(jobs.values()), kill_after))
        rows = clinic.execute("SELECT sign_off_id, call_id, consultation_id, result FROM prescriptions")
        recorded = calls(clinic)
        assert len({row["sign_off_id"] for row in rows}) == len(rows), "a second prescription for a sign-off"
        for row in rows:
            assert recorded.get(row["call_id"]) == {"intent", "outcome"}, "an effect and its outcome commit together"
        kept = {row["consultation_id"]: row["result"] for row in rows}
        for session, said in answers.items():
            assert said <= {kept.get(session)}, "an acknowledged prescription is there, as it was acknowledged"
        assert_verify_is_whole_or_in_doubt(clinic)
    with serving(clinic, "prescriptions") as server, httpx.Client(timeout=20) as client:
        for tool, arguments, token in jobs.values():
            answer = client.post(f"{server.url}/mcp", json=request(tool, arguments), headers=headers(token)).json()
            keep([{"arguments": arguments, **answer["result"]}])
    assert {len(said) for said in answers.values()} == {1}, "every repeat answered the same"
    assert clinic.execute("SELECT count(*) FROM prescriptions")[0][0] == CALLS
    assert_verify_is_whole_or_in_doubt(clinic)
