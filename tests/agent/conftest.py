"""A clinic of stand-ins around the agent: real sockets, real processes, nothing of the agent replaced."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_standins.clinic import ClinicStandIn
from agent_standins.mcp_servers import McpStandIn
from agent_standins.web import WebServer
from clinic_agent.gateway import close_connections

HERE = Path(__file__).parent


class World:
    """The stand-ins of one test."""

    def __init__(self, clinic: ClinicStandIn, mcp: McpStandIn, home: Path, clinic_url: str) -> None:
        self.clinic = clinic
        self.mcp = mcp
        self.home = home
        self.clinic_url = clinic_url
        self.mcp_server: WebServer | None = None


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith(("CLINIC_", "AWS_", "OLLAMA_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CLINIC_HOME", str(tmp_path))
    monkeypatch.setenv("CLINIC_CALL_TIMEOUT", "15")
    yield
    close_connections()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A consultations service and its credentials; no MCP servers yet."""
    clinic = ClinicStandIn()
    folder = tmp_path / "credentials"
    folder.mkdir()
    for name, credential in clinic.credentials.items():
        (folder / f"{name}.json").write_text(json.dumps(credential))
    with WebServer(clinic.app()) as web:
        monkeypatch.setenv("CLINIC_CONSULTATIONS_URL", web.url)
        yield World(clinic, McpStandIn(), tmp_path, web.url)
        close_connections()


@pytest.fixture
def serve(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], World]]:
    """Start the MCP servers on a transport: http, sse or stdio."""
    running: list[WebServer] = []

    def start(transport: str) -> World:
        if transport == "stdio":
            command = world.home / "clinic-mcp"
            script = HERE / "agent_standins" / "mcp_servers.py"
            command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n')
            command.chmod(0o755)
            monkeypatch.setenv("CLINIC_SERVERS", "stdio")
            monkeypatch.setenv("CLINIC_MCP_COMMAND", str(command))
            return world
        web = WebServer(world.mcp.app(transport))
        running.append(web)
        world.mcp_server = web
        monkeypatch.setenv("CLINIC_SERVER_URLS", world.mcp.urls(web.url, transport))
        return world

    yield start
    close_connections()
    for web in running:
        web.stop()


@pytest.fixture
def over_http(serve: Callable[[str], World]) -> World:
    return serve("http")


def run_node(node: str, session: str, work: Callable[[], Any]) -> Any:
    """Run a function inside a one-node LangGraph run."""
    from langgraph.graph import END, START, StateGraph

    graph = StateGraph(dict)
    graph.add_node(node, lambda state: {"out": work()})
    graph.add_edge(START, node)
    graph.add_edge(node, END)
    return graph.compile().invoke({}, {"configurable": {"thread_id": session}})["out"]


async def arun_node(node: str, session: str, work: Callable[[], Any]) -> Any:
    """Run an asynchronous function inside a one-node LangGraph run."""
    from langgraph.graph import END, START, StateGraph

    async def run(state: dict[str, Any]) -> dict[str, Any]:
        return {"out": await work()}

    graph = StateGraph(dict)
    graph.add_node(node, run)
    graph.add_edge(START, node)
    graph.add_edge(node, END)
    return (await graph.compile().ainvoke({}, {"configurable": {"thread_id": session}}))["out"]
