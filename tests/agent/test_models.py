"""Bedrock and Ollama against stand-ins of their endpoints, and answers that cannot be used."""

import gc
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from agent_standins.models import ModelStandIn
from agent_standins.web import WebServer, free_port
from clinic_agent.errors import ModelProblem
from clinic_agent.graph import build_graph
from clinic_agent.models import check_model, get_model
from clinic_agent.replies import UnreadableReply, read_intake_reply
from clinic_agent.settings import load_settings
from clinic_agent.usage import spent
from conftest import World
from langgraph.types import Command

HAIKU = "bedrock:us.anthropic.claude-haiku-4-5-20251001-v1:0"
GOOD = json.dumps(
    {
        "intake_summary": "Headache.",
        "is_emergency": False,
        "triage_score": 3,
        "triage_reason": "Moderate.",
        "patient_message": "Thank you.",
    }
)
READS = [("get_patient_record", {"patient_id": "P001"}), ("search_knowledge_base", {"query": "headache"})]


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ModelStandIn]]:
    running: list[WebServer] = []

    def start(name: str, answers: list[Any], pulled: tuple[str, ...] = ()) -> ModelStandIn:
        stand_in = ModelStandIn(answers, pulled)
        running.append(WebServer(stand_in.app()))
        monkeypatch.setenv("CLINIC_MODEL", name)
        monkeypatch.setenv("CLINIC_BEDROCK_ENDPOINT", running[-1].url)
        monkeypatch.setenv("CLINIC_OLLAMA_HOST", running[-1].url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "not-a-key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-a-secret")
        return stand_in

    yield start
    for web in running:
        web.stop()


def intake(world: World, graph: Any = None) -> tuple[str, dict[str, Any]]:
    session = world.clinic.open("P001", signed=True)
    first = {"session_id": session, "patient_id": "P001", "symptoms": "headache", "messages": []}
    graph = graph or build_graph()
    return session, graph.invoke(first, {"configurable": {"thread_id": session}})


def test_bedrock_calls_the_tools_and_its_tokens_and_cost_are_counted(
    over_http: World, model: Callable[..., ModelStandIn]
) -> None:
    stand_in = model(HAIKU, [READS, GOOD])
    _, state = intake(over_http)
    assert state["intake_summary"] == "Headache."
    assert state["patient_history"]["name"] == "Alice Thompson"
    assert stand_in.asked[0]["model"] == HAIKU.removeprefix("bedrock:")
    usage = spent(state["messages"])
    assert (usage.calls, usage.input_tokens, usage.output_tokens) == (2, 2000, 400)
    assert usage.cost_usd == pytest.approx(0.004)


# langchain-ollama leaves its HTTP client to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ollama_calls_the_tools_and_costs_nothing(over_http: World, model: Callable[..., ModelStandIn]) -> None:
    model("ollama:llama3.2:3b", [READS, GOOD], ("llama3.2:3b",))
    check_model(load_settings())
    _, state = intake(over_http)
    assert (state["triage_score"], state["patient_history"]["name"]) == (3, "Alice Thompson")
    assert (spent(state["messages"]).input_tokens, spent(state["messages"]).cost_usd) == (1800, 0)
    gc.collect()


@pytest.mark.parametrize("answer", ["I feel it is nothing.", "{", '{"is_emergency": "maybe"}', GOOD.replace("3", "9")])
def test_an_answer_that_cannot_be_read_twice_falls_to_the_safe_side(
    answer: str, over_http: World, model: Callable[..., ModelStandIn]
) -> None:
    stand_in = model(HAIKU, [answer])
    _, state = intake(over_http)
    assert (state["is_emergency"], state["triage_score"], state["status"]) == (False, 5, "awaiting_doctor")
    assert "could not be read" in state["intake_summary"]
    assert "__interrupt__" in state
    assert len(stand_in.asked) == 2


def test_a_second_readable_answer_is_taken(over_http: World, model: Callable[..., ModelStandIn]) -> None:
    model(HAIKU, ["Let me think.", GOOD])
    assert intake(over_http)[1]["triage_score"] == 3


def test_a_model_that_never_stops_calling_tools_is_stopped(
    over_http: World, model: Callable[..., ModelStandIn]
) -> None:
    stand_in = model(HAIKU, [READS])
    _, state = intake(over_http)
    assert state["triage_score"] == 5
    assert len(stand_in.asked) == 12


def test_at_the_ceiling_the_model_is_not_called_and_the_doctor_takes_over(
    over_http: World, model: Callable[..., ModelStandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLINIC_COST_CEILING", "0.003")
    stand_in = model(HAIKU, [READS, READS, GOOD])
    graph = build_graph()
    session, state = intake(over_http, graph)
    assert len(stand_in.asked) == 2
    assert (state["triage_score"], state["status"]) == (5, "awaiting_doctor")
    assert "ceiling" in state["intake_summary"]
    resumed = graph.invoke(
        Command(resume={"action": "diagnose", "notes": "Rest."}), {"configurable": {"thread_id": session}}
    )
    assert len(stand_in.asked) == 2
    assert (resumed["status"], resumed["prescription"]) == ("awaiting_doctor", "")
    assert "the doctor takes over" in resumed["messages"][-1]["content"]


def test_the_models_session_id_never_replaces_the_runs(over_http: World, model: Callable[..., ModelStandIn]) -> None:
    other = over_http.clinic.open("P002", signed=True)
    write = [("record_prescription", {"session_id": other, "prescription": "Rest."})]
    model(HAIKU, [GOOD, write, "Rest."])
    graph = build_graph()
    session, _ = intake(over_http, graph)
    decision = Command(resume={"action": "diagnose", "notes": "Rest."})
    state = graph.invoke(decision, {"configurable": {"thread_id": session}})
    assert state["prescription"] == "Rest."
    assert over_http.mcp.recorded == {session: "Rest."}


def test_a_bare_bedrock_id_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLINIC_MODEL", "bedrock:anthropic.claude-haiku-4-5-20251001-v1:0")
    for use in (check_model, get_model):
        with pytest.raises(ModelProblem, match="cross-region inference profile"):
            use(load_settings())


def test_ollama_unreachable_and_model_not_pulled_are_told_apart(
    monkeypatch: pytest.MonkeyPatch, model: Callable[..., ModelStandIn]
) -> None:
    model("ollama:llama3.2:3b", [GOOD], ("mistral:7b",))
    with pytest.raises(ModelProblem, match=r"ollama pull llama3.2:3b"):
        check_model(load_settings())
    monkeypatch.setenv("CLINIC_OLLAMA_HOST", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(ModelProblem, match="ollama serve"):
        check_model(load_settings())


def test_a_model_lost_in_the_middle_hands_the_case_to_the_doctor(
    over_http: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLINIC_MODEL", "ollama:llama3.2:3b")
    monkeypatch.setenv("CLINIC_OLLAMA_HOST", f"http://127.0.0.1:{free_port()}")
    _, state = intake(over_http)
    assert (state["triage_score"], state["is_emergency"]) == (5, False)
    assert "did not answer" in state["intake_summary"]


def test_json_with_words_around_it_is_read_and_nonsense_is_not() -> None:
    assert read_intake_reply(f"Here it is:\n```json\n{GOOD}\n```").triage_score == 3
    for wrong in ("", "[]", "null", '{"a": 1}', GOOD.replace("false", '"no"'), "{" * 5000):
        with pytest.raises(UnreadableReply):
            read_intake_reply(wrong)
