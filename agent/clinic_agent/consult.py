"""One consultation from the first word to the last: the service, the graph and the people, in that order.

What a person decides is recorded at the consultations service before the graph goes on, so that whatever the graph is
made to believe, the servers hold to what was signed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.types import Command

from clinic_agent.consultations import Consultations
from clinic_agent.errors import Refused
from clinic_agent.graph import build_graph
from clinic_agent.models import model_note
from clinic_agent.settings import Settings
from clinic_agent.trace import ToolCall, Trace
from clinic_agent.usage import Usage, spent

Outcome = Literal["complete", "emergency", "waiting", "handed_over"]


@dataclass(frozen=True)
class Decision:
    """What the doctor answers: a question to the patient, or the diagnosis."""

    action: Literal["clarify", "diagnose"]
    text: str


class People(Protocol):
    """Where the human answers come from; None when nobody is there to give one."""

    def doctor(self, case: dict[str, Any]) -> Decision | None:
        """Ask the doctor what to do with the case."""

    def patient(self, question: str) -> str | None:
        """Ask the patient the doctor's question."""


class Watcher(Protocol):
    """Who is told what happens, as it happens."""

    def opened(self, session_id: str, patient_id: str) -> None:
        """Called when the consultation has its session."""

    def called(self, call: ToolCall) -> None:
        """Called after every tool call."""

    def triaged(self, state: dict[str, Any]) -> None:
        """Called when the intake is done."""

    def recorded(self, what: str, by: str) -> None:
        """Called when the service has recorded what a person decided."""


@dataclass(frozen=True)
class Result:
    """How a consultation ended, or where it waits."""

    session_id: str
    outcome: Outcome
    waits_for: str
    state: dict[str, Any]
    usage: Usage
    calls: list[ToolCall]
    model: str

    def as_dict(self) -> dict[str, Any]:
        """Return the result for JSON."""
        kept = (
            "patient_id",
            "status",
            "is_emergency",
            "triage_score",
            "triage_reason",
            "intake_summary",
            "prescription",
        )
        return {
            "session_id": self.session_id,
            "outcome": self.outcome,
            "waits_for": self.waits_for,
            **{name: self.state.get(name) for name in kept},
            "messages": self.state.get("messages", []),
            "model": self.model,
            "model_note": model_note(self.model),
            "usage": self.usage.model_dump(),
            "calls": [call.as_dict() for call in self.calls],
        }


class Consult:
    """Drives one consultation.

    Args:
        settings: which model.
        agent: the consultations service under the agent's credential.
        clinician: makes the service's client under the clinician's credential, when a clinician is first needed.
        checkpointer: where the graph waits.
        people: where the human answers come from.
        watcher: who is told what happens.
    """

    def __init__(
        self,
        settings: Settings,
        agent: Consultations,
        clinician: Callable[[], tuple[str, Consultations]],
        checkpointer: BaseCheckpointSaver[str],
        people: People,
        watcher: Watcher,
    ) -> None:
        self._settings = settings
        self._agent = agent
        self._clinician = clinician
        self._graph = build_graph(checkpointer)
        self._people = people
        self._watcher = watcher
        self._trace = Trace(watcher.called)

    def start(self, patient_id: str, symptoms: str) -> Result:
        """Open a consultation and take it as far as people answer."""
        opened = self._agent.open(patient_id, symptoms)
        session = opened.session_id
        self._watcher.opened(session, patient_id)
        first = {
            "session_id": session,
            "patient_id": patient_id,
            "symptoms": symptoms,
            "status": "intake",
            "messages": [{"role": "patient", "content": symptoms}],
        }
        return self._go(session, first)

    def resume(self, session_id: str) -> Result:
        """Take a consultation up where it waits, or where a crash left it.

        Raises:
            Refused: the checkpoints know no such consultation.
        """
        snapshot = self._graph.get_state(self._config(session_id))
        if not snapshot.values:
            raise Refused(f"There is no consultation {session_id} in these checkpoints; see CLINIC_CHECKPOINTS.")
        self._watcher.opened(session_id, snapshot.values["patient_id"])
        if snapshot.next and not snapshot.interrupts:
            return self._go(session_id, None)
        return self._follow(session_id)

    def _config(self, session_id: str) -> RunnableConfig:
        return {"configurable": {"thread_id": session_id}, "callbacks": [self._trace]}

    def _go(self, session_id: str, step: Any) -> Result:
        self._graph.invoke(step, self._config(session_id))
        return self._follow(session_id)

    def _follow(self, session_id: str) -> Result:
        """Answer the graph's pauses until it ends or nobody is there."""
        shown = False
        while True:
            snapshot = self._graph.get_state(self._config(session_id))
            state = dict(snapshot.values)
            if not shown:
                self._watcher.triaged(state)
                shown = True
            if not snapshot.next:
                return self._finish(session_id, state)
            if snapshot.next[0] == "doctor_review":
                step = self._doctor(session_id, dict(snapshot.interrupts[0].value))
            else:
                step = self._patient(session_id, state["doctor_clarification_req"])
            if step is None:
                waits_for = "doctor" if snapshot.next[0] == "doctor_review" else "patient"
                return self._result(session_id, "waiting", state, waits_for)
            self._graph.invoke(step, self._config(session_id))

    def _doctor(self, session_id: str, case: dict[str, Any]) -> Command[str] | None:
        standing = self._agent.show(session_id)
        if standing.status == "intake":
            self._agent.set_status(session_id, "awaiting_doctor")
        decision = self._people.doctor(case)
        if decision is None:
            return None
        name, clinician = self._clinician()
        if decision.action == "clarify":
            if standing.status != "clarifying":  # else: recorded, and the graph was stopped before it went on
                clinician.ask(session_id, decision.text)
            self._watcher.recorded("question", name)
            return Command(resume={"action": "clarify", "question": decision.text})
        clinician.sign_off(session_id, decision.text)
        self._watcher.recorded("sign-off", name)
        return Command(resume={"action": "diagnose", "notes": decision.text})

    def _patient(self, session_id: str, question: str) -> Command[str] | None:
        answer = self._people.patient(question)
        if answer is None:
            return None
        if self._agent.show(session_id).status == "clarifying":
            self._agent.answer(session_id, answer)
        self._watcher.recorded("answer", "the patient")
        return Command(resume=answer)

    def _finish(self, session_id: str, state: dict[str, Any]) -> Result:
        standing = self._agent.show(session_id)
        if state["status"] == "emergency":
            if standing.status == "intake":
                self._agent.set_status(session_id, "emergency")
            outcome: Outcome = "emergency"
        elif state["status"] == "complete":
            if _is_draft(state):  # the consultation stays open: a clinician signs the draft in it
                return self._result(session_id, "handed_over", state, "doctor")
            outcome = "complete"
        else:
            return self._result(session_id, "handed_over", state, "doctor")
        if standing.open:
            self._agent.close(session_id)
        return self._result(session_id, outcome, state)

    def _result(self, session_id: str, outcome: Outcome, state: dict[str, Any], waits_for: str = "") -> Result:
        usage = spent(state.get("messages", []))
        return Result(session_id, outcome, waits_for, state, usage, self._trace.calls, self._settings.model)


def _is_draft(state: dict[str, Any]) -> bool:
    """Whether the server kept what was recorded as a draft: it says so in these words."""
    return "kept as a draft" in str(state["messages"][-1].get("recorded", ""))
