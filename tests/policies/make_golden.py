"""Writes `policies/decisions/ALLOW|DENY/<who>-<does>-<what>.json` from the `cases_*.py` beside it.

The files have the shape of `cedar run-tests`. Run it after changing a case or a policy, and read the difference:
`python tests/policies/make_golden.py`. The decision stands in the table, not in the engine's answer; reasons are
what the engine names.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cases_desk
import cases_every_action
import cases_prescribing
import cases_reading
from clinic_mcp.core.policy import PolicySet, Uid, uid
from golden_world import Case

FOLDER = Path(__file__).parents[2] / "policies" / "decisions"


def cases() -> Iterator[Case]:
    """Every golden case."""
    for part in (cases_reading, cases_prescribing, cases_desk, cases_every_action):
        yield from part.cases()


def document(case: Case, policies: PolicySet) -> dict[str, Any]:
    """A case with its decision, as a file holds it."""
    request = case.request
    decision = policies.decide(request)
    if decision.allowed is not case.allow:
        raise SystemExit(f"{case.name}: the table says {case.allow}, the policies say {decision}")
    return {
        "request": {
            "principal": _literal(request.principal),
            "action": _literal(("Action", request.action)),
            "resource": _literal(request.resource),
            "context": request.context,
        },
        "entities": [entity.as_json() for entity in request.entities],
        "decision": "allow" if decision.allowed else "deny",
        "reason": [name for name in decision.policies if name in policies.policies],
        "num_errors": decision.errors,
    }


def _literal(entity: Uid) -> str:
    return f"{uid(entity)['type']}::{json.dumps(entity[1])}"


def main() -> None:
    policies = PolicySet.load(FOLDER.parent)
    shutil.rmtree(FOLDER, ignore_errors=True)
    for case in cases():
        path = FOLDER / ("ALLOW" if case.allow else "DENY") / f"{case.name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            raise SystemExit(f"two cases are named {case.name}")
        path.write_text(json.dumps(document(case, policies), indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
