"""The engine's traps that `tests/core/test_policy.py` does not show: each is refused, at the load or at the call.

The traps themselves, on the bare engine, are in the project's `cedarpy_pitfalls.py`.
"""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest
from clinic_mcp.core.errors import Misconfigured
from clinic_mcp.core.policy import Decision, PolicySet, Request, moment
from clinic_mcp.policy_tools.source import statements
from golden_world import INTAKE, OPEN, OSEI, P001, Case, findings
from support.clinic import Clinic
from support.log import AuditReader, event_of
from support.servers import piped
from test_golden import FOLDER, SET

READ = Case("reads", True, INTAKE, "get_patient_record", P001, OPEN)


def with_context(**changes: Any) -> Decision:
    asked = READ.request
    return SET.decide(
        Request(asked.principal, asked.action, asked.resource, {**asked.context, **changes}, asked.entities)
    )


def with_policy(text: str) -> PolicySet:
    return PolicySet(SET.schema_text, f"{SET.text}\n{text}")


def test_the_call_these_tests_spoil_is_allowed_as_it_is() -> None:
    assert SET.decide(READ.request).allowed


# at the load


@pytest.mark.parametrize(
    "condition",
    [
        'context.input.patient_id == ip("1.2.3.4")',
        "context.input.patient_id == resource",
        'context.input.patient_id in ["P002", "P003"]',
        'principal.clinic in ["main"]',
        "context.bound.patient != resource",
        "resource.careTeam.containsAll([])",
        'resource.sensitivity > "R"',
        "context.more",
    ],
)
def test_a_condition_that_would_error_or_never_match_does_not_load(condition: str) -> None:
    """Cedar would skip a forbid that errors, and say Allow."""
    scope = 'principal, action == Clinic::Action::"get_patient_record", resource is Clinic::Patient'
    with pytest.raises(Misconfigured, match="schema"):
        with_policy(f'@id("trap") forbid ({scope}) when {{ {condition} }};')


@pytest.mark.parametrize("name", ["nо-other-patient", "no-other-patient\u200b", "no\nother"], ids=ascii)
def test_a_name_that_looks_like_another_policys_does_not_load(name: str) -> None:
    """Cedar takes them for different policies; whoever reads the audit log would not. (The first has a Cyrillic о.)"""
    with pytest.raises(Misconfigured, match="ASCII"):
        with_policy(
            f"@id({json.dumps(name, ensure_ascii=False)}) permit (principal, action, resource) when {{ false }};"
        )


def test_a_role_that_only_looks_like_one_is_named_by_the_check(clinic: Clinic) -> None:
    """The validator takes any id, and an impossible policy too: it would permit nobody, and nobody would notice."""
    folder = clinic.home / "policies"
    shutil.copytree(FOLDER, folder)
    text = (folder / "desk.cedar").read_text("utf-8").replace('"administrator"', '"administratоr"')
    (folder / "desk.cedar").write_text(text, "utf-8")
    warnings = " ".join(clinic.json("policy", "check", str(folder))["warnings"])
    assert "could ever use these permits: administrator-assigns-consultation." in warnings
    assert clinic.json("policy", "test", str(folder), code=1)["uncovered"] == ["administrator-assigns-consultation"]


def test_names_do_not_depend_on_the_order_of_the_policies() -> None:
    """The engine's own names are positions."""
    turned = PolicySet(SET.schema_text, "\n".join(reversed(statements(SET.text))))
    for made in (
        READ,
        Case("", False, OSEI, "record_prescription", OPEN, facts=findings({"allergy": ["amoxicillin-500"]})),
    ):
        assert turned.decide(made.request).policies == SET.decide(made.request).policies


# at the call


@pytest.mark.parametrize(
    "smuggled",
    [
        {"__extn": {"fn": "unknown", "arg": "x"}},
        {"__extn": {"fn": "unknown", "args": ["x"]}},
        {"__extn": {"fn": "ip", "arg": "not an address"}},
        {"__extn": {"fn": "datetime", "arg": "2026-11-22"}},
        {"__entity": {"type": "Clinic::Patient", "id": "P001"}},
        {"__entity": "P001"},
        {"type": "Clinic::Patient", "id": "P001"},
        {"__expr": 'Clinic::Patient::"P001"'},
        True,
        b"P001",
        {1: 2},
        {"P001"},
    ],
    ids=str,
)
def test_nothing_smuggled_into_an_argument_is_evaluated(smuggled: Any) -> None:
    """Without the schema an unknown function makes every forbid that touches it error, and be skipped."""
    said = with_context(input={"patient_id": smuggled})
    assert not said.allowed
    assert said.errors


@pytest.mark.parametrize(
    "now",
    ["tomorrow", moment("tomorrow"), {"__extn": {"fn": "unknown", "arg": "now"}}, 5, None],
    ids=str,
)
def test_a_time_that_is_none_denies(now: Any) -> None:
    said = with_context(now=now)
    assert not said.allowed
    assert said.errors


@pytest.mark.parametrize("kind", ["Patients", "", "Action", 'Agent::"x', "agent"])
def test_a_principal_of_no_such_type_denies(kind: str) -> None:
    """The engine raises where it cannot read a principal; a refusal is what the caller gets."""
    asked = READ.request
    stranger = (kind, "intake_agent")
    entities = [type(one)(stranger, one.attrs, one.parents) if one.uid == INTAKE.uid else one for one in asked.entities]
    said = SET.decide(Request(stranger, asked.action, asked.resource, asked.context, entities))
    assert not said.allowed
    assert said.errors


def test_no_findings_forbid_nothing_and_no_overrides_lift_nothing() -> None:
    """`containsAll` of an empty set is true: right for findings, and the other way round it would be the trap."""
    for rule in ("allergy", "interaction", "duplicate", "never_asked"):
        found = findings({rule: ["amoxicillin-500"]})
        for facts, allowed in ((findings(), True), (found, False)):
            made = Case("", allowed, OSEI, "record_prescription", OPEN, facts=facts)
            assert SET.decide(made.request).allowed is allowed


def test_a_key_given_twice_is_decided_and_run_with_the_same_value(clinic: Clinic) -> None:
    """Two parsers that disagree about it would decide about one patient and read another."""
    token = clinic.tokens.grant(clinic.consult(), "intake_agent", audience="patient-records")
    log = AuditReader(clinic, "patient-records")
    seen = {}
    with piped(clinic, "patient-records", CLINIC_TOKEN=token) as pipe:
        for first, second in (("P002", "P001"), ("P001", "P002")):
            log.mark()
            arguments = f'{{"patient_id": "{first}", "patient_id": "{second}"}}'
            params = f'{{"name": "get_patient_record", "arguments": {arguments}}}'
            assert pipe.child.stdin
            pipe.child.stdin.write(
                f'{{"jsonrpc": "2.0", "id": "{first}", "method": "tools/call", "params": {params}}}\n'.encode()
            )
            pipe.child.stdin.flush()
            result = pipe.receive()["result"]
            events = log.events()
            decided = event_of(events, "decision" if result["isError"] else "intent")["cedar"]["resource"]["id"]
            seen[first] = (result["isError"], decided, result["structuredContent"].get("id"))
    for refused, decided, answered in seen.values():
        assert (refused, answered) == ((False, "P001") if decided == "P001" else (True, None))
