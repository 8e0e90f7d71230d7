"""Tells wrong versions of the policies from the policies by golden cases.

`python tests/policies/hunt.py` prints the mutants that no golden case tells from the policy.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

import cedarpy
from clinic_mcp.core.policy import PolicySet
from meaning import Est
from mutants import Mutant, mutants, whole


@dataclass(frozen=True)
class Tried:
    """A golden case, ready for the engine."""

    name: str
    action: str
    asked: Est
    entities: cedarpy.Entities
    expected: tuple[str, tuple[str, ...]]


class Hunt:
    """Tells mutants from policies by golden cases.

    Args:
        policies: The policies.
        cases: The golden files' documents by name.
    """

    def __init__(self, policies: PolicySet, cases: Mapping[str, Est]) -> None:
        self._policies = policies
        self._schema = cedarpy.Schema.from_str(policies.schema_text)
        self._cases = [self._tried(name, case) for name, case in cases.items()]

    def _tried(self, name: str, case: Est) -> Tried:
        action = re.search(r'"(.*)"', case["request"]["action"])
        assert action
        return Tried(
            name=name,
            action=action[1],
            asked=case["request"],
            entities=cedarpy.Entities.from_json_str(json.dumps(case["entities"]), self._schema),
            expected=(case["decision"], tuple(sorted(case["reason"]))),
        )

    def catches(self, mutant: Mutant) -> str | None:
        """The first golden case that decides otherwise, or by other policies."""
        changed = {name: est for name, est in self._policies.est.items() if name != mutant.policy}
        if mutant.est is not None:
            changed[mutant.policy] = mutant.est
        engine = cedarpy.PolicySet.from_json_str(json.dumps(whole(changed)))
        near = [case for case in self._cases if mutant.policy in case.expected[1]]
        actions = {case.action for case in near}
        rest = sorted((case for case in self._cases if case not in near), key=lambda case: case.action not in actions)
        for case in (*near, *rest):
            answer = cedarpy.is_authorized(case.asked, engine, case.entities, self._schema)
            got = (answer.decision.name.lower(), tuple(sorted(answer.diagnostics.reasons)))
            if got != case.expected or answer.diagnostics.errors:
                return case.name
        return None


def main() -> None:
    from test_golden import CASES, SET

    hunt = Hunt(SET, CASES)
    everything = mutants(SET)
    survivors = [mutant for mutant in everything if hunt.catches(mutant) is None]
    for mutant in survivors:
        print(mutant.name)
    print(f"{len(everything)} mutants, {len(survivors)} survivors")


if __name__ == "__main__":
    main()
