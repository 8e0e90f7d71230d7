"""The chat model made of rules: it calls the tools a language model would call and writes the same JSON."""

import json
import re
import uuid
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolCall, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool

from clinic_agent.models import RULES_NOTE
from clinic_agent.rules.language import EMERGENCY, NOT_A_MODEL, RECEIVED, language_of
from clinic_agent.rules.prescribing import alternatives, candidates, is_stocked_item, write_prescription
from clinic_agent.rules.text import fold
from clinic_agent.rules.triage import Triage, triage

_INTAKE = re.compile(r"\APatient ID: (?P<patient>[^\n]*)\nSymptoms: (?P<symptoms>.*)\Z", re.DOTALL)
_NOTES = re.compile(
    r"\ADoctor's notes: (?P<notes>.*?)(?=\n(?:Patient answered|Doctor asked|Patient symptoms:))", re.DOTALL
)
_SESSION = re.compile(r"session_id='(?P<session>[^']*)'")
_QUERY_LIMIT = 200


class RulesModel(BaseChatModel):
    """A stand-in for a language model: the same answer to the same question, with no account and no network."""

    @property
    def _llm_type(self) -> str:
        return "clinic-rules"

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind the tools; the rules look only at their names."""
        return self.bind(tool_names=[tool.name for tool in tools if isinstance(tool, BaseTool)])

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        names = kwargs.get("tool_names", [])
        asked = next((str(message.text) for message in messages if isinstance(message, HumanMessage)), "")
        results = _results(messages)
        answer = _prescribe(asked, results) if "record_prescription" in names else _take_in(asked, results, names)
        answer.response_metadata = {"model_name": "rules", "note": RULES_NOTE}
        answer.usage_metadata = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
        return ChatResult(generations=[ChatGeneration(message=answer)])


def _results(messages: Sequence[BaseMessage]) -> list[tuple[ToolCall, Any]]:
    """Pair every tool call of the conversation with its result."""
    calls = {call["id"]: call for message in messages if isinstance(message, AIMessage) for call in message.tool_calls}
    return [
        (calls[message.tool_call_id], _value(str(message.text)))
        for message in messages
        if isinstance(message, ToolMessage) and message.tool_call_id in calls
    ]


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _is_error(result: Any) -> bool:
    return isinstance(result, dict) and "error" in result


def _calls(*calls: tuple[str, dict[str, Any]]) -> AIMessage:
    return AIMessage(
        content="",
        tool_calls=[ToolCall(name=name, args=args, id=f"call_{uuid.uuid4().hex[:12]}") for name, args in calls],
    )


def _take_in(asked: str, results: list[tuple[ToolCall, Any]], names: Sequence[str]) -> AIMessage:
    match = _INTAKE.match(asked)
    patient, symptoms = (match["patient"].strip(), match["symptoms"].strip()) if match else ("", asked)
    found = triage(symptoms)
    if not results and "get_patient_record" in names:
        query = " ".join(found.labels)[:_QUERY_LIMIT] or " ".join(symptoms.split())[:_QUERY_LIMIT]
        return _calls(
            ("get_patient_record", {"patient_id": patient}),
            ("get_medical_history", {"patient_id": patient}),
            ("search_knowledge_base", {"query": query}),
        )
    answers = {call["name"]: result for call, result in results}
    record = answers.get("get_patient_record")
    found = triage(symptoms, _age(record))
    language = language_of(symptoms)
    reply = {
        "intake_summary": _summary(symptoms, found, record, answers),
        "is_emergency": found.is_emergency,
        "triage_score": found.score,
        "triage_reason": found.reason,
        "patient_message": f"{(EMERGENCY if found.is_emergency else RECEIVED)[language]} {NOT_A_MODEL[language]}",
    }
    return AIMessage(content=json.dumps(reply, ensure_ascii=False))


def _age(record: Any) -> int | None:
    try:
        born = date.fromisoformat(str(record["dob"]))
    except (TypeError, KeyError, ValueError):
        return None
    today = date.today()
    return today.year - born.year - ((today.month, today.day) < (born.month, born.day))


def _summary(symptoms: str, found: Triage, record: Any, answers: dict[str, Any]) -> str:
    sentences = [f"The patient reports: {symptoms.rstrip('.')[:1500]}."]
    sentences.append(f"Recognised: {', '.join(found.labels)}." if found.labels else "No listed symptom was recognised.")
    if isinstance(record, dict) and "error" not in record:
        name, allergies = record.get("name", "The patient"), record.get("allergies") or "none"
        sentences.append(f"{name}; allergies on record: {allergies}.")
    else:
        sentences.append("The patient's record could not be read.")
    history = answers.get("get_medical_history")
    past = [entry for entry in history if "error" not in entry] if isinstance(history, list) else []
    if past:
        listed = "; ".join(f"{item.get('condition')} ({item.get('date')})" for item in past[:4])
        sentences.append(f"History: {listed}.")
    articles = answers.get("search_knowledge_base")
    topics = [str(item["topic"]) for item in articles if "topic" in item] if isinstance(articles, list) else []
    if topics:
        sentences.append(f"Articles: {', '.join(topics[:3])}.")
    return " ".join([*sentences, RULES_NOTE])


def _prescribe(asked: str, results: list[tuple[ToolCall, Any]]) -> AIMessage:
    notes_match, session_match = _NOTES.match(asked), _SESSION.search(asked[asked.rfind("\n") :])
    notes = notes_match["notes"].strip() if notes_match else asked
    recorded = [(call, result) for call, result in results if call["name"] == "record_prescription"]
    if recorded:
        call, result = recorded[-1]
        if str(result).startswith("Refused ("):
            return AIMessage(content=f"The prescription was not recorded. {result}")
        return AIMessage(content=str(call["args"]["prescription"]))
    stock = {fold(str(call["args"].get("medication_name", ""))): result for call, result in results}
    wanted = candidates(notes)
    for result in [stock.get(fold(name)) for name in wanted]:
        if is_stocked_item(result) and isinstance(result, dict) and not result.get("in_stock"):
            wanted = [*wanted, *alternatives(result)[:3]]
    unchecked = [name for name in dict.fromkeys(wanted) if fold(name) not in stock]
    if unchecked:
        return _calls(*[("check_pharmacy_inventory", {"medication_name": name}) for name in unchecked])
    unanswered = [name for name in wanted if _is_error(stock[fold(name)])]
    if unanswered:
        return AIMessage(content=f"The prescription was not recorded: no answer about the stock of {unanswered[0]}.")
    session = session_match["session"] if session_match else ""
    return _calls(("record_prescription", {"session_id": session, "prescription": write_prescription(notes, stock)}))
