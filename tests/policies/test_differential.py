"""The policies and a naive reading of what they must say decide ten thousand calls alike."""

from __future__ import annotations

from collections import Counter
from random import Random

import generated
import naive
import pytest
from clinic_mcp.core.policy import DEFAULT_DENY, PolicySet

CALLS = 10_000
SEED = 20_261_122
SET = PolicySet.load()
AT_LEAST = 60
"""How many of the calls each policy decides, at least: else agreement about it says little."""


@pytest.fixture(scope="module")
def decided() -> Counter[str]:
    """How many calls each policy decided, after every one was compared."""
    random = Random(SEED)  # noqa: S311 - the same calls every time
    by: Counter[str] = Counter()
    for number in range(CALLS):
        call = generated.call(random)
        said = SET.decide(generated.request(call))
        assert said.errors == 0, f"call {number}: {call}"
        assert (said.allowed, frozenset(said.policies)) == naive.decide(call), f"call {number}: {call}"
        by.update(said.policies)
        by.update(["allow" if said.allowed else "deny"])
    print(f"\n{CALLS} calls, seed {SEED}")
    for name, number in by.most_common():
        print(f"{number:6} {name}")
    return by


def test_the_policies_decide_as_the_naive_reading_does_and_by_the_same_rules(decided: Counter[str]) -> None:
    assert decided["allow"] + decided["deny"] == CALLS
    assert min(decided["allow"], decided["deny"], decided[DEFAULT_DENY]) >= CALLS // 10


@pytest.mark.parametrize("policy", SET.policies, ids=str)
def test_every_policy_decides_many_of_the_calls(policy: str, decided: Counter[str]) -> None:
    assert decided[policy] >= AT_LEAST


def test_the_naive_reading_has_a_sentence_for_every_policy_and_no_other() -> None:
    permits = {name for name, policy in SET.policies.items() if policy.effect == "permit"}
    assert naive.PERMITS.keys() == permits
    assert naive.FORBIDS.keys() == SET.policies.keys() - permits
