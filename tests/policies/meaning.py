"""What a policy says of the requests that the schema allows: two policies of one meaning decide everything alike."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

Est = dict[str, Any]
"""A policy, or a part of one, in Cedar's JSON form."""

Environment = tuple[str, str, str]
"""A principal type, an action and a resource type that the schema lets meet."""


@cache
def environments(schema: str) -> frozenset[Environment]:
    """Every request the schema allows, by its types."""
    pattern = r'action "([^"]+)"[^{;]*appliesTo \{\s*principal: \[([^\]]*)\],\s*resource: \[([^\]]*)\]'
    found: set[Environment] = set()
    for action, principals, resources in re.findall(pattern, schema):
        sides = (principals.split(", "), (action,), resources.split(", "))
        found |= set(itertools.product(*sides))
    return frozenset(found)


def meaning_of(est: Est, members: Mapping[str, frozenset[str]], allowed: frozenset[Environment]) -> str:
    """What a policy says: for which requests, in which role, under which conditions."""

    def kind(scope: Est) -> str | None:
        return scope["entity_type"].partition("::")[2] if scope["op"] == "is" else None

    action = est["action"]
    named = [one["id"] for one in action.get("entities", [action["entity"]] if "entity" in action else [])]
    actions = frozenset().union(*(members.get(one, frozenset()) | {one} for one in named))
    reached = [
        one
        for one in allowed
        if kind(est["principal"]) in (None, one[0])
        and (action["op"] == "All" or one[1] in actions)
        and kind(est["resource"]) in (None, one[2])
    ]
    said = (est["effect"], sorted(reached), est["principal"].get("in"), est["conditions"])
    return json.dumps(said, sort_keys=True)


@cache
def groups(schema: str) -> dict[str, frozenset[str]]:
    """Each action group's actions, nested groups included."""
    parents = {
        name: re.findall(r'"([^"]+)"', inside or "")
        for name, inside in re.findall(r'action "([^"]+)"(?: in \[([^\]]*)\])?', schema)
    }
    members: dict[str, set[str]] = {}
    for action, direct in parents.items():
        above = list(direct)
        while above:
            group = above.pop()
            members.setdefault(group, set()).add(action)
            above += parents[group]
    return {group: frozenset(inside - members.keys()) for group, inside in members.items()}
