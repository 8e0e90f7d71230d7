"""Every tool call of a run as it happens: who called what, and whether it was allowed."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler


@dataclass(frozen=True)
class ToolCall:
    """One call of a tool and what came of it; never its content."""

    agent: str
    tool: str
    outcome: str  # allowed | refused
    code: str = ""
    message: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return the call for JSON."""
        return asdict(self)


def outcome_of(result: Any) -> tuple[str, str]:
    """Return the code and message of a refusal value; two empty strings for anything else."""
    if isinstance(result, str) and result.startswith("Refused ("):
        code, _, message = result.removeprefix("Refused (").partition("): ")
        return code, message
    first = result[0] if isinstance(result, list) and result else result
    if isinstance(first, dict) and "error" in first:
        return str(first.get("code", "refused")), str(first["error"])
    return "", ""


class Trace(BaseCallbackHandler):
    """Collects the calls of a run and shows each when it is done."""

    def __init__(self, show: Callable[[ToolCall], None]) -> None:
        self.calls: list[ToolCall] = []
        self._show = show
        self._running: dict[UUID, tuple[str, str]] = {}

    def on_tool_start(
        self,
        serialized: dict[str, Any],
        input_str: str,
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Remember who called which tool."""
        self._running[run_id] = str((metadata or {}).get("langgraph_node", "")), str((serialized or {}).get("name", ""))

    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Show the call with its outcome."""
        agent, tool = self._running.pop(run_id, ("", ""))
        code, message = outcome_of(output)
        call = ToolCall(agent, tool, "refused" if code else "allowed", code, message)
        self.calls.append(call)
        self._show(call)

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Forget a call that raised."""
        self._running.pop(run_id, None)
