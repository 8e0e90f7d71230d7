"""Small wrong versions of each policy: what a slip of the hand or a bad merge would make of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import cedarpy
from clinic_mcp.core.policy import PolicySet
from meaning import Est, environments, groups, meaning_of

Path = tuple[str | int, ...]

COMPARISONS = ("<", "<=", ">", ">=")
SAME_TYPE = (
    ("careTeam", "attending"),
    ("allergy", "interaction", "duplicate", "never_asked"),
    ("findings", "overridden"),
    ("open", "signedOff"),
    ("consultation", "patient"),
    ("principal", "resource"),
)
"""Attributes, or variables, of one type: each is easily written for another."""
LITERALS = {"V": ("R", "N")}
PRINCIPALS = ("Agent", "Clinician", "Auditor", "Administrator", "Patient")
ROLES = ("intake_agent", "prescription_agent", "physician", "nurse", "pharmacist", "auditor", "administrator")


@dataclass(frozen=True)
class Mutant:
    """A policy changed in one place, or none where it is left out.

    Args:
        policy: The `@id`.
        change: What was changed.
        est: What became of it, in Cedar's JSON form.
    """

    policy: str
    change: str
    est: Est | None

    @property
    def name(self) -> str:
        return f"{self.policy}: {self.change}"


def mutants(policies: PolicySet) -> list[Mutant]:
    """Every mutant that is a valid policy and says something else than the one it was made from, each once.

    A wider scope that takes in nothing the schema allows says the same: `any resource` of an action that is only ever
    about a patient.

    Args:
        policies: The set.
    """
    schema = cedarpy.Schema.from_str(policies.schema_text)
    members, allowed = groups(policies.schema_text), environments(policies.schema_text)
    found = []
    for name, est in policies.est.items():
        seen: set[str | None] = {meaning_of(dict(est), members, allowed)}
        for change, changed in _changes(dict(est), members):
            meaning = None if changed is None else meaning_of(changed, members, allowed)
            if meaning not in seen and (changed is None or _valid(changed, schema)):
                seen.add(meaning)
                found.append(Mutant(name, change, changed))
    return found


def _valid(est: Est, schema: cedarpy.Schema) -> bool:
    text = cedarpy.policies_from_json_str(json.dumps(whole({"policy0": est})))
    return bool(cedarpy.validate_policies(text, schema).validation_passed)


def whole(policies: Mapping[str, Any]) -> Est:
    """A policy set in Cedar's JSON form."""
    return {"staticPolicies": policies, "templates": {}, "templateLinks": []}


def _changes(est: Est, members: Mapping[str, frozenset[str]]) -> Iterator[tuple[str, Est | None]]:
    yield "left out", None
    yield "effect turned", {**est, "effect": "permit" if est["effect"] == "forbid" else "forbid"}
    for number, clause in enumerate(est["conditions"]):
        others = [one for index, one in enumerate(est["conditions"]) if index != number]
        which = "" if not others else f" {number + 1}"
        yield f"condition{which} left out", {**est, "conditions": others}
        turned = {**clause, "kind": "unless" if clause["kind"] == "when" else "when"}
        yield f"condition{which} turned", {**est, "conditions": [*others, turned]}
        for change, body in _expressions(clause["body"]):
            yield change, {**est, "conditions": [*others, {**clause, "body": body}]}
    for change, scope in _principals(est["principal"]):
        yield change, {**est, "principal": scope}
    for change, scope in _actions(est["action"], members):
        yield change, {**est, "action": scope}
    if est["resource"]["op"] != "All":
        yield "any resource", {**est, "resource": {"op": "All"}}


# scopes


def _principals(scope: Est) -> Iterator[tuple[str, Est]]:
    if scope["op"] == "All":
        for name in PRINCIPALS:
            yield f"only {name}", {"op": "is", "entity_type": f"Clinic::{name}"}
        return
    yield "any principal", {"op": "All"}
    kind: Est = {"op": "is", "entity_type": scope["entity_type"]}
    if "in" in scope:
        yield "any role", kind
        for role in ROLES:
            if role != scope["in"]["entity"]["id"]:
                yield f"role {role}", {**kind, "in": {"entity": {"type": "Clinic::Role", "id": role}}}


def _actions(scope: Est, members: Mapping[str, frozenset[str]]) -> Iterator[tuple[str, Est]]:
    yield "any action", {"op": "All"}
    if scope["op"] == "==":
        for group, inside in members.items():
            if scope["entity"]["id"] in inside:
                yield f"any action of {group}", {"op": "in", "entity": _action(group)}
        return
    named = [one["id"] for one in scope.get("entities", [scope.get("entity")])]
    covered = sorted(frozenset().union(*(members.get(one, frozenset({one})) for one in named)))
    for action in covered:
        yield f"only {action}", {"op": "==", "entity": _action(action)}
        rest = [_action(one) for one in covered if one != action]
        yield f"all but {action}", {"op": "in", "entities": rest}
    for group in named if len(named) > 1 else ():
        yield f"only the actions of {group}", {"op": "in", "entity": _action(group)}


def _action(name: str) -> dict[str, str]:
    return {"type": "Clinic::Action", "id": name}


# conditions


def _expressions(body: Est) -> Iterator[tuple[str, Est]]:
    for path, node, boolean in list(_nodes(body)):
        for change, changed in _variants(node, boolean=boolean):
            yield f"{change} in {_where(path)}" if path else change, _replaced(body, path, changed)


def _nodes(node: Any, path: Path = (), *, boolean: bool = True) -> Iterator[tuple[Path, Est, bool]]:
    """Every expression inside one, with whether it is one of the conditions that a policy joins or turns."""
    if isinstance(node, dict):
        ((kind, body),) = node.items()
        yield path, node, boolean
        if isinstance(body, dict) and kind not in ("Value", "Record"):
            for key in ("left", "right", "arg", "if", "then", "else"):
                if key in body:
                    yield from _nodes(body[key], (*path, kind, key), boolean=kind in ("&&", "||", "!"))


def _variants(node: Est, *, boolean: bool) -> Iterator[tuple[str, Est]]:
    ((kind, body),) = node.items()
    if kind in ("&&", "||"):
        yield f"left of {kind} left out", body["right"]
        yield f"right of {kind} left out", body["left"]
        yield f"{kind} the other one", {"||" if kind == "&&" else "&&": body}
    if boolean:
        yield ("! left out", body["arg"]) if kind == "!" else (f"{kind} negated", {"!": {"arg": node}})
    if kind in ("==", "!="):
        yield f"{kind} turned", {"!=" if kind == "==" else "==": body}
    if kind in COMPARISONS:
        for other in COMPARISONS:
            yield f"{kind} made {other}", {other: body}
    if kind == "containsAll":
        yield "containsAll made containsAny", {"containsAny": body}
        yield "containsAll swapped", {kind: {"left": body["right"], "right": body["left"]}}
    if kind == "Value" and isinstance(body, str):
        for other in LITERALS.get(body, ()):
            yield f'"{body}" made "{other}"', {"Value": other}
    if kind == "Value" and isinstance(body, bool):
        yield "literal turned", {"Value": not body}
    name = body["attr"] if kind in (".", "has") else body if kind == "Var" else None
    for group in SAME_TYPE:
        for other in group if name in group else ():
            changed = {"Var": other} if kind == "Var" else {kind: {**body, "attr": other}}
            yield f"{name} made {other}", changed


def _where(path: Path) -> str:
    return "/".join(str(step) for step in path if step != "arg")


def _replaced(body: Est, path: Path, changed: Est) -> Est:
    if not path:
        return changed
    copy = deepcopy(body)
    at: Any = copy
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = changed
    return copy
