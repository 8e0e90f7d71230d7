"""Tools and policies take the same arguments, and a caller sees only the tools that some circumstances allow it."""

from __future__ import annotations

from typing import Literal

import pytest
from clinic_mcp.core.cedar_types import input_type
from clinic_mcp.core.errors import Misconfigured
from clinic_mcp.core.policy import Entity, PolicySet, ref
from clinic_mcp.policy_commands import tool_inputs
from pydantic import BaseModel
from support.clinic import Clinic
from support.servers import piped


class Everything(BaseModel):
    text: str
    count: int
    flag: bool
    choice: Literal["a", "b"]
    names: list[str]
    maybe: int | None = None


class Impossible(BaseModel):
    dose: float


def test_each_kind_of_argument_has_its_cedar_type() -> None:
    assert input_type(Everything) == (
        "{ choice: String, count: Long, flag: Bool, maybe?: Long, names: Set<String>, text: String }"
    )


def test_a_float_has_no_cedar_type() -> None:
    with pytest.raises(Misconfigured, match=r"Impossible\.dose"):
        input_type(Impossible)


def test_the_shipped_policies_take_what_the_tools_take() -> None:
    PolicySet.load().check_tools(tool_inputs())


@pytest.mark.parametrize(
    ("drifted", "named"),
    [
        ({"get_patient_record": "{ patient_id: Long }"}, "get_patient_record takes"),
        ({"get_patient_record": "{ patient_id: String, limit?: Long }"}, "get_patient_record takes"),
        ({"get_patient_record": "{}"}, "get_patient_record takes"),
        ({"delete_everything": "{}"}, "no action for: delete_everything"),
    ],
)
def test_a_tool_that_drifted_from_its_action_is_refused_at_the_start(drifted: dict[str, str], named: str) -> None:
    with pytest.raises(Misconfigured, match=named):
        PolicySet.load().check_tools(tool_inputs() | drifted)


def principal(kind: str, role: str) -> Entity:
    attrs: dict[str, object] = {"clinic": ref(("Clinic", "main"))}
    if kind != "Agent":
        attrs["active"] = True
    return Entity((kind, "somebody"), attrs, (("Role", role),))


@pytest.mark.parametrize(
    ("kind", "role", "seen"),
    [
        (
            "Agent",
            "intake_agent",
            {"get_patient_record", "get_medical_history", "search_knowledge_base", "check_pharmacy_inventory"},
        ),
        (
            "Agent",
            "prescription_agent",
            {"record_prescription", "search_knowledge_base", "check_pharmacy_inventory"},
        ),
        (
            "Clinician",
            "physician",
            {
                *("get_patient_record", "get_medical_history", "find_patients", "request_emergency_access"),
                *("search_knowledge_base", "check_pharmacy_inventory", "record_prescription"),
                *("list_my_consultations", "get_consultation", "sign_off_consultation", "override_guardrail"),
            },
        ),
        (
            "Clinician",
            "nurse",
            {
                *("get_patient_record", "get_medical_history", "find_patients", "search_knowledge_base"),
                *("check_pharmacy_inventory", "list_my_consultations", "get_consultation"),
            },
        ),
        (
            "Clinician",
            "pharmacist",
            {"search_knowledge_base", "check_pharmacy_inventory", "receive_stock", "dispense_medication"},
        ),
        ("Auditor", "auditor", set()),
        ("Administrator", "administrator", {"assign_consultation"}),
    ],
)
def test_a_principal_sees_what_some_circumstances_would_allow_it(kind: str, role: str, seen: set[str]) -> None:
    assert PolicySet.load().visible(principal(kind, role), tool_inputs()) == seen


def test_a_server_lists_its_tools_by_who_asks(module_clinic: Clinic) -> None:
    session = module_clinic.consult("P001")
    intake = module_clinic.run("grant", session, "--agent", "intake_agent").stdout.strip()
    auditor = module_clinic.run("token", "issue", "--as", "auditor-tan").stdout.strip()

    def listed(token: str | None) -> set[str]:
        with piped(module_clinic, "patient-records", **({"CLINIC_TOKEN": token} if token else {})) as pipe:
            pipe.send({"jsonrpc": "2.0", "id": 99, "method": "tools/list", "params": {}})
            return {tool["name"] for tool in pipe.receive()["result"]["tools"]}

    assert listed(intake) == {"get_patient_record", "get_medical_history"}
    assert listed(auditor) == set()
    nobody = {"get_patient_record", "get_medical_history", "find_patients", "request_emergency_access"}
    assert listed(None) == nobody
    assert listed(module_clinic.tokens.person("patient:P001", "patient-records")) == {
        "get_patient_record",
        "get_medical_history",
    }
