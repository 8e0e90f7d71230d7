"""What the guard does when things go wrong: time, crashes, a log that cannot be written, callers that go away.

The guard, the database, the log and the protocol are real; only the tools' own work is made for the test.
"""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import pytest
from clinic_mcp.core.app import Application
from clinic_mcp.core.tool import ServerTools, Work
from clinic_mcp.patient_records import entities
from clinic_mcp.patient_records.arguments import OfPatient
from clinic_mcp.patient_records.models import emergency_access
from clinic_mcp.registry import SERVERS
from mcp import Client
from mcp_types import CallToolResult
from sqlalchemy import insert
from support.broken_log import mend_log, stop_log
from support.calls import DONE, INTENT, NOTES, PRESCRIPTION, REFUSED
from support.clinic import COMMAND, Clinic
from support.log import AuditReader
from support.servers import GRANT_META, answers, free_port, piped, post_call, request, serving
from support.waiting import eventually

SECRET = "Alice Thompson, 1985-03-12"
TOOL = "get_patient_record"
Run = Callable[[Work, OfPatient], dict[str, str]]


def tools_with(run: Run, *, writes: bool = False, target: Any = entities.record) -> ServerTools:
    """A patient-records server whose one tool does what the test wants."""
    tools = ServerTools("patient-records", title="Patient records", instructions="For a test.")

    @tools.tool(title="Patient record", arguments=OfPatient, target=target, writes=writes)
    def get_patient_record(work: Work, arguments: OfPatient) -> dict[str, str]:
        """Does what the test wants."""
        return run(work, arguments)

    return tools


def write_a_row(work: Work) -> None:
    """Write what a tool of this server may write."""
    access = {"id": "E-1", "clinic_id": "main", "patient_id": "P001", "clinician_id": "dr-osei", "reason": "why"}
    times = {"reason_code": "unconscious", "granted_at": work.started, "expires_at": work.started}
    work.connection.execute(insert(emergency_access), {**access, **times, "call_id": work.call_id})


@contextmanager
def application(clinic: Clinic, tools: ServerTools, **settings: Any) -> Iterator[Application]:
    opened = Application(tools, clinic.settings.model_copy(update=settings), "stdio")
    try:
        yield opened
    finally:
        opened.close()


def ask(opened: Application, token: str, times: int = 1, within: float = 30) -> list[CallToolResult]:
    """Call the tool over the in-memory transport, `times` at once."""
    results: list[CallToolResult] = []

    async def talk() -> None:
        with anyio.fail_after(within):
            async with Client(opened.server) as client, anyio.create_task_group() as group:

                async def one() -> None:
                    results.append(await client.call_tool(TOOL, {"patient_id": "P001"}, meta={GRANT_META: token}))

                for _ in range(times):
                    group.start_soon(one)

    anyio.run(talk)
    return results


def code(result: CallToolResult) -> str:
    if not result.is_error:
        return "ok"
    assert result.structured_content
    return str(result.structured_content["error"]["code"])


@pytest.fixture
def token(clinic: Clinic) -> str:
    return clinic.tokens.grant(clinic.consult(), "intake_agent", audience="patient-records")


@pytest.fixture
def log(clinic: Clinic, token: str) -> AuditReader:
    return AuditReader(clinic, "patient-records")


def calls_of(log: AuditReader) -> list[tuple[str, str]]:
    return [(event["phase"], event["code"]) for event in log.events() if event["phase"] not in ("lifecycle", "admin")]


def crash(_work: Work, _arguments: OfPatient) -> dict[str, str]:
    raise ValueError(SECRET)


def test_a_crash_in_a_tool_is_a_code_and_a_reference_and_nothing_of_the_exception(
    clinic: Clinic, token: str, log: AuditReader, capfd: pytest.CaptureFixture[str]
) -> None:
    with application(clinic, tools_with(crash)) as opened:
        (result,) = ask(opened, token)
    said = result.model_dump_json()
    assert code(result) == "internal"
    assert "Alice" not in said
    assert "ValueError" not in said
    assert calls_of(log) == [INTENT, ("outcome", "call.error")]
    outcome = next(event for event in log.events() if event["phase"] == "outcome")
    assert outcome["call_id"] in said, "the reference leads to the event"
    assert outcome["outcome"]["error"] == "ValueError"
    assert "Alice" not in json.dumps(log.events())
    assert "Alice" not in "".join(capfd.readouterr())


def test_a_crash_before_the_decision_is_recorded_too(clinic: Clinic, token: str, log: AuditReader) -> None:
    def broken(*_: object) -> Any:
        raise KeyError(SECRET)

    with application(clinic, tools_with(crash, target=broken)) as opened:
        (result,) = ask(opened, token)
    assert code(result) == "internal"
    assert "Alice" not in result.model_dump_json()
    events = calls_of(log)
    assert [phase for phase, _ in events] == ["decision"], "a call that reached the server is on the record"


def test_a_tool_that_takes_too_long_is_ended_and_its_outcome_recorded(
    clinic: Clinic, token: str, log: AuditReader
) -> None:
    go_on = threading.Event()

    def slow(_work: Work, _arguments: OfPatient) -> dict[str, str]:
        assert go_on.wait(20)
        return {"name": SECRET}

    with application(clinic, tools_with(slow), tool_timeout=0.5) as opened:
        try:
            (result,) = ask(opened, token)
        finally:
            go_on.set()
        assert code(result) == "timeout"
        assert "Alice" not in result.model_dump_json()
        eventually(lambda: len(calls_of(log)) == 2)
    assert calls_of(log) == [INTENT, ("outcome", "call.error")]


def test_a_write_that_takes_too_long_changes_nothing(clinic: Clinic, token: str, log: AuditReader) -> None:
    go_on = threading.Event()

    def slow(work: Work, _arguments: OfPatient) -> dict[str, str]:
        write_a_row(work)
        assert go_on.wait(20)
        return {}

    with application(clinic, tools_with(slow, writes=True), tool_timeout=0.5) as opened:
        try:
            (result,) = ask(opened, token)
        finally:
            go_on.set()
        assert code(result) == "timeout"
        eventually(lambda: len(calls_of(log)) == 2)
    assert calls_of(log) == [INTENT, ("outcome", "call.error")]
    assert clinic.execute("SELECT * FROM emergency_access") == []


def test_a_call_that_times_out_in_the_queue_is_on_the_record(clinic: Clinic, token: str, log: AuditReader) -> None:
    """More calls at once than there are threads: those that never got one were calls all the same."""
    go_on = threading.Event()

    def slow(_work: Work, _arguments: OfPatient) -> dict[str, str]:
        assert go_on.wait(30)
        return {}

    times = 40
    with application(clinic, tools_with(slow), tool_timeout=2) as opened:
        try:
            results = ask(opened, token, times)
        finally:
            go_on.set()
        assert {code(result) for result in results} == {"timeout"}
        eventually(lambda: sum(phase == "outcome" for phase, _ in calls_of(log)) >= 1)

        def recorded() -> set[str]:
            return {event["call_id"] for event in log.events() if event["phase"] not in ("lifecycle", "admin")}

        eventually(lambda: len(recorded()) == times, 15)


def test_a_call_whose_client_cancels_is_still_recorded(clinic: Clinic, token: str, log: AuditReader) -> None:
    running, go_on = threading.Event(), threading.Event()

    def slow(_work: Work, _arguments: OfPatient) -> dict[str, str]:
        running.set()
        assert go_on.wait(20)
        return {"name": SECRET}

    async def talk(opened: Application) -> None:
        with anyio.fail_after(20):
            async with Client(opened.server) as client, anyio.create_task_group() as group:

                async def one() -> None:
                    await client.call_tool(TOOL, {"patient_id": "P001"}, meta={GRANT_META: token})

                group.start_soon(one)
                await anyio.to_thread.run_sync(running.wait, 10)
                group.cancel_scope.cancel()

    with application(clinic, tools_with(slow)) as opened:
        try:
            anyio.run(talk, opened)
        finally:
            go_on.set()
        eventually(lambda: len(calls_of(log)) == 2)
    assert calls_of(log) == [INTENT, ("outcome", "call.error")]
    outcome = next(event for event in log.events() if event["phase"] == "outcome")
    assert outcome["outcome"]["error"] == "cancelled"


def test_when_the_intent_cannot_be_recorded_the_tool_is_not_run(clinic: Clinic, token: str, log: AuditReader) -> None:
    ran: list[str] = []

    def note(work: Work, _arguments: OfPatient) -> dict[str, str]:
        ran.append(work.call_id)
        return {"name": SECRET}

    with application(clinic, tools_with(note)) as opened:
        stop_log(clinic, "NEW.phase != 'lifecycle'")
        (result,) = ask(opened, token)
        assert code(result) == "audit_unavailable"
        assert result.structured_content
        assert "recorded" in result.structured_content["error"]["message"]
        assert ran == []
        assert calls_of(log) == []
        mend_log(clinic)
        (result,) = ask(opened, token)
        assert code(result) == "ok"
    assert calls_of(log) == [INTENT, DONE]
    assert clinic.run("audit", "verify").returncode == 0


def test_when_the_outcome_cannot_be_recorded_the_result_is_withheld(
    clinic: Clinic, token: str, log: AuditReader
) -> None:
    with application(clinic, tools_with(lambda _work, _arguments: {"name": SECRET})) as opened:
        stop_log(clinic, "NEW.phase = 'outcome'")
        (result,) = ask(opened, token)
    mend_log(clinic)
    assert code(result) == "audit_unavailable"
    assert "Alice" not in result.model_dump_json()
    assert calls_of(log) == [INTENT]
    assert clinic.run("audit", "verify", code=3).returncode == 3


def test_what_a_stopped_process_could_not_close_its_next_start_does(
    clinic: Clinic, token: str, log: AuditReader
) -> None:
    with serving(clinic, "patient-records") as server:
        stop_log(clinic, "NEW.phase = 'outcome'")
        _, body = post_call(f"{server.url}/mcp", TOOL, {"patient_id": "P001"}, token)
        assert body["result"]["structuredContent"]["error"]["code"] == "audit_unavailable"
    assert calls_of(log) == [INTENT]
    mend_log(clinic)
    with serving(clinic, "patient-records"):
        assert calls_of(log) == [INTENT, ("outcome", "call.unknown")]
    assert clinic.run("audit", "verify").returncode == 0


@pytest.mark.parametrize("next_call", [True, False], ids=["at the next call", "at its end"])
def test_a_call_whose_outcome_could_not_be_recorded_is_closed_once_the_log_is_back(
    clinic: Clinic, token: str, log: AuditReader, next_call: bool
) -> None:
    with application(clinic, tools_with(lambda _work, _arguments: {"name": SECRET})) as opened:
        stop_log(clinic, "NEW.phase = 'outcome'")
        (result,) = ask(opened, token)
        assert code(result) == "audit_unavailable"
        mend_log(clinic)
        if next_call:
            (result,) = ask(opened, token)
            assert code(result) == "ok"
    expected = [INTENT, ("outcome", "call.unknown"), *([INTENT, DONE] if next_call else [])]
    assert calls_of(log) == expected
    closed = next(event for event in log.events() if event["code"] == "call.unknown")
    assert closed["outcome"] == {"status": "unknown", "error": "not recorded"}
    assert clinic.run("audit", "verify").returncode == 0


def test_when_the_outcome_of_a_write_cannot_be_recorded_nothing_is_written(
    clinic: Clinic, token: str, log: AuditReader
) -> None:
    def change(work: Work, _arguments: OfPatient) -> dict[str, str]:
        write_a_row(work)
        return {}

    with application(clinic, tools_with(change, writes=True)) as opened:
        stop_log(clinic, "NEW.phase = 'outcome'")
        (result,) = ask(opened, token)
        mend_log(clinic)
    assert code(result) == "audit_unavailable"
    assert clinic.execute("SELECT * FROM emergency_access") == []


def test_a_refusal_that_cannot_be_recorded_says_so_instead(clinic: Clinic, log: AuditReader) -> None:
    stranger = clinic.tokens.grant(clinic.consult("P002"), "intake_agent", "P002", audience="patient-records")
    with application(clinic, SERVERS["patient-records"]()) as opened:
        stop_log(clinic, "NEW.phase = 'decision'")
        (result,) = ask(opened, stranger)
        mend_log(clinic)
        assert code(result) == "audit_unavailable"
        (result,) = ask(opened, stranger)
        assert code(result) == "refused"
    assert calls_of(log) == [REFUSED]


def test_a_server_whose_log_cannot_be_written_does_not_start(clinic: Clinic) -> None:
    stop_log(clinic)
    done = clinic.run("serve", "pharmacy", code=4)
    assert "audit store is not available" in done.stderr
    assert "Traceback" not in done.stderr


def test_calls_that_share_a_commit_each_have_their_own_events(clinic: Clinic, token: str, log: AuditReader) -> None:
    with application(clinic, SERVERS["patient-records"]()) as opened:
        results = ask(opened, token, 50)
    assert {code(result) for result in results} == {"ok"}
    events = [event for event in log.events() if event["phase"] not in ("lifecycle", "admin")]
    by_call: dict[str, list[str]] = {}
    for event in events:
        by_call.setdefault(event["call_id"], []).append(event["phase"])
    assert len(by_call) == 50
    assert set(map(tuple, by_call.values())) == {("intent", "outcome")}
    assert clinic.run("audit", "verify").returncode == 0


def test_a_log_locked_by_another_process_is_named_and_comes_back(clinic: Clinic, token: str) -> None:
    with piped(clinic, "patient-records") as pipe:
        body = request(TOOL, {"patient_id": "P001"}, "a", {GRANT_META: token})
        with clinic.write_lock():
            pipe.send(body)
            answer = pipe.receive()
        error = answer["result"]["structuredContent"]["error"]
        assert error["code"] == "audit_unavailable"
        assert "locked" in error["message"]
        pipe.send({**body, "id": "b"})
        assert pipe.receive()["result"]["structuredContent"]["id"] == "P001"


@pytest.mark.sqlite("the limit on a file's size stands for a full disk")
def test_a_full_disk_refuses_calls_and_loses_nothing(clinic: Clinic, token: str) -> None:
    """The size a file may have is limited for the server process, as a full disk would."""
    port = free_port()
    serve = [*COMMAND, "serve", "patient-records", "--transport", "http", "--port", str(port)]
    child = subprocess.Popen(
        ["bash", "-c", 'ulimit -f 700; exec "$@"', "bash", *serve],
        env=clinic.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    acknowledged, refusal = 0, None
    try:
        eventually(lambda: answers(port), 20)
        for _ in range(600):
            status, body = post_call(f"http://127.0.0.1:{port}/mcp", TOOL, {"patient_id": "P001"}, token)
            content = body["result"]["structuredContent"]
            if "error" in content:
                refusal = content["error"]
                break
            acknowledged += status == 200
    finally:
        child.terminate()
        child.wait(15)
    assert refusal is not None, "the limit was never reached"
    assert refusal["code"] == "audit_unavailable"
    outcomes = clinic.execute("SELECT count(*) FROM audit_events WHERE phase = 'outcome'")[0][0]
    assert outcomes >= acknowledged > 0
    assert clinic.run("audit", "verify", code=None).returncode in (0, 3)


def test_a_second_request_with_an_id_in_flight_is_refused_and_recorded(clinic: Clinic, token: str) -> None:
    log = AuditReader(clinic, "patient-records")
    with piped(clinic, "patient-records") as pipe:
        body = request(TOOL, {"patient_id": "P001"}, 7, {GRANT_META: token})
        with clinic.write_lock():
            pipe.send(body)
            pipe.send(body)
            # The second is refused at once; recording that refusal waits for the lock as the first call does.
        received = [pipe.receive(), pipe.receive()]
    assert sum("error" in answer for answer in received) == 1
    assert sum("result" in answer for answer in received) == 1
    calls = {event["call_id"] for event in log.events() if event["phase"] not in ("lifecycle", "admin")}
    assert len(calls) == 2, "the refused one was a call that reached the server"


def test_a_request_the_protocol_refuses_is_on_the_record(clinic: Clinic, token: str) -> None:
    log = AuditReader(clinic, "patient-records")
    with piped(clinic, "patient-records") as pipe:
        for number, params in enumerate(
            (
                {"name": 5, "arguments": {}},
                {"name": TOOL, "arguments": ["P001"]},
                {"name": TOOL, "arguments": "P001"},
                {"arguments": {}},
            )
        ):
            log.mark()
            signed = {**params, "_meta": {GRANT_META: token}}
            pipe.send({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": signed})
            answer = pipe.receive()
            assert "error" in answer or answer["result"]["isError"]
            assert "P001" not in json.dumps(answer)
            assert [phase for phase, _ in log.phases()] == ["decision"], params


def test_a_write_works_once_through_the_guard(clinic: Clinic) -> None:
    session = clinic.consult(notes=NOTES)
    token = clinic.tokens.grant(session, "prescription_agent", audience="prescriptions")
    log = AuditReader(clinic, "prescriptions")
    with piped(clinic, "prescriptions") as pipe:
        texts = []
        for number in range(3):
            arguments = {"session_id": session, "prescription": PRESCRIPTION}
            pipe.send(request("record_prescription", arguments, number, {GRANT_META: token}))
            texts.append(pipe.receive()["result"]["structuredContent"]["result"])
    assert len(set(texts)) == 1
    kinds = [event["effect"]["kind"] for event in log.events() if event["phase"] == "outcome"]
    assert kinds == ["insert", "repeat", "repeat"]
