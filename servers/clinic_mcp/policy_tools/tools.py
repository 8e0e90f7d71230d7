"""The suite's tools as the policies know them: what they take, and which arguments the audit log keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clinic_mcp.core.policy import PolicySet
    from clinic_mcp.core.tool import Tool


def every_tool() -> dict[str, Tool[Any]]:
    """Every tool of every server by its name."""
    from clinic_mcp.registry import SERVERS

    return {name: tool for load in SERVERS.values() for name, tool in load().tools.items()}


def tool_inputs() -> dict[str, str]:
    """Every tool of every server, with its arguments as a Cedar record."""
    from clinic_mcp.core.cedar_types import input_type

    return {name: input_type(tool.arguments) for name, tool in every_tool().items()}


def check_fit(policies: PolicySet) -> None:
    """Refuse policies that no server would take.

    Raises:
        Misconfigured: A tool has no action, an action no tool, or their arguments differ.
    """
    from clinic_mcp.core.suite import ALL_TOOLS

    policies.check_tools(tool_inputs())
    policies.check_actions(ALL_TOOLS)
