"""Calls as OCSF events of the class API Activity (6003), with the profile security_control: for a SIEM.

Attributes after the Open Cybersecurity Schema Framework 1.8.0 (2026-03-18, Apache-2.0),
events/application/api_activity.json and profiles/security_control.json.
"""

from __future__ import annotations

from datetime import datetime
from ipaddress import ip_address
from typing import Any

from clinic_mcp import __version__
from clinic_mcp.audit.questions.calls import Call

VERSION = "1.8.0"
CATEGORY, CLASS = 6, 6003
"""Application Activity, API Activity: `class_uid` is the category's uid times 1000 plus the class's."""
CREATE, READ, UPDATE = 1, 2, 3
ACTIVITIES = {
    "record_prescription": CREATE,
    "request_emergency_access": CREATE,
    "override_guardrail": CREATE,
    "dispense_medication": CREATE,
    "receive_stock": CREATE,
    "sign_off_consultation": UPDATE,
    "assign_consultation": UPDATE,
}
INFORMATIONAL, MEDIUM = 1, 3
"""`severity_id`: refusals and broken glass are worth a look, the rest is information."""
ALLOWED, DENIED = 1, 2
"""`action_id`; `disposition_id` has the same numbers for Allowed and Blocked."""
STATUS = {"ok": (1, "Success"), "in doubt": (0, "Unknown"), "unknown": (0, "Unknown")}
"""`status_id` and `status`; anything else is 2, a failure."""


def api_activity(call: Call, *, clinic: str) -> dict[str, Any]:
    """The event of a call.

    Args:
        call: The call.
        clinic: The clinic, as the tenant.
    """
    activity = ACTIVITIES.get(call.tool or "", READ)
    denied = call.ended in ("refused", "unauthenticated")
    status_id, status = STATUS.get(call.ended, (2, "Failure"))
    event: dict[str, Any] = {
        "activity_id": activity,
        "category_uid": CATEGORY,
        "class_uid": CLASS,
        "type_uid": CLASS * 100 + activity,
        "severity_id": MEDIUM if denied or call.purpose == "BTG" else INFORMATIONAL,
        "time": int(datetime.fromisoformat(call.time).timestamp() * 1000),
        "metadata": _metadata(call, clinic),
        "actor": _actor(call),
        "api": {"operation": call.tool or "unknown", "service": {"name": call.server or "unknown"}},
        "src_endpoint": _endpoint(call.peer),
        "status_id": status_id,
        "status": status,
        "status_code": call.ended,
        "action_id": DENIED if denied else ALLOWED,
        "disposition_id": DENIED if denied else ALLOWED,
        "is_alert": denied or call.purpose == "BTG",
        "resources": [{"type": "Patient", "uid": patient} for patient in call.patients],
        "unmapped": {"purpose_of_use": call.purpose, "reason": call.reason},
    }
    if call.policies:
        decision = "deny" if denied else "allow"
        event["authorizations"] = [{"decision": decision, "policy": {"name": name}} for name in call.policies]
    event["unmapped"] = {name: value for name, value in event["unmapped"].items() if value is not None}
    return {name: value for name, value in event.items() if value not in ([], {})}


def _metadata(call: Call, clinic: str) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "version": VERSION,
        "uid": call.call_id,
        "tenant_uid": clinic,
        "product": {"name": "clinic-mcp", "vendor_name": "clinic-mcp", "version": __version__},
        "profiles": ["security_control"],
        "log_name": f"clinic-mcp/{clinic}",
    }
    if call.consultation is not None:
        metadata["correlation_uid"] = call.consultation
    return metadata


def _actor(call: Call) -> dict[str, Any]:
    person = call.behalf or (call.who if call.agent is None else None)
    actor: dict[str, Any] = {}
    if person is not None:
        actor["user"] = {"uid": person}
    if call.agent is not None:
        actor["app_uid"] = call.agent
    return actor or {"app_name": "unknown"}


def _endpoint(peer: str | None) -> dict[str, Any]:
    try:
        return {"ip": str(ip_address(peer or ""))}
    except ValueError:
        return {"name": peer or "unknown"}
