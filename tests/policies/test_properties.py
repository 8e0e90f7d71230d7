"""What holds for every call, whatever else is so: tried on calls at random that shrink to the smallest that fails."""

from __future__ import annotations

from functools import cache
from typing import Any

import generated
import pytest
from clinic_mcp.core.errors import Misconfigured
from clinic_mcp.core.policy import Entity, PolicySet, Request
from clinic_mcp.policy_tools.source import texts
from golden_world import INPUTS
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import ONLY_A_PERSON_MAY, READS_A_RECORD, Call, Record, Visit

SET = PolicySet.load()
CALLS = st.randoms(use_true_random=False).map(generated.call)
many = settings(deadline=None, max_examples=500)

ODD = [
    {"__entity": {"type": "Clinic::Patient", "id": "P001"}},
    {"__entity": {"type": "Clinic::Nobody", "id": "x"}},
    {"__extn": {"fn": "datetime", "arg": "2026-11-22"}},
    {"__extn": {"fn": "unknown", "arg": "x"}},
    {"__extn": {"fn": "no-such-function", "arg": ""}},
    {"__expr": "true"},
    {"__extn": None},
    2**70,
    -(2**63) - 1,
    2**63 - 1,
    1.5,
    float("inf"),
    float("nan"),
    None,
    "\x00",
    "\ud800",
    "P001",
]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None, exclude_categories=[]), max_size=8)
    | st.sampled_from(ODD),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def nested(depth: int) -> Any:
    """A value of lists and records, one in the other."""
    value: Any = "P001"
    for level in range(depth):
        value = [value] if level % 2 else {"patient_id": value}
    return value


DEEP = st.integers(1, 120).map(nested)


def is_of(value: Any, kind: str) -> bool:
    """Whether Cedar would take a JSON value for a `String` or a `Long`."""
    if kind == "String":
        return isinstance(value, str) and not any("\ud800" <= char <= "\udfff" for char in value)
    return type(value) is int and -(2**63) <= value < 2**63


# what is never allowed


@many
@given(CALLS)
def test_a_well_formed_call_has_a_clean_answer_by_a_policy_with_a_name(call: Call) -> None:
    said = SET.decide(generated.request(call))
    assert said.errors == 0
    assert said.policies
    assert set(said.policies) <= SET.policies.keys() | {"default-deny"}
    if said.allowed:
        assert {SET.policies[name].effect for name in said.policies} == {"permit"}


@many
@given(CALLS)
def test_an_agent_touches_no_other_patient_and_no_other_consultation_than_its_own(call: Call) -> None:
    call.kind = "Agent"
    if not SET.decide(generated.request(call)).allowed:
        return
    assert call.grant is not None
    assert call.grant.visit.open
    if call.record is not None:
        assert call.record.id == call.grant.patient_id
    if call.visit is not None:
        assert call.visit.id == call.grant.visit.id
    assert call.prescription_active is None


@many
@given(CALLS, st.sampled_from(sorted(ONLY_A_PERSON_MAY)))
def test_an_agent_does_nothing_that_only_a_person_may(call: Call, action: str) -> None:
    call.kind = "Agent"
    said = SET.decide(generated.request(moved(call, action)))
    assert not said.allowed
    assert "no-agent-in-person" in said.policies


@many
@given(CALLS, st.sampled_from(["Clinician", "Auditor", "Administrator"]))
def test_who_no_longer_works_here_does_nothing(call: Call, kind: str) -> None:
    call.kind, call.active = kind, False
    assert not SET.decide(generated.request(call)).allowed


@many
@given(CALLS)
def test_nobody_touches_what_another_clinic_keeps(call: Call) -> None:
    if call.kind == "Patient" and call.who in {
        one.id for one in (call.record, call.visit and call.visit.patient) if one
    }:
        return  # the caller's own record says which clinic they are a patient of
    call.clinic = "a-third"
    said = SET.decide(generated.request(call))
    assert not said.allowed
    assert "no-other-clinic" in said.policies


def moved(call: Call, action: str) -> Call:
    """The same caller at another action, about the same people where it is about any."""
    about = call.record or (call.visit.patient if call.visit else Record("P001", call.thing_clinic))
    visit = call.visit or (call.grant.visit if call.grant else Visit("C-1", call.thing_clinic, about))
    call.action = action
    call.record = about if action in generated.ABOUT_A_PATIENT else None
    call.visit = visit if action in generated.ABOUT_A_VISIT else None
    call.prescription_active = True if action == "dispense_medication" else None
    return call


# what arguments can do


@many
@given(CALLS, st.data())
def test_no_json_in_the_arguments_allows_more_than_typed_arguments_do(call: Call, data: st.DataObject) -> None:
    typed = SET.decide(generated.request(call))
    junk = data.draw(JSON | DEEP)
    ordinary = INPUTS[call.action]
    field = data.draw(st.sampled_from([*ordinary, "one-more"]))
    fields = {**ordinary, field: junk}
    said = SET.decide(generated.request(call, fields))
    assert not (said.allowed and said.errors)
    assert not said.allowed or typed.allowed
    kind = "Long" if isinstance(ordinary.get(field), int) else "String"
    if field not in ordinary or not is_of(junk, kind):
        assert not said.allowed
        assert said.errors, "what is not of its type is an error, never a value"


@many
@given(CALLS, JSON | DEEP)
def test_no_json_instead_of_the_arguments_is_allowed(call: Call, junk: Any) -> None:
    if junk == INPUTS[call.action]:
        return
    said = SET.decide(generated.request(call, {"input": junk}))
    assert not said.allowed


@many
@given(CALLS, st.sampled_from(["auth", "now", "bound", "facts", "more"]), JSON | DEEP)
def test_no_json_elsewhere_in_the_context_is_allowed_with_errors(call: Call, field: str, junk: Any) -> None:
    request = generated.request(call)
    odd = Request(
        request.principal, request.action, request.resource, {**request.context, field: junk}, request.entities
    )
    said = SET.decide(odd)
    assert not (said.allowed and said.errors)


@many
@given(CALLS, st.integers(0, 3), st.text(max_size=8) | st.sampled_from(["clinic", "active", "careTeam", "open"]), JSON)
def test_no_json_in_an_entity_is_allowed_with_errors(call: Call, which: int, attribute: str, junk: Any) -> None:
    request = generated.request(call)
    entities = list(request.entities)
    odd = entities[which % len(entities)]
    entities[which % len(entities)] = Entity(odd.uid, {**odd.attrs, attribute: junk}, odd.parents)
    said = SET.decide(Request(request.principal, request.action, request.resource, request.context, entities))
    assert not (said.allowed and said.errors)


# what a change of the policies can do


@cache
def stricter() -> dict[str, PolicySet]:
    """The set without each permit in turn, and with each permit turned into one more forbid."""
    parts = texts(SET)
    made = {}
    for name, policy in SET.policies.items():
        if policy.effect == "permit" and name != "auditor-reads-audit-log":
            rest = "\n".join(text for other, text in parts.items() if other != name)
            made[f"without {name}"] = PolicySet(SET.schema_text, rest)
            added = parts[name].replace(f'@id("{name}")', '@id("added")').replace("permit (", "forbid (", 1)
            made[f"with the forbid {name}"] = PolicySet(SET.schema_text, f"{SET.text}\n{added}")
    return made


def test_a_set_that_keeps_the_auditor_out_does_not_load() -> None:
    rest = "\n".join(text for name, text in texts(SET).items() if name != "auditor-reads-audit-log")
    with pytest.raises(Misconfigured, match="canary"):
        PolicySet(SET.schema_text, rest)


@many
@given(CALLS, st.data())
def test_a_forbid_more_or_a_permit_less_allows_nothing_new(call: Call, data: st.DataObject) -> None:
    change = data.draw(st.sampled_from(sorted(stricter())))
    request = generated.request(call)
    if stricter()[change].decide(request).allowed:
        assert SET.decide(request).allowed, change


def test_the_calls_at_random_reach_what_the_properties_speak_of() -> None:
    """Else they would hold of nothing."""
    from random import Random

    random = Random(7)  # noqa: S311 - the same calls every time
    allowed = [
        call for call in (generated.call(random) for _ in range(2_000)) if SET.decide(generated.request(call)).allowed
    ]
    agents = [call for call in allowed if call.kind == "Agent"]
    assert len(agents) >= 100
    assert {call.action for call in agents} >= READS_A_RECORD | {"record_prescription", "search_knowledge_base"}
    assert {call.action for call in allowed} == set(INPUTS)
