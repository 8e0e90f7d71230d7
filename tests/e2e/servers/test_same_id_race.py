"""Two requests with one JSON-RPC id never get each other's answers."""

from __future__ import annotations

import json

import anyio
import httpx
import pytest
from support.clinic import Clinic
from support.log import AuditReader
from support.servers import GRANT_META, headers, piped, request, serving

PAIRS = 1_000
AT_ONCE = 8


def test_a_thousand_pairs_with_one_id_never_cross_on_http(clinic: Clinic) -> None:
    """Stateless, without a handshake: what a client of revision 2025-11-25 may send."""
    tokens = {
        patient: clinic.tokens.grant(clinic.consult(patient), "intake_agent", patient, audience="patient-records")
        for patient in ("P001", "P002")
    }
    crossed: list[object] = []
    answered = 0

    async def pairs(url: str) -> None:
        limits = httpx.Limits(max_connections=2 * AT_ONCE)
        async with httpx.AsyncClient(timeout=30, limits=limits) as client:

            async def ask(number: int, patient: str) -> None:
                nonlocal answered
                body = request("get_patient_record", {"patient_id": patient}, number)
                answer = await client.post(url, json=body, headers=headers(tokens[patient]))
                got = answer.json()
                answered += 1
                if got["id"] != number or got["result"]["structuredContent"].get("id") != patient:
                    crossed.append(got)

            async def work(numbers: range) -> None:
                for number in numbers:
                    async with anyio.create_task_group() as pair:
                        pair.start_soon(ask, number, "P001")
                        pair.start_soon(ask, number, "P002")

            with anyio.fail_after(180):
                async with anyio.create_task_group() as group:
                    for first in range(AT_ONCE):
                        group.start_soon(work, range(first, PAIRS, AT_ONCE))

    log = AuditReader(clinic, "patient-records")
    with serving(clinic, "patient-records") as server:
        log.mark()
        anyio.run(pairs, f"{server.url}/mcp")
        events = log.events()
    assert answered == 2 * PAIRS
    assert crossed == []
    sessions = {event["patients"][0]: event["session"]["consultation"] for event in events}
    assert all(event["session"]["consultation"] == sessions[event["patients"][0]] for event in events)
    assert len(events) == 4 * PAIRS
    assert clinic.run("audit", "verify").returncode == 0


def test_a_second_id_in_flight_is_refused_on_stdio(clinic: Clinic) -> None:
    mine = clinic.tokens.grant(clinic.consult("P001"), "intake_agent", "P001", audience="patient-records")
    other = clinic.tokens.grant(clinic.consult("P002"), "intake_agent", "P002", audience="patient-records")
    with piped(clinic, "patient-records") as pipe:
        with clinic.write_lock():
            pipe.send(request("get_patient_record", {"patient_id": "P001"}, 7, {GRANT_META: mine}))
            pipe.send(request("get_patient_record", {"patient_id": "P002"}, 7, {GRANT_META: other}))
        answers = [pipe.receive(), pipe.receive()]
    (refused,) = [answer for answer in answers if "error" in answer]
    (answered,) = [answer for answer in answers if "result" in answer]
    assert "in flight" in refused["error"]["message"]
    assert answered["result"]["structuredContent"]["id"] == "P001"


def test_ids_that_differ_only_in_type_are_two_ids(clinic: Clinic) -> None:
    token = clinic.tokens.grant(clinic.consult("P001"), "intake_agent", "P001", audience="patient-records")
    with piped(clinic, "patient-records") as pipe:
        for number in (7, "7"):
            pipe.send(request("get_patient_record", {"patient_id": "P001"}, number, {GRANT_META: token}))
        answers = {
            repr(answer["id"]): answer["result"]["structuredContent"]["id"]
            for answer in (pipe.receive(), pipe.receive())
        }
    assert answers == {"7": "P001", "'7'": "P001"}


@pytest.mark.parametrize("order", [("P001", "P002"), ("P002", "P001")])
def test_a_second_id_in_flight_is_refused_on_sse(clinic: Clinic, order: tuple[str, str]) -> None:
    tokens = {
        patient: clinic.tokens.grant(clinic.consult(patient), "intake_agent", patient, audience="patient-records")
        for patient in order
    }
    first = headers(tokens[order[0]])
    with serving(clinic, "patient-records", "sse") as server, httpx.Client(timeout=20) as client:  # noqa: SIM117
        with client.stream("GET", f"{server.url}/sse", headers=first) as stream:
            lines = stream.iter_lines()

            def receive() -> str:
                return next(line for line in lines if line.startswith("data:"))[5:].strip()

            post = f"{server.url}{receive()}"
            hello = {
                "protocolVersion": "2025-11-25",
                "capabilities": {},
                "clientInfo": {"name": "race", "version": "1"},
            }
            client.post(post, json={"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}, headers=first)
            assert "result" in json.loads(receive())
            client.post(post, json={"jsonrpc": "2.0", "method": "notifications/initialized"}, headers=first)
            with clinic.write_lock():
                for patient in order:
                    body = request("get_patient_record", {"patient_id": patient}, 7)
                    assert client.post(post, json=body, headers=headers(tokens[patient])).status_code == 202
            answers = [json.loads(receive()), json.loads(receive())]
    assert sum("error" in answer for answer in answers) == 1
    (answered,) = [answer for answer in answers if "result" in answer]
    assert answered["result"]["structuredContent"]["id"] == order[0]
