"""A policy taken apart: its scope, and the conditions that must all hold for it to apply.

Each part becomes a policy of its own that the engine can be asked about, so that nothing here evaluates Cedar.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from clinic_mcp.core.policy_parts import Est
from clinic_mcp.policy_tools.cedar_text import condition, scope

_ANY: Est = {"op": "All"}


@dataclass(frozen=True)
class Part:
    """One thing a policy asks for: its text, and a policy that asks for nothing else."""

    text: str
    probe: Est


def scope_parts(policy: Est) -> dict[str, Part]:
    """What a policy's scope asks for: `principal`, `action`, `resource`, and `kind`, the principal's type alone.

    Args:
        policy: In Cedar's JSON form.
    """
    parts = {
        name: Part(scope(name, policy[name]), _probe(**{name: policy[name]}))
        for name in ("principal", "action", "resource")
    }
    kind = _kind(policy["principal"])
    return {**parts, "kind": Part(scope("principal", kind), _probe(principal=kind))}


def condition_parts(policy: Est) -> list[Part]:
    """What a policy's `when` and `unless` ask for, one part for each condition between `&&`.

    `context has bound` stays with each condition that reads `context.bound`: without it that one would be an error.

    Args:
        policy: In Cedar's JSON form.
    """
    parts = []
    for clause in policy["conditions"]:
        conjuncts = list(_conjuncts(clause["body"] if clause["kind"] == "when" else {"!": {"arg": clause["body"]}}))
        for number, conjunct in enumerate(conjuncts):
            guards = [one for one in conjuncts[:number] if _guards(one, conjunct)]
            if any(_guards(conjunct, later) for later in conjuncts[number + 1 :]):
                continue  # it is said with the condition it guards
            whole = conjunct
            for guard in reversed(guards):
                whole = {"&&": {"left": guard, "right": whole}}
            parts.append(Part(condition(whole), _probe(body=whole)))
    return parts


def _probe(body: Est | None = None, **scopes: Est) -> Est:
    conditions = [] if body is None else [{"kind": "when", "body": body}]
    anything = {"principal": _ANY, "action": _ANY, "resource": _ANY}
    return {"effect": "permit", **anything, **scopes, "conditions": conditions, "annotations": {}}


def _kind(principal: Est) -> Est:
    """A principal's scope without the role or the one principal it names."""
    if principal["op"] == "is":
        return {"op": "is", "entity_type": principal["entity_type"]}
    if principal["op"] == "==":
        return {"op": "is", "entity_type": principal["entity"]["type"]}
    return _ANY


def _conjuncts(node: Est) -> Iterator[Est]:
    """The conditions that must all hold; `!(a || b)` is `!a` and `!b`."""
    if "&&" in node:
        yield from _conjuncts(node["&&"]["left"])
        yield from _conjuncts(node["&&"]["right"])
    elif "!" in node and "||" in node["!"]["arg"]:
        for side in ("left", "right"):
            yield from _conjuncts({"!": {"arg": node["!"]["arg"]["||"][side]}})
    elif "!" in node and "!" in node["!"]["arg"]:
        yield from _conjuncts(node["!"]["arg"]["!"]["arg"])
    else:
        yield node


def _guards(guard: Est, node: Any) -> bool:
    """Whether a condition is a `has` test for something that another one reads."""
    if "has" not in guard:
        return False
    if isinstance(node, dict):
        return node.get(".") == guard["has"] or any(_guards(guard, one) for one in node.values())
    return isinstance(node, list) and any(_guards(guard, one) for one in node)
