"""The five tools against the real servers, from any kind of graph."""

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from agent_e2e.clinic import Clinic
from agent_e2e.record import assert_calls
from agent_e2e.runs import compiled, run
from clinic_agent import tools

NAMES = {"P001": "Alice Thompson", "P002": "Bob Patel"}
CALLS: dict[str, list[tuple[Any, dict[str, Any]]]] = {
    "intake_agent": [
        (tools.get_patient_record, {"patient_id": "P001"}),
        (tools.get_medical_history, {"patient_id": "P001"}),
        (tools.search_knowledge_base, {"query": "fever"}),
    ],
    "prescription_agent": [
        (tools.check_pharmacy_inventory, {"medication_name": "Paracetamol"}),
        (tools.check_pharmacy_inventory, {"medication_name": "Amoxicillin"}),
        (tools.record_prescription, {"prescription": "Paracetamol 500mg three times daily"}),
    ],
}


def synchronous(agent: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A node as the seed's: `session_id` goes into every call's arguments, every result through `json.dumps`."""

    def node(state: dict[str, Any]) -> dict[str, Any]:
        results = [json.dumps(fn.invoke({**args, "session_id": state["session_id"]})) for fn, args in CALLS[agent]]
        return {**state, agent: results}

    return node


def asynchronous(agent: str) -> Callable[[dict[str, Any]], Any]:
    async def node(state: dict[str, Any]) -> dict[str, Any]:
        results = [await fn.ainvoke({**args, "session_id": state["session_id"]}) for fn, args in CALLS[agent]]
        return {**state, agent: [json.dumps(result) for result in results]}

    return node


def of(kind: str) -> Any:
    node = asynchronous if kind == "asynchronous nodes" else synchronous
    return compiled(*[(agent, node(agent)) for agent in CALLS])


@pytest.mark.parametrize("kind", ["a synchronous graph", "synchronous nodes under ainvoke", "asynchronous nodes"])
def test_a_graph_that_passes_session_id_to_every_tool_and_dumps_the_results_works(
    kind: str, clinic: Clinic, reach: Callable[..., None]
) -> None:
    reach(clinic)
    session = clinic.open("P001")
    clinic.sign_off(session, "Paracetamol 500mg three times daily")
    config, start = {"configurable": {"thread_id": session}}, {"session_id": session}
    if kind == "a synchronous graph":
        state = of(kind).invoke(start, config)
    else:
        state = asyncio.run(asyncio.wait_for(of(kind).ainvoke(start, config), 60))
    record, history, articles = map(json.loads, state["intake_agent"])
    assert set(record) == {"id", "name", "dob", "blood_type", "allergies"}
    assert record["allergies"] == "Penicillin"
    assert [entry["condition"] for entry in history] == ["Hypertension", "Seasonal allergies"]
    assert articles[0]["topic"] == "Fever"
    paracetamol, amoxicillin, said = map(json.loads, state["prescription_agent"])
    assert (paracetamol["in_stock"], paracetamol["unit"]) == (True, "tablets")
    assert (amoxicillin["in_stock"], amoxicillin["alternatives"][0]["medication"]) == (False, "Azithromycin 250mg")
    assert said.endswith(f"recorded for session {session}.")
    calls = [(agent, fn.name) for agent, made in CALLS.items() for fn, _ in made]
    assert_calls(clinic.events(session), calls, "P001", "http")


@pytest.mark.parametrize("transport", ["http", "sse", "stdio"])
def test_two_consultations_in_parallel_over_the_same_connections_never_cross(
    transport: str, clinic: Clinic, reach: Callable[..., None]
) -> None:
    reach(clinic, transport)
    sessions = {patient: clinic.open(patient) for patient in NAMES}

    def twenty(patient: str) -> list[Any]:
        one = {"patient_id": patient}
        pairs = [(tools.get_patient_record.invoke(one), tools.get_medical_history.invoke(one)) for _ in range(10)]
        return [pair for pair in pairs if pair != pairs[0] or pair[0].get("name") != NAMES[patient]]

    with ThreadPoolExecutor(2) as pool:
        wrong = pool.map(lambda patient: run("intake_agent", sessions[patient], lambda: twenty(patient)), NAMES)
        assert list(wrong) == [[], []]
    for patient, session in sessions.items():
        made = [("intake_agent", "get_patient_record"), ("intake_agent", "get_medical_history")] * 10
        assert_calls(clinic.events(session), made, patient, transport)
