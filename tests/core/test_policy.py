"""Cedar's traps as tests of our policy set, and properties of the shipped policies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from clinic_mcp.core.errors import Misconfigured
from clinic_mcp.core.identity import consultation_entity, patient_entity
from clinic_mcp.core.policy import Decision, Entity, PolicySet, Request, moment, ref
from hypothesis import given, settings
from hypothesis import strategies as st
from support.clinic import Clinic

CANARY_SCHEMA = """
namespace Clinic {
  entity Clinic;
  entity Role;
  entity Agent in [Role] = { "clearance"?: Long };
  entity Auditor in [Role] = { clinic: Clinic, active: Bool };
  entity AuditLog = { clinic: Clinic };
  entity Patient = { "allergies": Set<String> };
  action "read_group";
  action "get_patient_record" in ["read_group"] appliesTo {
    principal: [Agent], resource: [Patient], context: { input: { patient_id: String } } };
  action "read_audit_log" appliesTo {
    principal: [Auditor], resource: [AuditLog], context: { auth: { transport: String }, now: datetime, input: {} } };
}
"""
CANARY_POLICY = """
@id("auditor") permit (principal is Clinic::Auditor in Clinic::Role::"auditor",
  action == Clinic::Action::"read_audit_log", resource is Clinic::AuditLog)
when { principal.active && principal.clinic == resource.clinic };
"""
PERMIT = '@id("permit-all") permit (principal is Clinic::Agent, action, resource is Clinic::Patient);'
FORBID_GROUP = '@id("no-reads") forbid (principal, action in Clinic::Action::"read_group", resource);'

AGENT = Entity(("Agent", "intake"))
PATIENT = Entity(("Patient", "p1"), {"allergies": ["penicillin"]})


def small(*policies: str, schema: str = CANARY_SCHEMA) -> PolicySet:
    return PolicySet(schema, "\n".join((CANARY_POLICY, *policies)))


def ask(
    policies: PolicySet,
    *,
    action: str = "get_patient_record",
    context: Mapping[str, Any] | None = None,
    entities: tuple[Entity, ...] = (AGENT, PATIENT),
    resource: tuple[str, str] = PATIENT.uid,
) -> Decision:
    asked = {"input": {"patient_id": "p1"}} if context is None else context
    return policies.decide(Request(AGENT.uid, action, resource, asked, entities))


# the traps


def test_a_clean_permit_allows_and_is_named() -> None:
    decision = ask(small(PERMIT))
    assert decision.allowed
    assert decision.policies == ("permit-all",)
    assert decision.errors == 0


def test_a_forbid_that_would_error_never_gets_in() -> None:
    """`principal.clearance` may be absent: Cedar would skip the forbid and allow."""
    with pytest.raises(Misconfigured, match="schema"):
        small(
            PERMIT, '@id("low") forbid (principal is Clinic::Agent, action, resource) when { principal.clearance < 3 };'
        )


def test_a_forbid_that_calculates_refuses_to_load() -> None:
    """Arithmetic overflow passes the validator and errors when asked: the forbid would be skipped."""
    for sum_ in ("principal.clearance * 9223372036854775807", "principal.clearance + 1", "-principal.clearance"):
        condition = f"principal has clearance && {sum_} < 0"
        with pytest.raises(Misconfigured, match="overflow' calculates"):
            small(
                PERMIT, f'@id("overflow") forbid (principal is Clinic::Agent, action, resource) when {{ {condition} }};'
            )


def test_a_forbid_that_errors_at_run_time_denies() -> None:
    """A guardrail looks into the consultation's patient, whom the slice lacks."""
    agent = Entity(("Agent", "a"), {"clinic": ref(("Clinic", "main"))}, (("Role", "prescription_agent"),))
    session = consultation_entity(
        "C-1",
        clinic="main",
        patient=("Patient", "P001"),
        agent_ids=["a"],
        assignee=None,
        is_open=True,
        signed_off=True,
    )
    none: dict[str, list[str]] = {rule: [] for rule in ("allergy", "interaction", "duplicate", "never_asked")}
    context = {
        "auth": {"transport": "http"},
        "now": moment("2026-11-22T10:00:00.000Z"),
        "bound": {"consultation": ref(session.uid), "patient": ref(("Patient", "P001"))},
        "facts": {"controlled": False, "findings": none, "overridden": none},
        "input": {"session_id": "C-1", "prescription": "Paracetamol"},
    }
    slices = [agent, session], [agent, session, patient_entity("P001", clinic="main")]
    without, whole = (
        SHIPPED.decide(Request(agent.uid, "record_prescription", session.uid, context, slice_)) for slice_ in slices
    )
    assert whole.allowed
    assert not without.allowed
    assert without.errors > 0
    assert "policy-error" in without.policies


def test_a_permit_that_errors_beside_one_that_allows_denies() -> None:
    policies = small(
        PERMIT,
        '@id("broken") permit (principal is Clinic::Agent, action, resource is Clinic::Patient) '
        "when { principal has clearance && principal.clearance * 9223372036854775807 < 0 };",
    )
    assert not ask(policies, entities=(Entity(("Agent", "intake"), {"clearance": 9}), PATIENT)).allowed


def test_a_forbid_on_an_action_group_matches_its_actions() -> None:
    decision = ask(small(PERMIT, FORBID_GROUP))
    assert not decision.allowed
    assert decision.policies == ("no-reads",)


def test_a_permit_on_an_action_group_matches_its_actions() -> None:
    group = '@id("group") permit (principal, action in Clinic::Action::"read_group", resource);'
    assert ask(small(group)).policies == ("group",)


def test_nothing_permitted_is_a_default_deny() -> None:
    decision = ask(small())
    assert not decision.allowed
    assert decision.policies == ("default-deny",)


@pytest.mark.parametrize("entities", [(PATIENT,), (AGENT,), ()], ids=["no principal", "no resource", "nothing"])
def test_an_entity_missing_from_the_slice_denies(entities: tuple[Entity, ...]) -> None:
    decision = ask(small(PERMIT), entities=entities)
    assert not decision.allowed
    assert decision.errors == 1


@pytest.mark.parametrize(
    "context",
    [
        {},
        {"input": {}},
        {"input": {"patient_id": 5}},
        {"input": {"patient_id": None}},
        {"input": {"patient_id": "p1", "more": 1}},
        {"input": {"patient_id": "p1"}, "evil": 1},
        {"input": {"patient_id": 2**70}},
        {"input": {"patient_id": 2.5}},
        {"input": {"patient_id": ["p1"]}},
        {"input": {"patient_id": {"__entity": {"type": "Clinic::Patient", "id": "p1"}}}},
        {"input": {"patient_id": {"__extn": {"fn": "ip", "arg": "1.2.3.4"}}}},
        {"input": {"patient_id": {"__expr": "1"}}},
        {"input": "p1"},
        {"input": {"patient_id": "\ud800"}},
    ],
    ids=str,
)
def test_a_context_that_is_not_as_the_schema_says_denies(context: dict[str, Any]) -> None:
    decision = ask(small(PERMIT), context=context)
    assert not decision.allowed
    assert decision.errors > 0


def test_an_action_nobody_declared_denies() -> None:
    assert not ask(small(PERMIT), action="drop_everything").allowed


def test_an_entity_that_is_not_as_the_schema_says_denies() -> None:
    for attrs in ({}, {"allergies": "penicillin"}, {"allergies": [1]}, {"allergies": [], "more": 1}):
        assert not ask(small(PERMIT), entities=(AGENT, Entity(PATIENT.uid, attrs))).allowed


@pytest.mark.parametrize(
    ("policies", "says"),
    [
        (["permit ("], "parse"),
        (["permit (principal is Clinic::Agent, action, resource is Clinic::Patient);"], "@id"),
        (['@id("") permit (principal is Clinic::Agent, action, resource is Clinic::Patient);'], "@id"),
        ([PERMIT, PERMIT], "Two policies"),
        ([PERMIT, FORBID_GROUP.replace("no-reads", "permit-all")], "Two policies"),
        (['@id("typo") permit (principal is Clinic::Agnet, action, resource);'], "schema"),
        (['@id("attr") permit (principal is Clinic::Agent, action, resource) when { principal.nope };'], "schema"),
        (['@id("t") permit (principal == ?principal, action, resource);'], "template"),
        (['@id("all") forbid (principal, action, resource);'], "canary"),
        (['@id("all") permit (principal, action, resource);'], "canary"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_bad_policy_set_refuses_to_load(policies: list[str], says: str) -> None:
    with pytest.raises(Misconfigured, match=says):
        small(*policies)


def test_a_schema_that_does_not_parse_refuses_to_load() -> None:
    with pytest.raises(Misconfigured, match="parse"):
        small(PERMIT, schema="namespace Clinic {")


@pytest.mark.parametrize("kept", [{"*.cedar"}, {"*.cedarschema"}, set()], ids=["no schema", "no policies", "empty"])
def test_a_folder_without_policies_or_schema_refuses_to_load(clinic: Clinic, kept: set[str]) -> None:
    import shutil

    from clinic_mcp.core.policy import _shipped

    folder = clinic.home / "policies"
    folder.mkdir()
    for pattern in kept:
        for path in _shipped().glob(pattern):
            shutil.copy(path, folder)
    with pytest.raises(Misconfigured):
        PolicySet.load(folder)
    done = clinic.run("serve", "pharmacy", code=4, CLINIC_POLICIES=str(folder))
    assert "Traceback" not in done.stderr


def test_policy_check_says_a_bad_set_is_bad_in_one_sentence(clinic: Clinic) -> None:
    import shutil

    from clinic_mcp.core.policy import _shipped

    folder = clinic.home / "policies"
    shutil.copytree(_shipped(), folder, ignore=shutil.ignore_patterns("decisions"))
    assert clinic.run("policy", "check", str(folder)).returncode == 0
    (folder / "more.cedar").write_text('@id("no-other-patient") permit (principal, action, resource);', "utf-8")
    done = clinic.run("policy", "check", str(folder), code=4)
    assert "no-other-patient" in done.stderr
    assert "Traceback" not in done.stderr


# properties of the shipped policies

SHIPPED = PolicySet.load()
CLINICS = st.sampled_from(["main", "elsewhere"])
IDS = st.sampled_from(["P001", "P002", "P999"])
AGENTS = st.sampled_from(["intake_agent", "prescription_agent"])


def world(
    *,
    agent: str,
    roles: tuple[str, ...],
    agent_clinic: str,
    bound: str | None,
    bound_open: bool,
    signed: bool,
    members: list[str],
    patient: str,
    patient_clinic: str,
    team: list[str],
) -> tuple[list[Entity], Entity, dict[str, Any]]:
    """An agent, the patient it asks about, and the consultation it may be bound to."""
    principal = Entity(
        ("Agent", agent), {"clinic": ref(("Clinic", agent_clinic))}, tuple(("Role", role) for role in roles)
    )
    resource = patient_entity(patient, clinic=patient_clinic, care_team=team)
    entities = [principal, resource, *(Entity(("Role", role)) for role in roles), Entity(("Clinic", agent_clinic))]
    context: dict[str, Any] = {
        "auth": {"transport": "http"},
        "now": moment("2026-11-22T10:00:00.000Z"),
        "facts": {},
        "input": {"patient_id": patient},
    }
    if bound is not None:
        consultation = consultation_entity(
            "C-1",
            clinic=agent_clinic,
            patient=("Patient", bound),
            agent_ids=members,
            assignee=None,
            is_open=bound_open,
            signed_off=signed,
        )
        entities.append(consultation)
        context["bound"] = {"consultation": ref(consultation.uid), "patient": ref(("Patient", bound))}
    return entities, resource, context


WORLDS = st.builds(
    world,
    agent=AGENTS,
    roles=st.lists(AGENTS, max_size=2, unique=True).map(tuple),
    agent_clinic=CLINICS,
    bound=st.none() | IDS,
    bound_open=st.booleans(),
    signed=st.booleans(),
    members=st.lists(AGENTS, max_size=2, unique=True),
    patient=IDS,
    patient_clinic=CLINICS,
    team=st.lists(st.sampled_from(["dr-osei", "intake_agent"]), max_size=2, unique=True),
)


@settings(deadline=None, max_examples=300)
@given(WORLDS, st.sampled_from(["get_patient_record", "get_medical_history"]))
def test_an_agent_never_touches_another_patient(made: tuple[list[Entity], Entity, dict[str, Any]], action: str) -> None:
    entities, resource, context = made
    decision = SHIPPED.decide(Request(entities[0].uid, action, resource.uid, context, entities))
    assert decision.errors == 0, "a well-formed question has a clean answer"
    if decision.allowed:
        bound = context["bound"]["patient"]["__entity"]["id"]
        assert bound == resource.uid[1]
        assert entities[-1].attrs["open"]
        assert resource.attrs["clinic"] == entities[0].attrs["clinic"]
        assert decision.policies == ("intake-agent-reads-its-patient",)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=True)
    | st.text(st.characters(codec=None, exclude_categories=[]), max_size=6)
    | st.sampled_from(
        [
            "P001",
            "P002",
            "\x00",
            "\ud800",
            {"__entity": {"type": "Clinic::Patient", "id": "P001"}},
            {"__extn": {"fn": "datetime", "arg": "2026-11-22"}},
            {"__expr": "true"},
        ]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, max_examples=300)
@given(
    WORLDS, JSON, st.dictionaries(st.sampled_from(["input", "bound", "auth", "now", "facts", "x"]), JSON, max_size=3)
)
def test_no_junk_in_the_context_allows_more_than_a_typed_question(
    made: tuple[list[Entity], Entity, dict[str, Any]], argument: Any, extra: dict[str, Any]
) -> None:
    entities, resource, context = made
    typed = SHIPPED.decide(Request(entities[0].uid, "get_patient_record", resource.uid, context, entities))
    for junk in ({**context, "input": {"patient_id": argument}}, {**context, **extra}):
        if json.dumps(junk, default=str) == json.dumps(context, default=str):
            continue
        decision = SHIPPED.decide(Request(entities[0].uid, "get_patient_record", resource.uid, junk, entities))
        assert not (decision.allowed and decision.errors)
        assert not decision.allowed or typed.allowed


@settings(deadline=None, max_examples=100)
@given(st.dictionaries(st.sampled_from(["clinic", "careTeam", "attending", "open", "x"]), JSON, max_size=3))
def test_no_junk_in_an_entity_is_ever_allowed_with_errors(attrs: dict[str, Any]) -> None:
    entities, resource, context = world(
        agent="intake_agent",
        roles=("intake_agent",),
        agent_clinic="main",
        bound="P001",
        bound_open=True,
        signed=True,
        members=["intake_agent"],
        patient="P001",
        patient_clinic="main",
        team=[],
    )
    broken = Entity(resource.uid, attrs)
    slice_ = [broken if entity.uid == resource.uid else entity for entity in entities]
    decision = SHIPPED.decide(Request(entities[0].uid, "get_patient_record", resource.uid, context, slice_))
    assert not (decision.allowed and decision.errors)
