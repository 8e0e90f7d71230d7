"""`clinic-mcp policy …`: for the people who own the policies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clinic_mcp.core.console import AsJson, friendly, show_json, show_table

app = typer.Typer(no_args_is_help=True, help="Check the policies.")


@app.callback()
def policy() -> None:
    """Check the policies."""


@app.command()
@friendly
def check(
    folder: Annotated[Path | None, typer.Argument(help="Folder of .cedarschema and .cedar files.")] = None,
    as_json: AsJson = False,
) -> None:
    """Parse, validate and try the policies, as a server does before it serves."""
    from clinic_mcp.core.policy import PolicySet
    from clinic_mcp.core.settings import Settings

    policies = PolicySet.load(folder or Settings().policies)
    policies.check_tools(tool_names())
    if as_json:
        listed = [{"id": policy.id, "effect": policy.effect} for policy in policies.policies.values()]
        show_json({"valid": True, "digest": policies.digest, "policies": listed})
    else:
        rows = [(policy.effect, policy.id, policy.annotations.get("advice")) for policy in policies.policies.values()]
        show_table(f"{len(rows)} policies, valid · {policies.digest[:16]}…", ("effect", "@id", "advice"), rows)


def tool_names() -> list[str]:
    """Every tool of every server."""
    from clinic_mcp.registry import SERVERS

    return [name for server in SERVERS.values() for name in server().tools]
