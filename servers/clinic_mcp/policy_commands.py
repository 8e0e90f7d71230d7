"""`clinic-mcp policy …`: for the people who own the policies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clinic_mcp.core.console import AsJson, friendly, show_json, show_table

app = typer.Typer(no_args_is_help=True, help="Check and read the policies.")


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
    policies.check_tools(tool_inputs())
    if as_json:
        listed = [{"id": policy.id, "effect": policy.effect} for policy in policies.policies.values()]
        show_json({"valid": True, "digest": policies.digest, "policies": listed})
    else:
        rows = [(policy.effect, policy.id, policy.annotations.get("advice")) for policy in policies.policies.values()]
        show_table(f"{len(rows)} policies, valid · {policies.digest[:16]}…", ("effect", "@id", "advice"), rows)


ROLES = (
    ("Agent", "intake_agent"),
    ("Agent", "prescription_agent"),
    ("Clinician", "physician"),
    ("Clinician", "nurse"),
    ("Clinician", "pharmacist"),
    ("Auditor", "auditor"),
    ("Administrator", "administrator"),
)
"""Who may have a row in the matrix: each kind of principal with each role it can have."""


@app.command()
@friendly
def matrix(
    folder: Annotated[Path | None, typer.Argument(help="Folder of .cedarschema and .cedar files.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the table as an HTML page to this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Who may ever call what: for each role and tool, the policies that can permit it in some circumstances."""
    from clinic_mcp.core.policy import Entity, PolicySet, ref
    from clinic_mcp.core.settings import Settings

    settings = Settings()
    policies = PolicySet.load(folder or settings.policies)
    rows: dict[str, dict[str, list[str]]] = {}
    for kind, role in ROLES:
        attrs: dict[str, object] = {"clinic": ref(("Clinic", settings.id))}
        if kind != "Agent":
            attrs["active"] = True
        principal = Entity((kind, role), attrs, (("Role", role),))
        rows[role] = {action: policies.possible_permits(principal, action) for action in sorted(policies.actions)}
    if html is not None:
        html.write_text(_page(rows, policies.digest), "utf-8")
    if as_json:
        show_json({"policy_set": policies.digest, "permits": rows})
    else:
        table = [
            (action, role, ", ".join(row[action]))
            for action in sorted(policies.actions)
            for role, row in rows.items()
            if row[action]
        ]
        show_table("Who may call what, in some circumstances", ("tool", "role", "permitted by"), table)


def _page(rows: dict[str, dict[str, list[str]]], digest: str) -> str:
    """The matrix as a page of its own: roles down, tools across."""
    from html import escape

    actions = list(next(iter(rows.values())))
    head = "".join(f'<th scope="col">{escape(action)}</th>' for action in actions)
    body = "".join(
        f'<tr><th scope="row">{escape(role)}</th>'
        + "".join(f"<td>{escape(', '.join(row[action])) or '–'}</td>" for action in actions)
        + "</tr>"
        for role, row in rows.items()
    )
    style = "body{font:1rem sans-serif}table{border-collapse:collapse}th,td{border:1px solid #777;padding:.3rem}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Who may call what</title><style>{style}</style>'
        f"<h1>Who may call what, in some circumstances</h1><p>Policy set {escape(digest)}</p>"
        f"<table><thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table></html>\n"
    )


def tool_inputs() -> dict[str, str]:
    """Every tool of every server, with its arguments as a Cedar record."""
    from clinic_mcp.core.cedar_types import input_type
    from clinic_mcp.registry import SERVERS

    return {name: input_type(tool.arguments) for load in SERVERS.values() for name, tool in load().tools.items()}
