"""What the terminal shows of a consultation, and how it asks."""

import json
from typing import Any

from rich.console import Console
from rich.markup import escape

from clinic_agent.consult import Decision, Result
from clinic_agent.models import model_note
from clinic_agent.trace import ToolCall

_TRIAGE = {1: "routine", 2: "minor", 3: "moderate", 4: "severe", 5: "urgent"}


class Screen:
    """Tells a person what happens; with `quiet` it says nothing, for JSON output.

    Args:
        model: as CLINIC_MODEL names it.
        quiet: say nothing.
    """

    def __init__(self, model: str, quiet: bool = False) -> None:
        self._model = model
        self._console = Console(quiet=quiet, highlight=False, soft_wrap=True)

    def opened(self, session_id: str, patient_id: str) -> None:
        """Show whose consultation it is and who answers."""
        note = model_note(self._model)
        self._console.print(f"[bold]Consultation[/] {escape(session_id)} about {escape(patient_id)}")
        self._console.print(f"Model: {escape(self._model)}. {note}".rstrip(), style="dim")

    def called(self, call: ToolCall) -> None:
        """Show one tool call with its outcome."""
        line = f"  {call.agent} → {call.tool}: "
        if call.outcome == "allowed":
            self._console.print(f"{escape(line)}[green]allowed[/]")
        else:
            self._console.print(f"{escape(line)}[red]refused ({escape(call.code)})[/] {escape(call.message)}")

    def triaged(self, state: dict[str, Any]) -> None:
        """Show the triage and what the doctor reads."""
        score = state.get("triage_score", 0)
        level = "EMERGENCY" if state.get("is_emergency") else f"{score} ({_TRIAGE.get(score, '?')})"
        self._console.print(f"[bold]Triage[/] {level}: {escape(str(state.get('triage_reason', '')))}")
        self._console.print(f"[bold]For the doctor[/] {escape(str(state.get('intake_summary', '')))}")
        for message in state.get("messages", []):
            if message.get("role") in ("assistant", "emergency"):
                self._console.print(f"[bold]To the patient[/] {escape(str(message['content']))}")

    def recorded(self, what: str, by: str) -> None:
        """Show that a person's decision is on record."""
        self._console.print(
            f"[bold]{escape(what.capitalize())}[/] by {escape(by)} recorded at the consultations service"
        )

    def ended(self, result: Result) -> None:
        """Show how it ended, and what to do where it waits."""
        say = self._console.print
        if result.outcome in ("complete", "handed_over") and "recorded" in result.state["messages"][-1]:
            say(f"[bold]Prescription[/]\n{escape(result.state.get('prescription', ''))}")
            say(escape(str(result.state["messages"][-1].get("recorded", ""))))
        elif result.outcome == "emergency":
            say("[bold red]Emergency[/]: the patient was told to call for help now; the doctor's queue was not used.")
        elif result.outcome == "handed_over":
            say(escape(str(result.state["messages"][-1]["content"])))
        else:
            option = '--diagnose "…" (or --ask "…")' if result.waits_for == "doctor" else '--answer "…"'
            say(f"Waiting for the {result.waits_for}. Go on with: clinic-agent resume {result.session_id} {option}")
        usage = result.usage
        price = "" if usage.price_known else " (price not known: counted at the dearest listed)"
        tokens = f"{usage.input_tokens} tokens in, {usage.output_tokens} out"
        say(f"Model: {usage.calls} calls, {tokens}, ${usage.cost_usd:.4f}{price}", style="dim")


class Terminal:
    """The human answers: given as options, else asked for at the terminal, else none.

    Args:
        diagnose: the doctor's notes.
        ask: the doctor's question, asked before the diagnosis.
        answer: the patient's answer.
        interactive: whether a person can be asked.
    """

    def __init__(self, diagnose: str | None, ask: str | None, answer: str | None, interactive: bool) -> None:
        self._diagnose = diagnose
        self._ask = ask
        self._answer = answer
        self._interactive = interactive

    def doctor(self, case: dict[str, Any]) -> Decision | None:
        """Return the doctor's decision."""
        if self._ask is not None:
            question, self._ask = self._ask, None
            return Decision("clarify", question)
        if self._diagnose is not None:
            return Decision("diagnose", self._diagnose)
        if not self._interactive:
            return None
        if "clarification" in case:
            print(f"The patient answered: {case['clarification']['answer']}")
        notes = input("Doctor: diagnosis and treatment (or `? question` to ask the patient): ").strip()
        if not notes:
            return None
        return Decision("clarify", notes[1:].strip()) if notes.startswith("?") else Decision("diagnose", notes)

    def patient(self, question: str) -> str | None:
        """Return the patient's answer."""
        if self._answer is not None:
            answer, self._answer = self._answer, None
            return answer
        if not self._interactive:
            return None
        return input(f"Patient: {question} ").strip() or None


def print_json(value: Any) -> None:
    """Print one JSON document."""
    print(json.dumps(value, ensure_ascii=False, indent=2))
