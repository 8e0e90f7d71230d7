"""`clinic-mcp policy matrix`: who may ever call what, and by which policy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clinic_mcp.core.console import AsJson, friendly, show_json, show_table

if TYPE_CHECKING:
    from clinic_mcp.policy_tools.matrix import Matrix


@friendly
def matrix(
    folder: Annotated[Path | None, typer.Argument(help="Folder of .cedarschema and .cedar files.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the table as an HTML page to this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Who may ever call what: for each role and tool, the policies that can permit it in some circumstances."""
    from clinic_mcp.core.policy import PolicySet
    from clinic_mcp.core.settings import Settings
    from clinic_mcp.policy_tools.matrix import grouped, permits_by_role
    from clinic_mcp.policy_tools.matrix_page import page

    settings = Settings()
    policies = PolicySet.load(folder or settings.policies)
    permits = permits_by_role(policies, settings.id)
    groups = grouped(policies)
    if html is not None:
        html.write_text(page(permits, groups, policies.digest), "utf-8")
    if as_json:
        show_json({"policy_set": policies.digest, "permits": permits})
        return
    _show_marks(permits, groups)
    named = [
        (action, role, "\n".join(row[action]))
        for group in groups.values()
        for action in group
        for role, row in permits.items()
        if row[action]
    ]
    show_table("By which policies", ("tool", "role", "permitted by"), named)


def _show_marks(permits: Matrix, groups: dict[str, list[str]]) -> None:
    """Roles across in three letters, so that a terminal of 80 columns has room for them."""
    from rich.console import Console
    from rich.table import Table

    short = {role: role[:3] for role in permits}
    legend = " · ".join(f"{letters} {role.replace('_', ' ')}" for role, letters in short.items())
    table = Table(title="Who may call what, in some circumstances", title_justify="left", caption=legend)
    table.add_column("tool", no_wrap=True)
    for letters in short.values():
        table.add_column(letters, justify="center", no_wrap=True)
    for actions in groups.values():
        for action in actions:
            marks = ("[green]✓[/]" if row[action] else "[dim]·[/]" for row in permits.values())
            table.add_row(action, *marks, end_section=action == actions[-1])
    Console().print(table)
