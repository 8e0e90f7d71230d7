"""Calls as OCSF events of the class API Activity (6003), with the security_control profile: for a SIEM.

Fields after the Open Cybersecurity Schema Framework 1.9.0-dev, events/application/api_activity.json.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from clinic_mcp import __version__
from clinic_mcp.audit.questions.calls import Call

VERSION = "1.9.0-dev"
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


def api_activity(call: Call, *, clinic: str) -> dict[str, Any]:
    """The event of a call.

    Args:
        call: The call.
        clinic: The clinic, as the tenant.
    """
    activity = ACTIVITIES.get(call.tool or "", READ)
    denied = call.ended in ("refused", "unauthenticated")
    event: dict[str, Any] = {
        "activity_id": activity,
        "category_uid": CATEGORY,
        "class_uid": CLASS,
        "type_uid": CLASS * 100 + activity,
        "severity_id": MEDIUM if denied or call.purpose == "BTG" else INFORMATIONAL,
        "time": int(datetime.fromisoformat(call.time).timestamp() * 1000),
        "metadata": {
            "version": VERSION,
            "uid": call.call_id,
            "tenant_uid": clinic,
            "product": {"name": "clinic-mcp", "version": __version__},
            "profiles": ["security_control"],
        },
        "actor": _actor(call),
        "api": {"operation": call.tool or "unknown", "service": {"name": call.server or "unknown"}},
        "src_endpoint": {"ip": call.peer} if call.peer and call.peer != "stdio" else {"name": call.peer or "unknown"},
        "status_id": 1 if call.ended == "ok" else 2 if call.ended != "in doubt" else 0,
        "status_code": call.ended,
        "action_id": 2 if denied else 1,
        "resources": [{"type": "Patient", "uid": patient} for patient in call.patients],
    }
    if call.policies:
        event["policy"] = {"name": " ".join(call.policies)}
    return event


def _actor(call: Call) -> dict[str, Any]:
    person = call.behalf or (call.who if call.agent is None else None)
    actor: dict[str, Any] = {}
    if person is not None:
        actor["user"] = {"uid": person}
    if call.agent is not None:
        actor["app_uid"] = call.agent
    return actor or {"app_name": "unknown"}
