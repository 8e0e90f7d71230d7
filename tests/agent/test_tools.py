"""The five tools over real MCP connections."""

import asyncio
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jwt
import pytest
from agent_standins.web import WebServer, free_port
from clinic_agent import tools
from clinic_agent.gateway import close_connections
from conftest import World, arun_node, run_node

ALICE = {"id": "P001", "name": "Alice Thompson", "dob": "1985-03-12", "blood_type": "A+", "allergies": "Penicillin"}
TRANSPORTS = ("http", "sse", "stdio")


def test_the_module_exports_exactly_the_five_tools_with_the_seeds_arguments() -> None:
    exported = {name: sorted(getattr(tools, name).args) for name in tools.__all__}
    assert exported == {
        "get_patient_record": ["patient_id"],
        "get_medical_history": ["patient_id"],
        "search_knowledge_base": ["query"],
        "check_pharmacy_inventory": ["medication_name"],
        "record_prescription": ["prescription", "session_id"],
    }


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_results_are_plain_values_from_synchronous_code(transport: str, serve: Callable[[str], World]) -> None:
    world = serve(transport)
    session = world.clinic.open("P001", signed=True)

    def intake() -> Any:
        return (
            tools.get_patient_record.invoke({"patient_id": "P001", "session_id": session}),
            tools.get_medical_history.invoke({"patient_id": "P001"}),
            tools.search_knowledge_base.invoke({"query": "fever"}),
        )

    record, history, articles = run_node("intake_agent", session, intake)
    assert record == ALICE
    assert history[0]["condition"] == "Migraine"
    assert articles == [{"topic": "Fever", "content": "About fever.", "category": "symptom"}]
    said = run_node(
        "prescription_agent",
        session,
        lambda: tools.record_prescription.invoke({"session_id": session, "prescription": "Rest."}),
    )
    assert said == f"Prescription recorded for session {session}."


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_results_are_plain_values_from_asynchronous_code(transport: str, serve: Callable[[str], World]) -> None:
    world = serve(transport)
    session = world.clinic.open("P001")
    call = lambda: tools.get_patient_record.ainvoke({"patient_id": "P001"})  # noqa: E731
    assert asyncio.run(arun_node("intake_agent", session, call)) == ALICE


def test_a_synchronous_call_on_a_running_loops_thread_does_not_deadlock(over_http: World) -> None:
    session = over_http.clinic.open("P001")

    async def inside() -> Any:
        return run_node("intake_agent", session, lambda: tools.get_patient_record.invoke({"patient_id": "P001"}))

    assert asyncio.run(asyncio.wait_for(inside(), 30)) == ALICE


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_refusal_is_a_value_in_the_tools_own_shape(transport: str, serve: Callable[[str], World]) -> None:
    world = serve(transport)
    session, other = world.clinic.open("P001", signed=True), world.clinic.open("P002", signed=True)
    why = "This consultation is about another patient."
    record, history = run_node(
        "intake_agent",
        session,
        lambda: (
            tools.get_patient_record.invoke({"patient_id": "P002"}),
            tools.get_medical_history.invoke({"patient_id": "P002"}),
        ),
    )
    assert record == {"error": why, "code": "refused"}
    assert history == [{"error": why, "code": "refused"}]
    said = run_node(
        "prescription_agent",
        session,
        lambda: tools.record_prescription.invoke({"session_id": other, "prescription": "x"}),
    )
    assert said == "Refused (refused): The grant is for another consultation."


def test_outside_a_langgraph_run_every_tool_refuses_and_says_so() -> None:
    answer = tools.get_patient_record.invoke({"patient_id": "P001"})
    assert answer["code"] == "no_consultation"
    assert "LangGraph run" in answer["error"]
    text = asyncio.run(tools.record_prescription.ainvoke({"session_id": "s", "prescription": "x"}))
    assert text.startswith("Refused (no_consultation): ")


def test_missing_arguments_are_a_value_too_and_name_the_field_only() -> None:
    answer = tools.search_knowledge_base.invoke({"q": "secret words"})
    assert answer == [{"error": "Missing or of the wrong kind: query.", "code": "invalid_arguments"}]


def test_the_grant_is_for_the_run_whatever_the_arguments_say(over_http: World) -> None:
    mine, other = over_http.clinic.open("P001", signed=True), over_http.clinic.open("P002", signed=True)
    run_node(
        "prescription_agent",
        mine,
        lambda: tools.record_prescription.invoke({"session_id": other, "prescription": "x"}),
    )
    call = over_http.mcp.calls[-1]
    assert call["arguments"] == {"session_id": other, "prescription": "x"}
    assert jwt.decode(call["bearer"], options={"verify_signature": False})["sid"] == mine
    assert over_http.mcp.recorded == {}


def test_on_http_the_grant_travels_as_the_bearer_and_not_in_the_body(over_http: World) -> None:
    session = over_http.clinic.open("P001")
    work = lambda: tools.check_pharmacy_inventory.invoke({"medication_name": "x", "session_id": "y"})  # noqa: E731
    run_node("intake_agent", session, work)
    call = over_http.mcp.calls[-1]
    assert call["arguments"] == {"medication_name": "x"}
    assert "_meta" not in call
    assert jwt.decode(call["bearer"], options={"verify_signature": False})["agent"] == "intake_agent"


def test_the_prescription_agent_before_a_sign_off_gets_the_services_own_words(over_http: World) -> None:
    session = over_http.clinic.open("P001")
    work = lambda: tools.record_prescription.invoke({"session_id": session, "prescription": "x"})  # noqa: E731
    assert run_node("prescription_agent", session, work) == (
        "Refused (refused): The prescription agent waits for a sign-off."
    )


def test_one_process_answers_many_calls_on_stdio(serve: Callable[[str], World]) -> None:
    world = serve("stdio")
    session = world.clinic.open("P001")
    for _ in range(5):
        work = lambda: tools.get_patient_record.invoke({"patient_id": "P001"})  # noqa: E731
        assert run_node("intake_agent", session, work) == ALICE
    assert len((world.home / "spawned.txt").read_text().splitlines()) == 1


def test_one_handshake_serves_many_calls_and_consultations_on_http(over_http: World) -> None:
    for _ in range(3):
        session = over_http.clinic.open("P001")
        run_node("intake_agent", session, lambda: tools.get_patient_record.invoke({"patient_id": "P001"}))
    assert over_http.mcp.handshakes == 1
    assert len(over_http.clinic.exchanges) == 3


def test_a_grant_is_asked_for_once_and_renewed_before_it_expires(over_http: World) -> None:
    session = over_http.clinic.open("P001")
    work = lambda: tools.get_patient_record.invoke({"patient_id": "P001"})  # noqa: E731
    run_node("intake_agent", session, work)
    run_node("intake_agent", session, work)
    assert len(over_http.clinic.exchanges) == 1
    over_http.clinic.grant_life = 0
    other = over_http.clinic.open("P001")
    run_node("intake_agent", other, work)
    run_node("intake_agent", other, work)
    assert over_http.clinic.exchanges.count((other, "intake_agent", "patient-records")) == 2


def test_a_grant_that_is_not_accepted_is_thrown_away_and_asked_for_anew_once(over_http: World) -> None:
    session = over_http.clinic.open("P001")
    work = lambda: tools.get_patient_record.invoke({"patient_id": "P001"})  # noqa: E731
    run_node("intake_agent", session, work)
    over_http.mcp.failures = [401]
    assert run_node("intake_agent", session, work) == ALICE
    assert len(over_http.clinic.exchanges) == 2
    over_http.mcp.failures = [401, 401]
    assert run_node("intake_agent", session, work)["code"] == "unauthenticated"
    assert run_node("intake_agent", session, work) == ALICE


def test_one_consultations_failure_does_not_touch_anothers_call_on_the_same_connection(over_http: World) -> None:
    sessions = [over_http.clinic.open("P001") for _ in range(8)]
    work = lambda: tools.get_patient_record.invoke({"patient_id": "P001"})  # noqa: E731
    run_node("intake_agent", sessions[0], work)
    over_http.mcp.failures = [401, 500]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda session: run_node("intake_agent", session, work), sessions, timeout=60))
    assert all(answer == ALICE for answer in answers)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_parallel_consultations_never_get_each_others_answers(transport: str, serve: Callable[[str], World]) -> None:
    world = serve(transport)
    names = {"P001": "Alice Thompson", "P002": "Bob Patel"}
    sessions = [(world.clinic.open(patient), patient) for patient in ("P001", "P002") * 20]

    def one(pair: tuple[str, str]) -> bool:
        session, patient = pair
        work = lambda: tools.get_patient_record.invoke({"patient_id": patient})  # noqa: E731
        return bool(run_node("intake_agent", session, work)["name"] == names[patient])

    with ThreadPoolExecutor(10) as pool:
        assert all(pool.map(one, sessions, timeout=90))


def test_a_killed_stdio_server_is_started_again_once(serve: Callable[[str], World]) -> None:
    world = serve("stdio")
    session = world.clinic.open("P001")
    work = lambda: tools.get_patient_record.invoke({"patient_id": "P001"})  # noqa: E731
    assert run_node("intake_agent", session, work) == ALICE
    os.kill(int((world.home / "spawned.txt").read_text().split()[1]), signal.SIGKILL)
    assert run_node("intake_agent", session, work) == ALICE
    assert len((world.home / "spawned.txt").read_text().splitlines()) == 2


# The SDK leaves streams of a cut-off SSE connection to the garbage collector, on both sides of this test.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("transport", ["http", "sse"])
def test_a_restarted_server_is_found_again(
    transport: str, serve: Callable[[str], World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = serve(transport)
    session = world.clinic.open("P001")
    work = lambda: tools.get_patient_record.invoke({"patient_id": "P001"})  # noqa: E731
    assert run_node("intake_agent", session, work) == ALICE
    assert world.mcp_server is not None
    world.mcp_server.stop()
    gone = run_node("intake_agent", session, work)
    assert gone["code"] == "unavailable"
    assert "clinic-mcp up" in gone["error"]
    with WebServer(world.mcp.app(transport), world.mcp_server.port):
        assert run_node("intake_agent", session, work) == ALICE
        close_connections()


def test_a_server_that_is_not_there_is_one_sentence_that_says_what_to_do(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLINIC_SERVER_URLS", f"patient-records=http://127.0.0.1:{free_port()}/mcp")
    session = world.clinic.open("P001")
    answer = run_node("intake_agent", session, lambda: tools.get_patient_record.invoke({"patient_id": "P001"}))
    assert answer["code"] == "unavailable"
    assert "nothing listens there" in answer["error"]


def test_a_stdio_server_that_cannot_start_says_its_own_last_line(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    command = world.home / "broken"
    command.write_text('#!/bin/sh\necho "run clinic-mcp init first" >&2\nexit 1\n')
    command.chmod(0o755)
    monkeypatch.setenv("CLINIC_SERVERS", "stdio")
    monkeypatch.setenv("CLINIC_MCP_COMMAND", str(command))
    session = world.clinic.open("P001")
    answer = run_node("intake_agent", session, lambda: tools.get_patient_record.invoke({"patient_id": "P001"}))
    assert answer["code"] == "unavailable"
    assert "run clinic-mcp init first" in answer["error"]


def test_without_a_credential_the_refusal_names_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = run_node("intake_agent", "S", lambda: tools.get_patient_record.invoke({"patient_id": "P001"}))
    assert answer["code"] == "settings"
    assert "clinic-agent.json" in answer["error"]
