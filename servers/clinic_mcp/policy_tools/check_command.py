"""`clinic-mcp policy check`: what a server does with the policies before it serves, and what is worth a look."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clinic_mcp.core.console import AsJson, friendly, say, show_json, show_table

if TYPE_CHECKING:
    from clinic_mcp.core.policy import PolicySet


@friendly
def check(
    folder: Annotated[Path | None, typer.Argument(help="Folder of .cedarschema and .cedar files.")] = None,
    as_json: AsJson = False,
) -> None:
    """Parse, validate and try the policies, and hold them to the tools, as a server does before it serves."""
    from clinic_mcp.core.policy import PolicySet, folder_of
    from clinic_mcp.core.settings import Settings
    from clinic_mcp.policy_tools.tools import check_fit

    place = folder_of(folder or Settings().policies)
    policies = PolicySet.load(place)
    check_fit(policies)
    warnings = _warnings(policies, place)
    if as_json:
        listed = [{"id": policy.id, "effect": policy.effect} for policy in policies.policies.values()]
        show_json({"valid": True, "digest": policies.digest, "policies": listed, "warnings": warnings})
        return
    rows = [(policy.effect, policy.id, _advice(policies, policy.id)) for policy in policies.policies.values()]
    show_table(f"{len(rows)} policies, valid · {policies.digest[:16]}…", ("effect", "@id", "advice"), rows)
    for warning in warnings:
        say(warning)


def _warnings(policies: PolicySet, folder: Path) -> list[str]:
    """What a server takes and an owner of policies may not have meant."""
    from clinic_mcp.policy_tools.golden import files, read
    from clinic_mcp.policy_tools.matrix import permits_by_role

    found = []
    silent = [name for name in policies.policies if policies.policies[name].effect == "forbid"]
    silent = [name for name in silent if _advice(policies, name) is None]
    if silent:
        found.append(f"Whoever these refuse is not told what to do (no @advice): {', '.join(silent)}.")
    useful = {
        name for row in permits_by_role(policies, "main").values() for permits in row.values() for name in permits
    }
    idle = [name for name, one in policies.policies.items() if one.effect == "permit" and name not in useful]
    if idle:
        found.append(f"No role the suite knows could ever use these permits: {', '.join(idle)}.")
    reasons: set[str] = set()
    paths = files(folder)
    for path in paths:
        try:
            reasons |= read(path).reason
        except (ValueError, OSError) as exc:
            found.append(f"The golden file {path.parent.name}/{path.name} cannot be read: {exc}.")
    untried = [name for name in policies.policies if name not in reasons]
    if not paths:
        found.append("There are no golden files (decisions/ALLOW, decisions/DENY) beside these policies.")
    elif untried:
        found.append(f"No golden file is decided by: {', '.join(untried)}.")
    return found


def _advice(policies: PolicySet, name: str) -> str | None:
    annotations = policies.policies[name].annotations
    return annotations.get("advice") or annotations.get("advice_own")
