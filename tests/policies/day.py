"""A day at a clinic: a few dozen real calls through the real guards, some right and some not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anyio
from clinic_mcp.core.app import Application
from clinic_mcp.registry import SERVERS
from mcp import Client
from support.calls import NOTES, PRESCRIPTION, REASON, add_visiting_agent
from support.clinic import Clinic
from support.servers import GRANT_META

Made = tuple[str, dict[str, Any], str]
"""A tool, its arguments, and the caller's token."""

SECRET = "zeppelin"
"""Stands in every free text of the day: it may come out nowhere."""


def live(clinic: Clinic) -> None:
    """Live through the day.

    Args:
        clinic: A clinic nobody has used.
    """
    add_visiting_agent(clinic)
    for server, calls in _calls(clinic).items():
        perform(clinic, server, calls)


def perform(clinic: Clinic, server: str, calls: list[Made], **settings: Any) -> None:
    """Make calls of one server, one after the other.

    Args:
        clinic: The clinic.
        server: The server.
        calls: The calls.
        settings: Settings of the server that are not the clinic's.
    """
    opened = Application(SERVERS[server](), clinic.settings.model_copy(update=settings), "stdio")

    async def talk() -> None:
        with anyio.fail_after(60):
            async with Client(opened.server) as client:
                for tool, arguments, token in calls:
                    meta: Any = {GRANT_META: token}
                    await client.call_tool(tool, arguments, meta=meta)

    try:
        anyio.run(talk)
    finally:
        opened.close()


def _calls(clinic: Clinic) -> dict[str, list[Made]]:
    alice, bob = clinic.consult("P001", notes=NOTES), clinic.consult("P002")
    closed, eva = clinic.consult("P001", closed=True), clinic.consult("P005")
    grants = {"P001": alice, "P002": bob, "P005": eva}

    def agent(name: str, about: str = "P001", session: str | None = None) -> str:
        return clinic.tokens.grant(session or grants[about], name, about)

    intake, prescriber, visitor = (agent(name) for name in ("intake_agent", "prescription_agent", "visiting_agent"))
    late = agent("intake_agent", session=closed)
    person = clinic.tokens.person
    osei, lindqvist, nurse = person("dr-osei"), person("dr-lindqvist"), person("nurse-adeyemi")
    rossi, tan, kaur = person("pharm-rossi"), person("auditor-tan"), person("admin-kaur")
    herself = person("patient:P001")
    override = {"guardrail": "allergy", "medication": "Amoxicillin 500mg", **REASON, "reason": f"For {SECRET} reasons"}
    delivery = {"medication_name": "Paracetamol 500mg", "quantity": 10, "lot": SECRET, "expires": "2099-01-31"}
    return {
        "patient-records": [
            *_reading(intake, "P001", "P002", "P999"),
            *_reading(prescriber, "P001"),
            *_reading(late, "P001"),
            *_reading(agent("intake_agent", "P005"), "P005"),
            *_reading(osei, "P001", "P005"),
            *_reading(lindqvist, "P002"),
            ("request_emergency_access", _emergency("P002"), lindqvist),
            ("request_emergency_access", _emergency("P002"), nurse),
            ("request_emergency_access", _emergency("P002"), intake),
            *_reading(lindqvist, "P002"),
            *_reading(nurse, "P001", "P002"),
            *_reading(herself, "P001", "P002"),
            *_reading(tan, "P001"),
            *(("find_patients", {"name": SECRET, "birth_date": "1985-03-12"}, who) for who in (osei, rossi, intake)),
        ],
        "knowledge-base": [
            ("search_knowledge_base", {"query": f"fever {SECRET}"}, who) for who in (intake, visitor, nurse, tan, late)
        ],
        "pharmacy": [
            *(("check_pharmacy_inventory", {"medication_name": SECRET}, who) for who in (prescriber, osei, kaur)),
            ("receive_stock", delivery, rossi),
            ("receive_stock", delivery, osei),
        ],
        "prescriptions": [
            ("record_prescription", {"session_id": session, "prescription": PRESCRIPTION}, prescriber)
            for session in (alice, alice, bob)
        ]
        + [
            ("record_prescription", {"session_id": alice, "prescription": f"Amoxicillin 500mg {SECRET}"}, osei),
            ("record_prescription", {"session_id": bob, "prescription": PRESCRIPTION}, osei),
        ],
        "desk": [
            ("list_my_consultations", {}, osei),
            ("list_my_consultations", {}, kaur),
            *(("get_consultation", {"session_id": alice}, who) for who in (osei, nurse, kaur, intake)),
            *(("override_guardrail", {"session_id": alice, **override}, who) for who in (nurse, osei)),
            *(
                ("assign_consultation", {"session_id": bob, "clinician_id": "dr-lindqvist"}, who)
                for who in (osei, kaur)
            ),
            *(("sign_off_consultation", {"session_id": bob, "notes": SECRET}, who) for who in (nurse, lindqvist)),
        ],
    }


def _reading(token: str, *patients: str) -> Iterator[Made]:
    for patient in patients:
        yield "get_patient_record", {"patient_id": patient}, token
        yield "get_medical_history", {"patient_id": patient}, token


def _emergency(patient: str) -> dict[str, str]:
    return {"patient_id": patient, "reason_code": "unconscious", "reason": f"Found near the {SECRET}"}
