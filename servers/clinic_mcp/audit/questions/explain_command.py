"""`clinic-mcp audit explain EVENT`: why a call was allowed or refused, by what was in force and known then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from clinic_mcp.audit.event import safe_id
from clinic_mcp.core.console import AsJson, friendly, show_json, show_record

if TYPE_CHECKING:
    from clinic_mcp.audit.questions.why import Inputs


@friendly
def explain(
    event: Annotated[str, typer.Argument(help="The id of a call or of an event, as a caller was given it.")],
    as_json: AsJson = False,
) -> None:
    """Why a call was allowed or refused: the policies' text then in force, and what they were asked."""
    from clinic_mcp.audit.on_record import asking
    from clinic_mcp.audit.questions.why import inputs, without_policies
    from clinic_mcp.core.policy import PolicySet, folder_of
    from clinic_mcp.policy_tools.explain import explain_recorded, search
    from clinic_mcp.policy_tools.explain_command import show

    with asking("audit") as desk:
        desk.record("audit.explain", {"event": safe_id(event)})
        with desk.database.read() as connection:
            decision = search(connection, event)
            if decision is None:
                other = without_policies(connection, event)
                show_json(other) if as_json else show_record("Not decided by policies", other)
                return
            folder = folder_of(desk.settings.policies)
            shown = explain_recorded(connection, decision, PolicySet.load(folder), folder)
            given = inputs(connection, decision)
    if as_json:
        show_json({**shown.as_json(), "inputs": vars(given)})
        return
    show(shown)
    _show_inputs(given)


def _show_inputs(given: Inputs) -> None:
    record: dict[str, object] = {f"context: {name}": value for name, value in _flat(given.context)}
    for entity in given.entities:
        record |= {
            f"{entity['uid']['type'].partition('::')[2]} {entity['uid']['id']}: {name}": value
            for name, value in _flat(entity["attrs"])
        }
    show_record("What the policies were asked", record)


def _flat(value: dict[str, Any], above: str = "") -> list[tuple[str, str]]:
    """A tree's leaves, each under its path."""
    found: list[tuple[str, str]] = []
    for name, one in value.items():
        path = f"{above}.{name}" if above else name
        if isinstance(one, dict) and one and not one.keys() & {"__entity", "__extn"}:
            found += _flat(one, path)
        else:
            found.append((path, _plain(one)))
    return found


def _plain(value: Any) -> str:
    if isinstance(value, dict) and "__entity" in value:
        return f"{value['__entity']['type'].partition('::')[2]} {value['__entity']['id']}"
    if isinstance(value, dict) and "__extn" in value:
        return str(value["__extn"]["arg"])
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "none"
    return "(not kept)" if value == "" else str(value).lower() if isinstance(value, bool) else str(value)
