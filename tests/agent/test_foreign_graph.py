"""A graph written for in-process tools runs unchanged over MCP: same file, same bytes, another `tools` module."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import World
from langgraph.types import Command

FOREIGN = Path(__file__).parent / "foreign"


def _transcript(tools: str, session: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.syspath_prepend(str(FOREIGN))
    monkeypatch.syspath_prepend(str(FOREIGN / tools))
    for name in ("graph", "tools"):
        sys.modules.pop(name, None)
    graph = importlib.import_module("graph").build_graph()
    config = {"configurable": {"thread_id": session}}
    graph.invoke(
        {"session_id": session, "patient_id": "P002", "symptoms": "sore throat and fever", "messages": []}, config
    )
    graph.invoke(Command(resume={"action": "clarify", "question": "Since when?"}), config)
    graph.invoke(Command(resume="Two days."), config)
    notes = "Tonsillitis. Amoxicillin 500 mg three times a day for 7 days. Paracetamol 500 mg when needed."
    state: dict[str, Any] = graph.invoke(Command(resume={"action": "diagnose", "notes": notes}), config)
    for name in ("graph", "tools"):
        sys.modules.pop(name, None)
    return state


@pytest.mark.parametrize("transport", ["http", "sse", "stdio"])
def test_the_transcripts_are_the_same(
    transport: str, serve: Callable[[str], World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = serve(transport)
    session = world.clinic.open("P002", session="S-same", signed=True)
    over_mcp = _transcript("mcp_tools", session, monkeypatch)
    in_process = _transcript("in_process", session, monkeypatch)
    assert over_mcp == in_process
    assert over_mcp["status"] == "complete"
    assert "Azithromycin in place of Amoxicillin, which is out of stock" in over_mcp["prescription"]
