"""The five clinic tools over MCP, for any LangGraph agent.

Beside a graph that says `from tools import …`, a `tools.py` of one line is all it takes::

    from clinic_agent.tools import *

Which consultation and which agent is calling comes from the LangGraph run: the thread is the session, the node is
the agent. Nothing a model passes can change either. A refusal is a value, never an exception: `{"error", "code"}`
from a tool that returns a dict, a list of one such dict, or the text `Refused (code): …`.
"""

from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, StructuredTool
from pydantic import BaseModel, ConfigDict, Field

from clinic_agent.errors import AgentError
from clinic_agent.gateway import Gateway, open_gateway
from clinic_agent.grants import Caller
from clinic_agent.values import Kind, Value, decode, refusal

__all__ = [
    "check_pharmacy_inventory",
    "get_medical_history",
    "get_patient_record",
    "record_prescription",
    "search_knowledge_base",
]

_NO_RUN = (
    "This tool only works inside a LangGraph run: the thread_id names the consultation and the node names the agent."
)


class _Arguments(BaseModel):
    # The seed's prescription node adds session_id to the arguments of every tool.
    model_config = ConfigDict(extra="ignore")


class _Patient(_Arguments):
    patient_id: str = Field(description="The patient's id, such as P001.")


class _Query(_Arguments):
    query: str = Field(description="A condition, symptom or treatment, in English.")


class _Medication(_Arguments):
    medication_name: str = Field(description="A medicine's generic or brand name.")


class _Prescription(_Arguments):
    session_id: str = Field(description="The id of this consultation's session.")
    prescription: str = Field(description="The whole prescription as text, one medicine a line.")


def _caller(config: RunnableConfig) -> Caller | None:
    session = config.get("configurable", {}).get("thread_id")
    agent = config.get("metadata", {}).get("langgraph_node")
    return Caller(str(session), str(agent)) if session and agent else None


async def _call(
    kind: Kind, server: str, name: str, arguments: dict[str, Any], caller: Caller, gateway: Gateway
) -> Value:
    try:
        return decode(kind, await gateway.call(server, name, arguments, caller))
    except AgentError as error:
        return refusal(kind, error.code, error.message)


def _tool(name: str, server: str, kind: Kind, schema: type[BaseModel], description: str) -> BaseTool:
    def call(config: RunnableConfig, **arguments: Any) -> Value:
        caller = _caller(config)
        if caller is None:
            return refusal(kind, "no_consultation", _NO_RUN)
        try:
            loop, gateway = open_gateway()
        except AgentError as error:
            return refusal(kind, error.code, error.message)
        # Grant, connection and a second try of each are bounded one by one; this bounds them as a whole.
        limit = 4 * gateway.settings.call_timeout + 120
        try:
            return loop.wait(_call(kind, server, name, arguments, caller, gateway), limit)
        except TimeoutError:
            return refusal(kind, "unavailable", f"The {server} server did not answer in time; try again.")

    async def acall(config: RunnableConfig, **arguments: Any) -> Value:
        caller = _caller(config)
        if caller is None:
            return refusal(kind, "no_consultation", _NO_RUN)
        try:
            loop, gateway = open_gateway()
        except AgentError as error:
            return refusal(kind, error.code, error.message)
        return await loop.wrap(_call(kind, server, name, arguments, caller, gateway))

    def invalid(error: Any) -> Any:
        fields = ", ".join(sorted({str(part["loc"][0]) for part in error.errors() if part["loc"]}))
        return refusal(kind, "invalid_arguments", f"Missing or of the wrong kind: {fields or 'the arguments'}.")

    return StructuredTool.from_function(
        func=call,
        coroutine=acall,
        name=name,
        description=description,
        args_schema=schema,
        handle_validation_error=invalid,
    )


get_patient_record = _tool(
    "get_patient_record",
    "patient-records",
    "dict",
    _Patient,
    "Get a patient's record: name, date of birth, blood type and known allergies."
    ' Returns {"id", "name", "dob", "blood_type", "allergies"}, or {"error", "code"} when it is refused.',
)
get_medical_history = _tool(
    "get_medical_history",
    "patient-records",
    "list",
    _Patient,
    "Get a patient's past conditions with their treatment, newest first."
    ' Returns a list of {"date", "condition", "treatment", "notes"}.',
)
search_knowledge_base = _tool(
    "search_knowledge_base",
    "knowledge-base",
    "list",
    _Query,
    "Search the clinic's medical articles about a condition, symptom, treatment or interaction."
    ' Returns a list of {"topic", "content", "category"}, or one {"note"} when nothing is found.',
)
check_pharmacy_inventory = _tool(
    "check_pharmacy_inventory",
    "pharmacy",
    "dict",
    _Medication,
    "Check whether the pharmacy has a medicine in stock, and what stands in for it when it has none."
    ' Returns {"medication", "generic_name", "in_stock", "quantity", "unit"}.',
)
record_prescription = _tool(
    "record_prescription",
    "prescriptions",
    "str",
    _Prescription,
    "Record the final prescription of this consultation; a repeat of the same one changes nothing."
    " Returns one sentence saying what was recorded, or why nothing was.",
)
