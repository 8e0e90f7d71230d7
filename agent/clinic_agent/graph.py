"""The consultation as a graph: five nodes, two pauses for people.

    intake_agent ─ emergency ─▶ emergency_protocol
         └─ otherwise ─▶ doctor_review ⇄ clarification_agent
                              └─ diagnosed ─▶ prescription_agent

The nodes know the five tools and the model factory, nothing else of the clinic.
"""

import json
from typing import Any, Literal

from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import interrupt

from clinic_agent.errors import CeilingReached, ModelProblem, Unavailable
from clinic_agent.loop import Conversation
from clinic_agent.models import get_model
from clinic_agent.prompts import ASK_AGAIN, INTAKE_SYSTEM, PRESCRIPTION_SYSTEM
from clinic_agent.replies import UNREADABLE_NOTE, IntakeReply, UnreadableReply, read_intake_reply, safe_side
from clinic_agent.settings import load_settings
from clinic_agent.state import ConsultationState
from clinic_agent.tools import (
    check_pharmacy_inventory,
    get_medical_history,
    get_patient_record,
    record_prescription,
    search_knowledge_base,
)
from clinic_agent.trace import outcome_of
from clinic_agent.usage import spent

EMERGENCY_MESSAGE = (
    "This may be a medical emergency. Call your local emergency number or get to the nearest hospital now; do not wait"
    " for this consultation."
)
CEILING_NOTE = "The consultation reached its ceiling for the model; the doctor takes over from here."


def intake_agent_node(state: ConsultationState) -> ConsultationState:
    """Read the record, the history and the articles, and sum the case up for the doctor."""
    settings = load_settings()
    history: dict[str, Any] = {}

    def keep(name: str, arguments: dict[str, Any], result: Any) -> None:
        if name == "get_patient_record" and isinstance(result, dict) and "error" not in result:
            history.update(result)
        elif name == "get_medical_history" and isinstance(result, list):
            history["history"] = [entry for entry in result if "error" not in entry]

    conversation = Conversation(
        settings=settings,
        llm=get_model(settings),
        tools=[get_patient_record, get_medical_history, search_knowledge_base],
        messages=[
            SystemMessage(content=INTAKE_SYSTEM),
            HumanMessage(content=f"Patient ID: {state['patient_id']}\nSymptoms: {state['symptoms']}"),
        ],
        already_spent=spent(state.get("messages", [])).cost_usd,
        on_result=keep,
    )
    reply = _intake_reply(conversation, state["symptoms"])
    said = {"role": "assistant", "agent": "intake_agent", "content": reply.patient_message}
    return {
        "patient_history": history,
        "intake_summary": reply.intake_summary,
        "is_emergency": reply.is_emergency,
        "triage_score": reply.triage_score,
        "triage_reason": reply.triage_reason,
        "status": "emergency" if reply.is_emergency else "awaiting_doctor",
        "messages": [*state.get("messages", []), {**said, "usage": conversation.usage.model_dump()}],
    }


def _intake_reply(conversation: Conversation, symptoms: str) -> IntakeReply:
    try:
        try:
            return read_intake_reply(conversation.run())
        except UnreadableReply as problem:
            conversation.messages.append(HumanMessage(content=ASK_AGAIN.format(problem=problem)))
            return read_intake_reply(conversation.run())
    except UnreadableReply:
        return safe_side(symptoms, UNREADABLE_NOTE)
    except CeilingReached:
        return safe_side(symptoms, CEILING_NOTE)
    except ModelProblem as problem:
        return safe_side(symptoms, f"There is no answer from the model: {problem.message}")


def emergency_protocol_node(state: ConsultationState) -> ConsultationState:
    """Send the patient to emergency care."""
    said = {"role": "emergency", "content": EMERGENCY_MESSAGE}
    return {"status": "emergency", "messages": [*state.get("messages", []), said]}


def doctor_review_node(state: ConsultationState) -> ConsultationState:
    """Pause until a doctor diagnoses or asks the patient a question."""
    case: dict[str, Any] = {
        "session_id": state["session_id"],
        "patient_id": state["patient_id"],
        "intake_summary": state["intake_summary"],
        "patient_history": state["patient_history"],
    }
    asked = [message["content"] for message in state["messages"] if message.get("role") == "doctor_question"]
    if state.get("patient_clarification_ans") and asked:
        case["clarification"] = {"question": asked[-1], "answer": state["patient_clarification_ans"]}
    decision = interrupt(case)
    if decision.get("action") == "clarify":
        return {
            "doctor_clarification_req": decision["question"],
            "patient_clarification_ans": "",
            "status": "clarifying",
        }
    return {"doctor_notes": decision.get("notes", ""), "doctor_clarification_req": "", "status": "prescribing"}


def clarification_agent_node(state: ConsultationState) -> ConsultationState:
    """Pause until the patient answers the doctor's question."""
    question = state["doctor_clarification_req"]
    answer = str(interrupt({"question": question, "for_patient": True}))
    said = [{"role": "doctor_question", "content": question}, {"role": "patient", "content": answer}]
    return {
        "patient_clarification_ans": answer,
        "doctor_clarification_req": "",
        "status": "awaiting_doctor",
        "messages": [*state.get("messages", []), *said],
    }


def prescription_agent_node(state: ConsultationState) -> ConsultationState:
    """Check the stock of what the doctor named and record the prescription.

    Raises:
        Unavailable: a server did not answer and nothing was recorded; the graph waits before this node.
    """
    settings = load_settings()
    recorded: list[str] = []
    sentences: list[str] = []
    refusals: list[str] = []
    unanswered: list[str] = []

    def keep(name: str, arguments: dict[str, Any], result: Any) -> None:
        code, message = outcome_of(result)
        if code == "unavailable":
            unanswered.append(message)
        if name == "record_prescription":
            if str(result).startswith("Refused ("):
                refusals.append(str(result))
            else:
                recorded.append(str(arguments["prescription"]))
                sentences.append(str(result))

    answered = state.get("patient_clarification_ans")
    conversation = Conversation(
        settings=settings,
        llm=get_model(settings),
        tools=[check_pharmacy_inventory, record_prescription],
        messages=[
            SystemMessage(content=PRESCRIPTION_SYSTEM),
            HumanMessage(
                content=f"Doctor's notes: {state['doctor_notes']}\n"
                + (f"Patient answered the doctor's question: {answered}\n" if answered else "")
                + f"Patient symptoms: {state['symptoms']}\n"
                f"Patient history: {json.dumps(state['patient_history'])}\n"
                f"Write the prescription and record it with session_id='{state['session_id']}'."
            ),
        ],
        already_spent=spent(state.get("messages", [])).cost_usd,
        also={"session_id": state["session_id"]},
        on_result=keep,
    )
    try:
        conversation.run()
        why = refusals[-1] if refusals else "The agent recorded no prescription."
    except CeilingReached:
        why = CEILING_NOTE
    if unanswered and not recorded:
        # The sign-off stays good: ending here would leave it without a prescription for ever.
        raise Unavailable(
            f"Nothing is prescribed yet: {unanswered[-1]} Then go on with `clinic-agent resume {state['session_id']}`."
        )
    said = {"role": "prescription", "agent": "prescription_agent", "content": recorded[-1] if recorded else ""}
    if recorded:
        said = {**said, "recorded": sentences[-1]}
    else:
        said = {**said, "role": "notice", "content": f"Nothing was prescribed; the doctor takes over. {why}"}
    return {
        "prescription": recorded[-1] if recorded else "",
        "status": "complete" if recorded else "awaiting_doctor",
        "messages": [*state.get("messages", []), {**said, "usage": conversation.usage.model_dump()}],
    }


def route_after_intake(state: ConsultationState) -> Literal["emergency_protocol", "doctor_review"]:
    """An emergency goes to emergency care, everything else to the doctor."""
    return "emergency_protocol" if state.get("is_emergency") else "doctor_review"


def route_after_review(state: ConsultationState) -> Literal["clarification_agent", "prescription_agent"]:
    """A question goes to the patient, a diagnosis to the prescription."""
    return "clarification_agent" if state.get("doctor_clarification_req") else "prescription_agent"


def build_graph(
    checkpointer: BaseCheckpointSaver[str] | None = None,
) -> CompiledStateGraph[ConsultationState, None, ConsultationState, ConsultationState]:
    """Assemble the consultation.

    Args:
        checkpointer: where paused consultations are kept; None keeps them in memory only.
    """
    if checkpointer is None:
        from langgraph.checkpoint.memory import InMemorySaver

        checkpointer = InMemorySaver()
    workflow = StateGraph(ConsultationState)
    workflow.add_node("intake_agent", intake_agent_node)
    workflow.add_node("emergency_protocol", emergency_protocol_node)
    workflow.add_node("doctor_review", doctor_review_node)
    workflow.add_node("clarification_agent", clarification_agent_node)
    workflow.add_node("prescription_agent", prescription_agent_node)
    workflow.set_entry_point("intake_agent")
    workflow.add_conditional_edges("intake_agent", route_after_intake)
    workflow.add_edge("emergency_protocol", END)
    workflow.add_conditional_edges("doctor_review", route_after_review)
    workflow.add_edge("clarification_agent", "doctor_review")
    workflow.add_edge("prescription_agent", END)
    return workflow.compile(checkpointer=checkpointer)
