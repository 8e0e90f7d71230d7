"""No tool without a policy action, an audit expectation, its annotations and a true description of its result."""

from __future__ import annotations

import json
import re

import jsonschema
import pytest
from clinic_mcp.core import suite
from clinic_mcp.core.app import Application
from clinic_mcp.core.errors import Misconfigured
from clinic_mcp.core.policy import QUESTIONS, PolicySet
from clinic_mcp.core.tool import ServerTools, Tool
from clinic_mcp.patient_records import entities
from clinic_mcp.patient_records.arguments import OfPatient
from clinic_mcp.registry import SERVERS
from support.calls import EXPECTED, NOTES
from support.clinic import Clinic
from support.servers import connected

TOOLS = {name: tool for load in SERVERS.values() for name, tool in load().tools.items()}
each_tool = pytest.mark.parametrize("tool", TOOLS.values(), ids=TOOLS)


def test_every_action_has_a_tool_and_every_tool_an_action() -> None:
    assert PolicySet.load().actions.keys() - QUESTIONS == set(TOOLS)


def test_the_suites_list_of_tools_is_the_servers_own() -> None:
    assert {name: tuple(load().tools) for name, load in SERVERS.items()} == suite.TOOLS


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
        if field["type"] == "integer":
            assert field.keys() >= {"minimum", "maximum"}, f"{name} has no bounds"
        else:
            assert field["type"] == "string", f"{name}: bound every kind of value here when the first one comes"
            bounded = field.keys() & {"maxLength", "enum"} or field.get("pattern", "").endswith("}$")
            assert bounded, f"{name} has no maximum"
        assert field["description"]


@each_tool
def test_the_log_keeps_no_text_a_caller_chooses_freely(tool: Tool[object]) -> None:
    """What is kept as it is has a pattern, a fixed set of values, or is a number."""
    for name in tool.kept:
        field = tool.input_schema["properties"][name]
        assert field["type"] == "integer" or (field.keys() & {"enum"} or "{" in field.get("pattern", ""))


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
            answer = caller.call(name, row.own(module_clinic, session), row.right(module_clinic, session))
            assert answer.code == "ok", answer.text
            jsonschema.validate(answer.content, tool.output_schema)
            assert json.loads(answer.text) == answer.content, "the text beside it says the same"


@pytest.fixture
def stranger() -> ServerTools:
    """A server with a tool the policies know nothing of."""
    tools = ServerTools("patient-records", title="A", instructions="B")

    @tools.tool(title="Erase", arguments=OfPatient, target=entities.record, writes=True)
    def erase_everything(work: object, arguments: OfPatient) -> str:
        """Erase."""
        return "gone"

    return tools


def test_a_server_with_a_tool_the_policies_do_not_know_does_not_start(clinic: Clinic, stranger: ServerTools) -> None:
    with pytest.raises(Misconfigured, match="erase_everything"):
        Application(stranger, clinic.settings, "stdio")


def test_a_tool_without_a_docstring_or_a_return_type_is_not_registered() -> None:
    tools = ServerTools("x", title="X", instructions="X")
    register = tools.tool(title="T", arguments=OfPatient, target=entities.record)

    def no_words(work: object, arguments: OfPatient) -> str:
        return ""

    def no_type(work, arguments):  # type: ignore[no-untyped-def]
        """Something."""

    for function in (no_words, no_type):
        with pytest.raises(Misconfigured):
            register(function)
