"""A slip in a policy shows: nearly every small wrong version of it decides some golden case otherwise."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

import pytest
from hunt import Hunt
from meaning import environments, groups
from mutants import Mutant, mutants
from test_golden import CASES, SET

SURVIVORS: dict[str, str] = json.loads((Path(__file__).parent / "survivors.json").read_text("utf-8"))
"""The mutants that no case can tell from the policy, each with why."""

CAUGHT_AT_LEAST = 0.95


@pytest.fixture(scope="module")
def hunted() -> dict[str, str | None]:
    """Every mutant with the case that catches it."""
    started = time.perf_counter()
    hunt = Hunt(SET, CASES)
    caught = {mutant.name: hunt.catches(mutant) for mutant in mutants(SET)}
    survivors = sum(case is None for case in caught.values())
    print(
        f"\n{len(caught)} mutants of {len(SET.policies)} policies by {len(CASES)} cases:"
        f" {len(caught) - survivors} caught, {survivors} survive, {time.perf_counter() - started:.1f} s"
    )
    return caught


def test_nearly_every_mutant_is_caught(hunted: dict[str, str | None]) -> None:
    caught = [name for name, case in hunted.items() if case is not None]
    assert len(caught) / len(hunted) >= CAUGHT_AT_LEAST


def test_the_survivors_are_those_that_have_a_reason(hunted: dict[str, str | None]) -> None:
    assert {name for name, case in hunted.items() if case is None} == set(SURVIVORS)
    assert all(len(reason) > 40 for reason in SURVIVORS.values())


@pytest.mark.parametrize("policy", SET.policies, ids=str)
def test_leaving_a_policy_out_or_turning_it_shows(policy: str, hunted: dict[str, str | None]) -> None:
    assert hunted[f"{policy}: left out"]
    assert hunted[f"{policy}: effect turned"]


def test_every_policy_has_mutants_of_its_scope_and_every_condition(hunted: dict[str, str | None]) -> None:
    number = Counter(name.partition(":")[0] for name in hunted)
    assert set(number) == set(SET.policies)
    for name, est in SET.est.items():
        assert number[name] >= 3 + 2 * len(est["conditions"]), name


def test_the_policies_themselves_are_not_taken_for_a_mutant() -> None:
    name, est = next(iter(SET.est.items()))
    assert Hunt(SET, CASES).catches(Mutant(name, "unchanged", dict(est))) is None


def test_what_the_schema_allows_is_read_whole() -> None:
    """Else a wider scope could be taken for one that says the same."""
    assert {action for _, action, _ in environments(SET.schema_text)} == set(SET.actions)
    assert {kind for kind, _, _ in environments(SET.schema_text)} == {
        "Agent",
        "Clinician",
        "Auditor",
        "Administrator",
        "Patient",
    }
    assert groups(SET.schema_text)["any_call"] == set(SET.actions)
