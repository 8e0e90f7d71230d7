"""Who may ever call what: for each role and action, the permits that some circumstances would make apply."""

from __future__ import annotations

from clinic_mcp.core.identity import patient_entity
from clinic_mcp.core.policy import QUESTIONS, Entity, PolicySet, ref
from clinic_mcp.core.roles import KINDS
from clinic_mcp.core.suite import TOOLS

AGENT_ROLES = ("intake_agent", "prescription_agent")
PATIENT = "patient"

Matrix = dict[str, dict[str, list[str]]]
"""Role → action → the `@id`s of its permits."""


def permits_by_role(policies: PolicySet, clinic: str) -> Matrix:
    """The permits that could allow each role each action. What an agent or a role may do beyond that needs a policy.

    Args:
        policies: The policies.
        clinic: The clinic's id.
    """
    return {
        role: {action: policies.possible_permits(principal, action) for action in policies.actions}
        for role, principal in principals(clinic).items()
    }


def principals(clinic: str) -> dict[str, Entity]:
    """One caller of each role, as `core/identity.py` would make them. A patient has no role."""
    found = {
        role: Entity(("Agent", role), {"clinic": ref(("Clinic", clinic))}, (("Role", role),)) for role in AGENT_ROLES
    }
    for role, kind in KINDS.items():
        attrs = {"clinic": ref(("Clinic", clinic)), "active": True}
        found[role.value] = Entity((kind, role.value), attrs, (("Role", role.value),))
    return {**found, PATIENT: patient_entity(PATIENT, clinic=clinic)}


def grouped(policies: PolicySet) -> dict[str, list[str]]:
    """The actions by who asks them: each server's tools, the audit commands' questions, and any others."""
    groups = {server: [tool for tool in tools if tool in policies.actions] for server, tools in TOOLS.items()}
    groups["no tool"] = sorted(policies.actions.keys() & QUESTIONS)
    known = {action for actions in groups.values() for action in actions}
    groups["other"] = [action for action in policies.actions if action not in known]
    return {name: actions for name, actions in groups.items() if actions}
