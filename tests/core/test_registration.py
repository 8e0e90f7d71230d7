"""No tool without a policy action, an audit expectation, its annotations and a true description of its result."""

from __future__ import annotations

import json
import re

import jsonschema
import pytest
from clinic_mcp.core.app import Application
from clinic_mcp.core.errors import Misconfigured
from clinic_mcp.core.policy import PolicySet
from clinic_mcp.core.tool import ServerTools, Tool
from clinic_mcp.patient_records import entities
from clinic_mcp.patient_records.arguments import OfPatient
from clinic_mcp.registry import SERVERS
from support.calls import EXPECTED, NOTES
from support.clinic import Clinic
from support.servers import connected

TOOLS = {name: tool for load in SERVERS.values() for name, tool in load().tools.items()}
NOT_TOOLS = {"read_audit_log"}
each_tool = pytest.mark.parametrize("tool", TOOLS.values(), ids=TOOLS)


def test_every_action_has_a_tool_and_every_tool_an_action() -> None:
    assert PolicySet.load().actions.keys() - NOT_TOOLS == set(TOOLS)


def test_tool_names_are_unique_across_the_servers() -> None:
    names = [name for load in SERVERS.values() for name in load().tools]
    assert sorted(names) == sorted(set(names))


def test_every_tool_has_an_audit_expectation() -> None:
    assert set(EXPECTED) == set(TOOLS)


@each_tool
def test_a_tool_says_what_it_is(tool: Tool[object]) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)+", tool.name)
    assert tool.title
    assert tool.title != tool.name
    assert len(tool.description) > 60, "the description says what the result holds"
    assert set(tool.hints) == {"read_only_hint", "destructive_hint", "idempotent_hint", "open_world_hint"}
    assert tool.hints["read_only_hint"] is (EXPECTED[tool.name].writes is None)


@each_tool
def test_a_tools_input_is_closed_and_bounded(tool: Tool[object]) -> None:
    assert tool.input_schema["additionalProperties"] is False
    for name, field in tool.input_schema["properties"].items():
        assert field["type"] == "string", f"{name}: bound every number and list here when the first one comes"
        assert "maxLength" in field or field.get("pattern", "").endswith("}$"), f"{name} has no maximum"
        assert field["description"]


@each_tool
def test_the_policies_see_the_input_the_tool_declares(tool: Tool[object]) -> None:
    """The action's `input` has the tool's arguments, with their types."""
    schema = PolicySet.load().schema_text
    found = re.search(rf'action "{tool.name}".*?input: {{([^}}]*)}}', schema, re.DOTALL)
    assert found
    declared = dict(entry.split(":") for entry in found.group(1).replace(" ", "").strip(",").split(","))
    assert declared == dict.fromkeys(tool.input_schema["properties"], "String")


@each_tool
def test_the_output_schema_describes_an_object(tool: Tool[object]) -> None:
    jsonschema.Draft202012Validator.check_schema(tool.output_schema)
    assert tool.output_schema["type"] == "object"


@pytest.mark.parametrize("server", SERVERS)
def test_a_served_tool_lists_its_card_and_answers_as_its_schema_says(module_clinic: Clinic, server: str) -> None:
    with connected(module_clinic, server, "stdio") as caller:
        listed = {tool.name: tool for tool in caller.list_tools()}
        assert set(listed) == {name for name, row in EXPECTED.items() if row.server == server}
        for name, tool in listed.items():
            assert tool.title
            assert tool.description
            assert tool.output_schema
            hints = tool.annotations
            assert None not in (
                hints.read_only_hint,
                hints.destructive_hint,
                hints.idempotent_hint,
                hints.open_world_hint,
            )
            row = EXPECTED[name]
            session = module_clinic.consult(notes=NOTES)
            token = module_clinic.tokens.grant(session, row.agent, audience=server)
            answer = caller.call(name, row.own(session), token)
            assert answer.code == "ok", answer.text
            jsonschema.validate(answer.content, tool.output_schema)
            assert json.loads(answer.text) == answer.content, "the text beside it says the same"


@pytest.fixture
def stranger() -> ServerTools:
    """A server with a tool the policies know nothing of."""
    tools = ServerTools("patient-records", title="A", instructions="B")

    @tools.tool(title="Erase", arguments=OfPatient, target=entities.patient, writes=True)
    def erase_everything(work: object, arguments: OfPatient) -> str:
        """Erase."""
        return "gone"

    return tools


def test_a_server_with_a_tool_the_policies_do_not_know_does_not_start(clinic: Clinic, stranger: ServerTools) -> None:
    with pytest.raises(Misconfigured, match="erase_everything"):
        Application(stranger, clinic.settings, "stdio")


def test_a_tool_without_a_docstring_or_a_return_type_is_not_registered() -> None:
    tools = ServerTools("x", title="X", instructions="X")
    register = tools.tool(title="T", arguments=OfPatient, target=entities.patient)

    def no_words(work: object, arguments: OfPatient) -> str:
        return ""

    def no_type(work, arguments):  # type: ignore[no-untyped-def]
        """Something."""

    for function in (no_words, no_type):
        with pytest.raises(Misconfigured):
            register(function)
