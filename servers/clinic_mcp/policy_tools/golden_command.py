"""`clinic-mcp policy test`: the golden files beside the policies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clinic_mcp.core.console import (
    EXIT_REFUSED,
    AsJson,
    friendly,
    show_json,
    show_record,
    show_table,
)


@friendly
def golden(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of the policies, with `decisions/` beside them.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ask the policies about every golden file: decisions/ALLOW/*.json and decisions/DENY/*.json.

    Exit: 0 all as agreed and every policy decides a file, 1 not so, 4 there are no golden files.
    """
    from clinic_mcp.core.errors import Misconfigured
    from clinic_mcp.core.policy import PolicySet, folder_of
    from clinic_mcp.core.settings import Settings
    from clinic_mcp.policy_tools.golden import files, run

    place = folder_of(folder or Settings().policies)
    policies = PolicySet.load(place)
    paths = files(place)
    if not paths:
        raise Misconfigured(
            f"There are no golden files beside the policies: {place / 'decisions'} has no ALLOW/*.json and no"
            " DENY/*.json.",
            "They are in the repository, not in the wheel; give the folder that has them.",
        )
    outcomes = list(run(policies, paths))
    failures = {outcome.name: outcome.wrong for outcome in outcomes if outcome.wrong is not None}
    covered = frozenset[str]().union(*(outcome.reason for outcome in outcomes if outcome.wrong is None))
    uncovered = sorted(policies.policies.keys() - covered)
    if as_json:
        show_json(
            {
                "policy_set": policies.digest,
                "files": len(outcomes),
                "passed": len(outcomes) - len(failures),
                "failures": failures,
                "policies": len(policies.policies),
                "uncovered": uncovered,
            }
        )
    else:
        if failures:
            show_table("Not as agreed", ("file", "what"), list(failures.items()))
        counted: dict[str, object] = {
            "golden files": len(outcomes),
            "as agreed": len(outcomes) - len(failures),
            "policies that decide a file": f"{len(policies.policies) - len(uncovered)} of {len(policies.policies)}",
        }
        if uncovered:
            counted["decide none"] = ", ".join(uncovered)
        show_record(f"Policy set {policies.digest[:16]}…", counted)
    if failures or uncovered:
        raise typer.Exit(EXIT_REFUSED)
