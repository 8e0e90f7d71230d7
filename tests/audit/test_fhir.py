"""Calls as FHIR AuditEvents: valid for FHIR's own model, and what IHE's Basic Audit Log Patterns ask for.

There is no Python package for R4 itself. R4B (4.3.0) is used: of AuditEvent it changed none of the elements that are
used here, and its cardinalities and types of them are those of R4 (4.0.1).
"""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from clinic_mcp.audit.exports import fhir
from clinic_mcp.audit.questions.calls import Call
from fhir.resources.R4B.auditevent import AuditEvent
from support.clinic import Clinic
from support.day import CALLS, spend

Event = dict[str, Any]


def code_of(agent_or_entity: Event) -> tuple[str, str]:
    """System and code of a part's type, on which the profiles slice."""
    kind = agent_or_entity["type"]
    coding = kind["coding"][0] if "coding" in kind else kind
    return coding["system"], coding["code"]


# What the profiles fix, read from ITI.BasicAudit 1.1, input/fsh/Patient{Read,Create,Update}.fsh. Facts, not text.
EVENT_TYPE = ("http://terminology.hl7.org/CodeSystem/audit-event-type", "rest")
DCM = "http://dicom.nema.org/resources/ontology/DCM"
SOURCE, DESTINATION = (DCM, "110153"), (DCM, "110152")
PARTICIPATION = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
ENTITY = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
ROLE = "http://terminology.hl7.org/CodeSystem/object-role"
REQUEST_ID = ("https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType", "XrequestId")
ACT_REASON = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
PROFILES: dict[str, tuple[str, set[str], tuple[str, str], tuple[str, str], set[str]]] = {
    # action, interactions, client's and server's role, user's roles
    "Read": ("R", {"read", "vread"}, DESTINATION, SOURCE, {"IRCP"}),
    "Create": ("C", {"create"}, SOURCE, DESTINATION, {"AUT", "INF", "CST"}),
    "Update": ("U", {"update", "patch"}, SOURCE, DESTINATION, {"AUT", "INF", "CST"}),
}


def check_pattern(event: Event) -> None:
    """What all events have, with a profile or without."""
    AuditEvent.model_validate(event)
    assert (event["type"]["system"], event["type"]["code"]) == EVENT_TYPE
    assert event["outcome"] in ("0", "4", "8", "12")
    assert event["action"] in tuple("CRUDE")
    assert sum(agent["requestor"] for agent in event["agent"]) == 1, "somebody asked, and one did"
    server = next(agent for agent in event["agent"] if agent["who"] == event["source"]["observer"])
    assert code_of(server) in (SOURCE, DESTINATION), "the server recorded what it did"
    for coding in codings(event):
        assert coding.keys() <= {"system", "code", "display"}
        assert coding["system"].startswith(("http://", "https://"))


def check_profile(event: Event, name: str) -> None:
    """What a profile asks for beyond that: cardinalities, slices, fixed values."""
    patient = name.startswith("Patient")
    action, interactions, client_role, server_role, user_roles = PROFILES[name.removeprefix("Patient")]
    assert (event["action"], event["outcome"]) == (action, "0")
    assert event["recorded"]
    chosen = [one for one in event["subtype"] if one["code"] in interactions]
    assert [one["system"] for one in chosen] == ["http://hl7.org/fhir/restful-interaction"]
    agents = event["agent"]
    assert len(agents) >= 2
    for role in (client_role, server_role):
        (agent,) = [one for one in agents if code_of(one) == role]
        assert agent["who"]
        assert agent["network"]["address"]
        assert "media" not in agent
    users = [one for one in agents if code_of(one)[0] == PARTICIPATION]
    assert len(users) <= 1
    for user in users:
        assert code_of(user)[1] in user_roles
        assert user["who"]
        assert user["requestor"] is True
        assert not user.keys() & {"media", "network"}
    entities = event["entity"]
    assert len(entities) >= (2 if patient else 1)
    (data,) = [one for one in entities if code_of(one) == (ENTITY, "2")]
    assert data["what"]
    assert (data["role"]["system"], data["role"]["code"] in ("4", "3", "20")) == (ROLE, True)
    transactions = [one for one in entities if code_of(one) == REQUEST_ID]
    assert len(transactions) <= 1
    assert all(one["what"]["identifier"]["value"] for one in transactions)
    persons = [one for one in entities if code_of(one) == (ENTITY, "1")]
    assert len(persons) == patient
    for person in persons:
        assert (person["role"]["system"], person["role"]["code"]) == (ROLE, "1")
        assert person["what"]["reference"].startswith("Patient/")


def check(event: Event) -> str | None:
    """Check an event; the profile it claims, if it claims one."""
    check_pattern(event)
    claimed = [one.rsplit("/IHE.BasicAudit.", 1)[1] for one in event.get("meta", {}).get("profile", [])]
    for name in claimed:
        check_profile(event, name)
    return claimed[0] if claimed else None


def codings(value: Any) -> list[Event]:
    if isinstance(value, list):
        return [one for item in value for one in codings(item)]
    if isinstance(value, dict):
        own = [value] if "code" in value and "system" in value else []
        return own + [one for item in value.values() for one in codings(item)]
    return []


@pytest.fixture(scope="module")
def events(module_clinic: Clinic, tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    """The AuditEvents of a day."""
    spend(module_clinic)
    path: Path = tmp_path_factory.mktemp("fhir") / "log.ndjson"
    assert module_clinic.json("audit", "export", "fhir", str(path))["calls"] == CALLS
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_a_days_events_are_valid_and_follow_the_profiles_they_claim(events: list[Event]) -> None:
    claimed = [check(event) for event in events]
    assert {name for name in claimed if name} == {"PatientRead", "PatientCreate", "PatientUpdate"}
    assert len({event["id"] for event in events}) == len(events)


def test_there_is_one_event_for_each_patient_of_a_call(events: list[Event]) -> None:
    listed = [one for one in events if one["entity"][-2]["what"]["identifier"]["value"] == "list_my_consultations"]
    assert {one["entity"][0]["what"]["reference"] for one in listed} == {"Patient/P001", "Patient/P002"}


def test_a_refusal_says_so_and_claims_no_profile(events: list[Event]) -> None:
    refused = [one for one in events if one["outcome"] != "0"]
    assert len(refused) == 2
    assert "no-other-patient" in refused[0]["outcomeDesc"]
    assert all("meta" not in one for one in refused)


def test_broken_glass_has_its_purpose_in_both_places(events: list[Event]) -> None:
    purposes = [{"coding": [{"system": ACT_REASON, "code": "BTG"}]}]
    glass = [one for one in events if one.get("purposeOfEvent") == purposes]
    (read,) = [one for one in glass if one["action"] == "R"]
    (user,) = [agent for agent in read["agent"] if code_of(agent)[0] == PARTICIPATION]
    assert user["purposeOfUse"] == purposes


def test_an_agent_is_the_client_and_its_human_the_user(events: list[Event]) -> None:
    first = events[0]
    kinds = {code_of(agent): agent for agent in first["agent"]}
    assert kinds[DESTINATION]["who"] == {"identifier": {"value": "intake_agent"}}
    assert kinds[PARTICIPATION, "IRCP"]["who"] == {"identifier": {"value": "dr-osei"}}
    assert (kinds[DESTINATION]["requestor"], kinds[SOURCE]["requestor"]) == (False, False)


TOOLS = [*fhir.KINDS, "get_patient_record", "search_knowledge_base", None]
ENDS = ("ok", "error", "refused", "unauthenticated", "unknown", "in doubt")


@pytest.mark.parametrize(("tool", "ended"), [*product(TOOLS, ENDS)])
def test_every_kind_of_call_is_valid(tool: str | None, ended: str) -> None:
    for who, agent, behalf in (
        ("Clinician:dr-osei", None, None),
        ("Agent:intake_agent", "intake_agent", "dr-osei"),
        ("Agent:intake_agent", "intake_agent", "patient:P001"),
        ("Patient:P001", None, None),
        (None, None, None),
    ):
        for patients, peer in (([], None), (["P001"], "stdio"), (["P001", "P002"], "10.0.0.9"), (["P001"], "::1")):
            call = Call("0193-x", 1, "2026-11-24T10:00:00.000Z", who=who, agent=agent, behalf=behalf, server="desk")
            call.tool, call.ended, call.patients, call.peer, call.purpose = tool, ended, patients, peer, "TREAT"
            made = list(fhir.audit_events(call, clinic="main"))
            assert len(made) == max(1, len(patients))
            for event in made:
                claimed = check(event)
                assert (claimed is not None) == (ended == "ok" and fhir.KINDS.get(tool or "", fhir.READ)[0] is not None)
