"""What speaks against a prescription: for each guardrail, the medications of it that the guardrail is about.

One-sided: a finding is a reason to stop, no finding is not a reason to go on. A pair of medications that the table
does not have is one nobody here knows a rule for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, bindparam, select

from clinic_mcp.core.clinic import Rule, guardrail_overrides
from clinic_mcp.prescriptions import reads
from clinic_mcp.prescriptions.reads import About, Interaction, Therapy
from clinic_mcp.prescriptions.review import Medication, named_in

SAME_THERAPY = 5
"""Characters of an ATC code that two medications share when they are of one chemical subgroup (WHO ATC, level 4)."""
STOPS = "contraindicated"
"""The severity of an interaction that a prescription is refused for; milder ones are for the clinician to weigh."""


_OVERRIDES = select(guardrail_overrides.c.rule, guardrail_overrides.c.item_id).where(
    guardrail_overrides.c.consultation_id == bindparam("consultation"),
    guardrail_overrides.c.clinic_id == bindparam("clinic"),
)


@dataclass
class Found:
    """The formulary ids each guardrail speaks of, and whether any medication is controlled."""

    items: dict[Rule, set[str]] = field(default_factory=lambda: {rule: set() for rule in Rule})
    controlled: bool = False


def check(connection: Connection, text: str, about: About, session_id: str, clinic_id: str) -> Found:
    """Hold a prescription against what is recorded of the patient.

    Args:
        connection: An open transaction.
        text: The prescription.
        about: What is recorded of the patient.
        session_id: The consultation it is for: its own prescription is not a duplicate of itself.
        clinic_id: The clinic served.
    """
    found = Found()
    prescribed = named_in(text, reads.formulary(connection, clinic_id))
    if not prescribed:
        return found
    taken = reads.therapies(connection, about.patient_id, session_id, clinic_id)
    rules = [rule for rule in reads.interactions(connection, clinic_id) if rule.severity == STOPS]
    for item in prescribed:
        if item.classes & about.allergy_classes:
            found.items[Rule.ALLERGY].add(item.id)
        if about.allergy_status == "never_asked":
            found.items[Rule.NEVER_ASKED].add(item.id)
        if any(_same_therapy(item, therapy) for therapy in taken):
            found.items[Rule.DUPLICATE].add(item.id)
        others = [*(therapy.names for therapy in taken), *(other.groups for other in prescribed if other != item)]
        if interacting(item, others, rules):
            found.items[Rule.INTERACTION].add(item.id)
        found.controlled |= item.controlled
    return found


def facts(connection: Connection, text: str, about: About, session_id: str, clinic_id: str) -> dict[str, Any]:
    """What the policies are told of a prescription: what speaks against it, and what of that was overridden.

    Args: as `check`.
    """
    found = check(connection, text, about, session_id, clinic_id)
    overridden: dict[str, list[str]] = {rule: [] for rule in Rule}
    for row in connection.execute(_OVERRIDES, {"consultation": session_id, "clinic": clinic_id}):
        overridden[row.rule].append(row.item_id)
    return {
        "controlled": found.controlled,
        "findings": {rule.value: sorted(found.items[rule]) for rule in Rule},
        "overridden": {rule.value: sorted(overridden[rule]) for rule in Rule},
    }


def interacting(item: Medication, others: Iterable[frozenset[str]], rules: Sequence[Interaction]) -> list[Interaction]:
    """The rules about a medication and any of the others, each given by the names and classes it goes by."""
    taken = list(others)
    return [
        rule
        for rule in rules
        if any(
            (rule.one in item.groups and rule.other in names) or (rule.other in item.groups and rule.one in names)
            for names in taken
        )
    ]


def _same_therapy(item: Medication, therapy: Therapy) -> bool:
    return bool(item.atc) and item.atc[:SAME_THERAPY] == therapy.atc[:SAME_THERAPY]
