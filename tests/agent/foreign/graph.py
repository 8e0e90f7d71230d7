"""A consultation graph as somebody else wrote it, against five tools in a module called `tools`.

It is never edited: the tests put one `tools.py` or another before it on the path and compare what comes out. Its shape
is that of the Agent Clinic post (JigsawFlux, 2026): synchronous nodes, the plain tool loop, `session_id` added to the
arguments of every prescription tool, results put through `json.dumps`.
"""

import json
import re
from typing import Literal, TypedDict

from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langgraph.checkpoint.memory import MemorySaver
from langgraph.graph import END, StateGraph
from langgraph.types import interrupt
from tools import (
    check_pharmacy_inventory,
    get_medical_history,
    get_patient_record,
    record_prescription,
    search_knowledge_base,
)


class ConsultationState(TypedDict):
    session_id: str
    patient_id: str
    symptoms: str
    patient_history: dict
    intake_summary: str
    is_emergency: bool
    triage_score: int
    triage_reason: str
    doctor_clarification_req: str
    patient_clarification_ans: str
    doctor_notes: str
    prescription: str
    status: str
    messages: list


INTAKE_SYSTEM = "Summarise the case for the doctor as one JSON object."
PRESCRIPTION_SYSTEM = "Check the stock, record the prescription, answer with its text."


def _get_model():
    from clinic_agent.models import get_model

    return get_model()


def intake_agent_node(state: ConsultationState) -> dict:
    intake_tools = [get_patient_record, get_medical_history, search_knowledge_base]
    llm_with_tools = _get_model().bind_tools(intake_tools)
    tool_map = {t.name: t for t in intake_tools}
    messages = [
        SystemMessage(content=INTAKE_SYSTEM),
        HumanMessage(content=f"Patient ID: {state['patient_id']}\nSymptoms: {state['symptoms']}"),
    ]
    patient_history = {}
    for _ in range(6):
        response = llm_with_tools.invoke(messages)
        messages.append(response)
        if not getattr(response, "tool_calls", None):
            break
        for tc in response.tool_calls:
            fn = tool_map.get(tc["name"])
            if fn:
                result = fn.invoke(tc["args"])
                if tc["name"] == "get_patient_record" and isinstance(result, dict) and "error" not in result:
                    patient_history.update(result)
                elif tc["name"] == "get_medical_history" and isinstance(result, list):
                    patient_history["history"] = result
                messages.append(ToolMessage(content=json.dumps(result), tool_call_id=tc["id"]))
    found = re.search(r"\{.*\}", response.content, re.DOTALL)
    parsed = json.loads(found.group()) if found else {}
    emergency = bool(parsed.get("is_emergency", False))
    return {
        "patient_history": patient_history,
        "intake_summary": parsed.get("intake_summary", response.content),
        "is_emergency": emergency,
        "triage_score": int(parsed.get("triage_score", 2)),
        "triage_reason": parsed.get("triage_reason", ""),
        "status": "emergency" if emergency else "awaiting_doctor",
        "messages": [*state.get("messages", []), {"role": "assistant", "content": parsed.get("patient_message", "")}],
    }


def emergency_protocol_node(state: ConsultationState) -> dict:
    message = {"role": "emergency", "content": "Call emergency services now."}
    return {"status": "emergency", "messages": [*state.get("messages", []), message]}


def should_escalate(state) -> Literal["emergency_protocol", "doctor_review"]:
    return "emergency_protocol" if state.get("is_emergency") else "doctor_review"


def doctor_review_node(state: ConsultationState) -> dict:
    context = {
        "session_id": state["session_id"],
        "patient_id": state["patient_id"],
        "intake_summary": state["intake_summary"],
        "patient_history": state["patient_history"],
    }
    if state.get("patient_clarification_ans"):
        context["clarification"] = {
            "question": state["doctor_clarification_req"],
            "answer": state["patient_clarification_ans"],
        }
    doctor_input = interrupt(context)
    if doctor_input.get("action") == "clarify":
        return {
            "doctor_clarification_req": doctor_input["question"],
            "patient_clarification_ans": "",
            "status": "clarifying",
        }
    return {"doctor_notes": doctor_input.get("notes", ""), "doctor_clarification_req": "", "status": "prescribing"}


def should_clarify(state) -> Literal["clarification_agent", "prescription_agent"]:
    return "clarification_agent" if state.get("doctor_clarification_req") else "prescription_agent"


def clarification_agent_node(state: ConsultationState) -> dict:
    question = {"role": "doctor_question", "content": state["doctor_clarification_req"]}
    answer = interrupt({"question": state["doctor_clarification_req"], "for_patient": True})
    messages = [*state.get("messages", []), question, {"role": "patient", "content": answer}]
    return {"patient_clarification_ans": answer, "status": "awaiting_doctor", "messages": messages}


def prescription_agent_node(state: ConsultationState) -> dict:
    prescription_tools = [check_pharmacy_inventory, record_prescription]
    llm_with_tools = _get_model().bind_tools(prescription_tools)
    tool_map = {t.name: t for t in prescription_tools}
    messages = [
        SystemMessage(content=PRESCRIPTION_SYSTEM),
        HumanMessage(
            content=(
                f"Doctor's notes: {state['doctor_notes']}\n"
                f"Patient symptoms: {state['symptoms']}\n"
                f"Patient history: {json.dumps(state['patient_history'])}\n\n"
                f"Record the prescription with session_id='{state['session_id']}'."
            )
        ),
    ]
    for _ in range(6):
        response = llm_with_tools.invoke(messages)
        messages.append(response)
        if not getattr(response, "tool_calls", None):
            break
        for tc in response.tool_calls:
            fn = tool_map.get(tc["name"])
            if fn:
                result = fn.invoke({**tc["args"], "session_id": state["session_id"]})
                messages.append(ToolMessage(content=json.dumps(result), tool_call_id=tc["id"]))
    text = response.content
    return {
        "prescription": text,
        "status": "complete",
        "messages": [*state.get("messages", []), {"role": "prescription", "content": text}],
    }


def build_graph():
    workflow = StateGraph(ConsultationState)
    workflow.add_node("intake_agent", intake_agent_node)
    workflow.add_node("emergency_protocol", emergency_protocol_node)
    workflow.add_node("doctor_review", doctor_review_node)
    workflow.add_node("clarification_agent", clarification_agent_node)
    workflow.add_node("prescription_agent", prescription_agent_node)
    workflow.set_entry_point("intake_agent")
    workflow.add_conditional_edges("intake_agent", should_escalate)
    workflow.add_edge("emergency_protocol", END)
    workflow.add_conditional_edges("doctor_review", should_clarify)
    workflow.add_edge("clarification_agent", "doctor_review")
    workflow.add_edge("prescription_agent", END)
    return workflow.compile(checkpointer=MemorySaver())
