"""Calls as FHIR R4 AuditEvents in the shape of IHE Basic Audit Log Patterns (BALP), one for each patient.

A successful call about a patient follows `IHE.BasicAudit.PatientRead`, `PatientCreate` or `PatientUpdate`, one about
none `Read`, `Create` or `Update` (IHE ITI BALP 1.1.4, input/fsh). A refused or failed one has the same parts and says
so in `outcome`: BALP profiles only successes, and its text lets failures follow the pattern. A search claims no
profile: `PatientQuery` wants the raw request, which holds names, and the log keeps none. Codes and their displays are
those of FHIR R4 (4.0.1), DICOM PS3.16 and HL7 v3.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from clinic_mcp.audit.questions.calls import Call

PROFILE = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit."
BALP_ENTITY = "https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType"
EVENT_TYPE = "http://terminology.hl7.org/CodeSystem/audit-event-type"
INTERACTION = "http://hl7.org/fhir/restful-interaction"
DCM = "http://dicom.nema.org/resources/ontology/DCM"
PARTICIPATION = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
ACT_REASON = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
ENTITY_TYPE = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
OBJECT_ROLE = "http://terminology.hl7.org/CodeSystem/object-role"
SOURCE_TYPE = "http://terminology.hl7.org/CodeSystem/security-source-type"

KINDS: dict[str, tuple[str | None, str, str]] = {
    "find_patients": (None, "E", "search"),
    "list_my_consultations": (None, "E", "search"),
    "record_prescription": ("PatientCreate", "C", "create"),
    "request_emergency_access": ("PatientCreate", "C", "create"),
    "override_guardrail": ("PatientCreate", "C", "create"),
    "dispense_medication": ("PatientCreate", "C", "create"),
    "sign_off_consultation": ("PatientUpdate", "U", "update"),
    "assign_consultation": ("PatientUpdate", "U", "update"),
}
"""BALP profile, `AuditEvent.action` and RESTful interaction of the tools that do not simply read."""
READ: tuple[str | None, str, str] = ("PatientRead", "R", "read")
OUTCOMES = {"ok": ("0", "Success"), "error": ("8", "Serious failure")}
"""`AuditEvent.outcome` (audit-event-outcome); anything refused or unknown is `4`, a minor failure."""


def audit_events(call: Call, *, clinic: str) -> Iterator[dict[str, Any]]:
    """The AuditEvents of a call: one for each patient, one without where it is about none.

    Args:
        call: The call.
        clinic: The clinic, as the site and observer of the events.
    """
    for number, patient in enumerate(call.patients or [None]):
        yield _event(call, patient, f"{call.call_id}-{number}" if number else call.call_id, clinic)


def _event(call: Call, patient: str | None, name: str, clinic: str) -> dict[str, Any]:
    profile, action, interaction = KINDS.get(call.tool or "", READ)
    code, words = OUTCOMES.get(call.ended, ("4", "Minor failure"))
    flows_out = action in ("R", "E")
    event: dict[str, Any] = {
        "resourceType": "AuditEvent",
        "id": name,
        "type": _coding(EVENT_TYPE, "rest", "RESTful Operation"),
        "subtype": [_coding(INTERACTION, interaction, interaction)],
        "action": action,
        "recorded": call.time,
        "outcome": code,
        "outcomeDesc": words if call.ended == "ok" else " ".join([call.ended, *call.policies]),
        "agent": [*_user(call, action), _client(call, reads=flows_out), _server(call, reads=flows_out)],
        "source": {
            "site": clinic,
            "observer": _named(call.server or "unknown"),  # the server's agent below: it recorded what it did
            "type": [_coding(SOURCE_TYPE, "4", "Application Server")],
        },
        "entity": [*_patient(patient), _data(call), _transaction(call)],
    }
    if call.ended == "ok" and profile is not None:
        event["meta"] = {"profile": [PROFILE + (profile if patient is not None else profile.removeprefix("Patient"))]}
    if call.purpose is not None:
        event["purposeOfEvent"] = [{"coding": [_coding(ACT_REASON, call.purpose)]}]
    return event


def _user(call: Call, action: str) -> list[dict[str, Any]]:
    """Who learned or made something: the person, or the human an agent acted for."""
    human = _human(call)
    if human is None:
        return []
    made = action in ("C", "U")  # BALP asks for an author, an informant or a custodian there
    code, words = ("AUT", "author (originator)") if made else ("IRCP", "information recipient")
    user: dict[str, Any] = {
        "type": {"coding": [_coding(PARTICIPATION, code, words)]},
        "who": _person(human),
        "requestor": True,
    }
    if call.purpose is not None:
        user["purposeOfUse"] = [{"coding": [_coding(ACT_REASON, call.purpose)]}]
    return [user]


def _human(call: Call) -> str | None:
    return call.behalf or (call.who if call.agent is None else None)


def _person(human: str) -> dict[str, Any]:
    """A patient by reference, anybody else by their id: `Type:id`, or the subject of an agent's grant."""
    kind, _, name = human.rpartition(":")
    return {"reference": f"Patient/{name}"} if kind.casefold() == "patient" else _named(name)


def _named(name: str) -> dict[str, Any]:
    return {"identifier": {"value": name}}


def _role(*, source: bool) -> dict[str, Any]:
    """What flows from whom to whom: a read's data from the server, anything else from the client (BALP)."""
    code, words = ("110153", "Source Role ID") if source else ("110152", "Destination Role ID")
    return {"coding": [_coding(DCM, code, words)]}


def _client(call: Call, *, reads: bool) -> dict[str, Any]:
    """The software that asked: the agent, or the person's own client."""
    address = "localhost" if call.peer == "stdio" else call.peer or "unknown"
    return {
        "type": _role(source=not reads),
        "who": _named(call.agent) if call.agent else {"display": "MCP client"},
        "requestor": _human(call) is None,
        "network": {"address": address, "type": "2" if _is_ip(address) else "1"},
    }


def _server(call: Call, *, reads: bool) -> dict[str, Any]:
    return {
        "type": _role(source=reads),
        "who": _named(call.server or "unknown"),
        "requestor": False,
        "network": {"address": call.server or "unknown", "type": "1"},
    }


def _patient(patient: str | None) -> list[dict[str, Any]]:
    if patient is None:
        return []
    return [
        {
            "what": {"reference": f"Patient/{patient}"},
            "type": _coding(ENTITY_TYPE, "1", "Person"),
            "role": _coding(OBJECT_ROLE, "1", "Patient"),
        }
    ]


def _data(call: Call) -> dict[str, Any]:
    """What was asked for, by the name of the tool: BALP's data entity."""
    return {
        "what": _named(call.tool or "unknown tool"),
        "type": _coding(ENTITY_TYPE, "2", "System Object"),
        "role": _coding(OBJECT_ROLE, "4", "Domain Resource"),
    }


def _transaction(call: Call) -> dict[str, Any]:
    return {
        "what": _named(call.call_id),
        "type": _coding(BALP_ENTITY, "XrequestId"),
    }


def _coding(system: str, code: str, display: str | None = None) -> dict[str, str]:
    coding = {"system": system, "code": code}
    return coding if display is None else {**coding, "display": display}


def _is_ip(address: str) -> bool:
    import ipaddress

    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True
