"""Small graphs around the tools: one node, named as the agent that calls."""

from collections.abc import Awaitable, Callable
from typing import Any

from langgraph.graph import END, START, StateGraph


def compiled(*nodes: tuple[str, Callable[[dict[str, Any]], Any]]) -> Any:
    """A graph of nodes one after the other; each returns what it adds to the state."""
    graph = StateGraph(dict)
    names = [name for name, _ in nodes]
    for name, node in nodes:
        graph.add_node(name, node)
    for before, after in zip([START, *names], [*names, END], strict=True):
        graph.add_edge(before, after)
    return graph.compile()


def run(agent: str, session: str, work: Callable[[], Any]) -> Any:
    """What `work` returns inside a run of one synchronous node."""
    graph = compiled((agent, lambda state: {"out": work()}))
    return graph.invoke({}, {"configurable": {"thread_id": session}})["out"]


async def arun(agent: str, session: str, work: Callable[[], Awaitable[Any]]) -> Any:
    """What `work` returns inside a run of one asynchronous node."""

    async def node(state: dict[str, Any]) -> dict[str, Any]:
        return {"out": await work()}

    graph = compiled((agent, node))
    return (await graph.ainvoke({}, {"configurable": {"thread_id": session}}))["out"]
