"""The decisions people agreed on: golden files beside a policy folder, in the shape of `cedar run-tests`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clinic_mcp.core.policy import NAMESPACE, Entity, PolicySet, Request, Uid

FOLDERS = {"ALLOW": "allow", "DENY": "deny"}
"""The folders under `decisions/`, and the decision of the files in each."""

_LITERAL = re.compile(rf'{NAMESPACE}::([A-Za-z_]\w*)::("(?:[^"\\]|\\.)*")')
_FIELDS = {"request", "entities", "decision", "reason", "num_errors"}


@dataclass(frozen=True)
class Golden:
    """One file.

    Args:
        name: Its folder and name, e.g. `ALLOW/nurse-reads-stock`.
        request: What is asked.
        decision: `allow` or `deny`.
        reason: The `@id`s of the policies that decide it.
        errors: How many errors the engine has.
    """

    name: str
    request: Request
    decision: str
    reason: frozenset[str]
    errors: int


@dataclass(frozen=True)
class Outcome:
    """What a policy set says of a file: nothing wrong, or what."""

    name: str
    wrong: str | None
    reason: frozenset[str]


def files(folder: Path) -> list[Path]:
    """The golden files beside the policies of a folder."""
    return sorted(path for kind in FOLDERS for path in (folder / "decisions" / kind).glob("*.json"))


def read(path: Path) -> Golden:
    """One golden file.

    Raises:
        ValueError: It does not have the shape of one.
    """
    document = json.loads(path.read_text("utf-8"))
    if not isinstance(document, dict) or set(document) != _FIELDS:
        raise ValueError(f"its fields are not {', '.join(sorted(_FIELDS))}")
    if document["decision"] != FOLDERS[path.parent.name]:
        raise ValueError(f"it lies in {path.parent.name} and says {document['decision']}")
    try:
        asked = document["request"]
        entities = [_entity(one) for one in document["entities"]]
        principal, action, resource = (_literal(asked[key]) for key in ("principal", "action", "resource"))
        request = Request(principal, action[1], resource, asked["context"], entities)
        reason, errors = frozenset(document["reason"]), int(document["num_errors"])
    except (KeyError, TypeError, AttributeError) as exc:
        raise ValueError("a part of the request or of its entities is missing") from exc
    return Golden(f"{path.parent.name}/{path.stem}", request, document["decision"], reason, errors)


def run(policies: PolicySet, paths: list[Path]) -> Iterator[Outcome]:
    """Ask the policies about each file.

    Args:
        policies: The policies.
        paths: The files.
    """
    for path in paths:
        name = f"{path.parent.name}/{path.stem}"
        try:
            golden = read(path)
        except (ValueError, OSError) as exc:
            yield Outcome(name, f"cannot be read: {exc}", frozenset())
            continue
        said = policies.decide(golden.request)
        reason = frozenset(said.policies) & policies.policies.keys()
        yield Outcome(
            golden.name, _difference(golden, "allow" if said.allowed else "deny", reason, said.errors), reason
        )


def _difference(golden: Golden, decision: str, reason: frozenset[str], errors: int) -> str | None:
    wrong = []
    if decision != golden.decision:
        wrong.append(f"{golden.decision} expected, {decision} decided")
    if reason != golden.reason:
        wrong.append(f"by {_names(golden.reason)} expected, by {_names(reason)} decided")
    if errors != golden.errors:
        wrong.append(f"{golden.errors} errors expected, {errors} found")
    return "; ".join(wrong) or None


def _names(reason: frozenset[str]) -> str:
    return ", ".join(sorted(reason)) or "no policy"


def _literal(text: str) -> Uid:
    found = _LITERAL.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not an entity of the clinic")
    return found[1], json.loads(found[2])


def _entity(value: Mapping[str, Any]) -> Entity:
    return Entity(_uid(value["uid"]), value["attrs"], tuple(_uid(one) for one in value["parents"]))


def _uid(value: Mapping[str, str]) -> Uid:
    namespace, _, kind = value["type"].partition("::")
    if namespace != NAMESPACE:
        raise ValueError(f"{value['type']} is not a type of the clinic")
    return kind, value["id"]
