"""What a policy set is made of, read from the engine's JSON form of it and from the text of its schema."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clinic_mcp.core.errors import Misconfigured

Est = Mapping[str, Any]
"""A policy, or a part of one, in Cedar's JSON form (the "external syntax tree")."""


@dataclass(frozen=True)
class Policy:
    """One policy: its stable name, its effect, its annotations."""

    id: str
    effect: str
    annotations: Mapping[str, str]


def in_order(policies: Mapping[str, Est]) -> list[Est]:
    """The policies of a set as they stand in its text: the engine calls them `policy0`, `policy1`, …."""
    return [policies[name] for name in sorted(policies, key=lambda name: int(name.removeprefix("policy")))]


def named(policies: list[Est]) -> dict[str, Policy]:
    """Policies by their `@id`.

    Raises:
        Misconfigured: One has no `@id`, one that can be mistaken for another, or two the same: Cedar accepts all that.
    """
    found: dict[str, Policy] = {}
    for policy in policies:
        annotations = {key: value or "" for key, value in policy.get("annotations", {}).items()}
        name = annotations.get("id", "")
        if not name:
            raise Misconfigured("Every policy needs an @id: the audit log names policies by it.")
        if not (name.isascii() and name.isprintable()):
            raise Misconfigured(
                f"The @id {name!a} has letters beyond ASCII: two that look alike would be two policies."
            )
        if name in found:
            raise Misconfigured(f"Two policies have the @id {name!r}.")
        found[name] = Policy(name, policy["effect"], annotations)
    return found


def calculates(node: Any) -> bool:
    """Whether a condition adds, subtracts, multiplies or negates a number."""
    if isinstance(node, dict):
        return any(key in ("+", "-", "*", "neg") or calculates(value) for key, value in node.items())
    return isinstance(node, list) and any(calculates(one) for one in node)


_ACTION = re.compile(
    r'action\s+"?([A-Za-z_]\w*)"?\s*(?:in\s*\[[^\]]*\]\s*)?appliesTo\s*\{[^;]*?input:\s*(\{[^{}]*\})', re.DOTALL
)


def actions(schema: str) -> dict[str, str]:
    """The actions that apply to something, each with its `input` record; groups have no `appliesTo`."""
    return {name: " ".join(record.split()) for name, record in _ACTION.findall(schema)}


def fields(record: str) -> set[str]:
    """The fields of a Cedar record, e.g. `{"patient_id:String"}`."""
    return {"".join(field.split()) for field in record.strip("{} ").split(",") if field.strip()}
