"""`clinic-mcp policy …`: for the people who own the policies."""

from __future__ import annotations

import typer

from clinic_mcp.policy_tools.check_command import check
from clinic_mcp.policy_tools.explain_command import explain
from clinic_mcp.policy_tools.golden_command import golden
from clinic_mcp.policy_tools.matrix_command import matrix
from clinic_mcp.policy_tools.replay_command import replay
from clinic_mcp.policy_tools.tools import tool_inputs

__all__ = ["app", "tool_inputs"]

app = typer.Typer(no_args_is_help=True, help="Check, read, explain, test and replay the policies.")
for command in (check, explain, matrix, replay):
    app.command()(command)
app.command("test")(golden)
