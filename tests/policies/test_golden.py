"""The decisions people agreed on, one file each; the file's name is the sentence."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import cedarpy
import pytest
from clinic_mcp.core.policy import PolicySet
from clinic_mcp.policy_tools.source import texts

FOLDER = Path(__file__).parents[2] / "policies"
FILES = sorted((FOLDER / "decisions").glob("*/*.json"))
SET = PolicySet.load(FOLDER)
SCHEMA = cedarpy.Schema.from_str(SET.schema_text)
CASES: dict[str, dict[str, Any]] = {
    f"{path.parent.name}/{path.stem}": json.loads(path.read_text("utf-8")) for path in FILES
}
Outcome = tuple[str, tuple[str, ...], int]


def decide(case: dict[str, Any], policies: cedarpy.PolicySet) -> Outcome:
    """The engine itself, without our code between: a file must hold for `cedar run-tests` too."""
    entities = cedarpy.Entities.from_json_str(json.dumps(case["entities"]), SCHEMA)
    answer = cedarpy.is_authorized(case["request"], policies, entities, SCHEMA)
    named = answer.diagnostics.id_annotations_by_reason
    reasons = tuple(sorted(named.get(reason, reason) for reason in answer.diagnostics.reasons))
    return answer.decision.name.lower(), reasons, len(answer.diagnostics.errors)


def golden(case: dict[str, Any]) -> Outcome:
    return case["decision"], tuple(sorted(case["reason"])), case["num_errors"]


def test_there_are_cases_of_both_kinds() -> None:
    kinds = {path.parent.name for path in FILES}
    assert kinds == {"ALLOW", "DENY"}
    assert len(FILES) >= 50


@pytest.mark.parametrize("name", CASES)
def test_a_decision_is_as_agreed(name: str) -> None:
    case = CASES[name]
    assert set(case) == {"request", "entities", "decision", "reason", "num_errors"}
    assert name.startswith(case["decision"].upper() + "/")
    assert case["num_errors"] == 0
    assert decide(case, cedarpy.PolicySet.from_str(SET.text)) == golden(case)


@pytest.mark.parametrize("name", FILES, ids=lambda path: path.stem)
def test_a_file_name_is_a_sentence(name: Path) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+){2,}", name.stem)


@pytest.mark.parametrize("policy", SET.policies.values(), ids=lambda policy: policy.id)
def test_every_policy_decides_a_case_and_has_another_beside_it(policy: Any) -> None:
    """A permit: one case it allows, and one of the same action that is denied. A forbid: the other way round."""
    own, beside = ("allow", "deny") if policy.effect == "permit" else ("deny", "allow")
    decided = [case for case in CASES.values() if policy.id in case["reason"] and case["decision"] == own]
    assert decided
    actions = {case["request"]["action"] for case in decided}
    assert [case for case in CASES.values() if case["decision"] == beside and case["request"]["action"] in actions]


def test_every_forbid_alone_is_what_refuses_somewhere() -> None:
    """Not only the reasons: without the forbid a case that must be denied would be allowed, or its reason is lost."""
    parts = texts(SET)
    lost: dict[str, str] = {}
    for policy in (policy.id for policy in SET.policies.values() if policy.effect == "forbid"):
        engine = cedarpy.PolicySet.from_str("\n".join(text for name, text in parts.items() if name != policy))
        opened = [name for name, case in CASES.items() if decide(case, engine)[0] != case["decision"]]
        if opened:
            lost[policy] = opened[0]
    assert {
        "no-other-clinic",
        "no-inactive-clinician",
        "no-prescription-before-sign-off",
        "no-closed-consultation",
    } <= set(lost)


def test_the_files_are_what_the_table_says() -> None:
    from make_golden import cases, document

    made = {("ALLOW" if case.allow else "DENY") + f"/{case.name}": document(case, SET) for case in cases()}
    assert made == CASES
