"""From what a patient says to a triage score, by the rules of `red_flags`."""

from dataclasses import dataclass

from clinic_agent.rules.red_flags import RULES, Rule
from clinic_agent.rules.text import fold, says

_OVER_50 = 50


@dataclass(frozen=True)
class Triage:
    """The outcome: what was found, whether it is an emergency, and the score from 1 to 5 with its reason."""

    findings: tuple[Rule, ...]
    is_emergency: bool
    score: int
    reason: str

    @property
    def labels(self) -> list[str]:
        """What was found, in English, the gravest first."""
        return [rule.label for rule in self.findings]


def triage(symptoms: str, age: int | None = None) -> Triage:
    """Judge the symptoms a patient reports.

    Args:
        symptoms: the patient's words, in English, French or Spanish.
        age: in years; None where it is not known.
    """
    text = fold(symptoms)
    found = sorted((rule for rule in RULES if says(text, rule.pattern)), key=_gravity)
    ids = {rule.id for rule in found}
    reason = _combination(ids, age)
    if found and found[0].level == "emergency":
        reason = f"{found[0].label.capitalize()} ({found[0].source})."
    if reason:
        return Triage(tuple(found), True, 5, reason)
    if not found:
        return Triage((), False, 3, "No rule matches these words, so the doctor should look at them (score 3).")
    first = found[0]
    assert first.level != "emergency"  # said above
    return Triage(tuple(found), False, first.level, f"{first.label.capitalize()} ({first.source}).")


def _gravity(rule: Rule) -> int:
    return -6 if rule.level == "emergency" else -rule.level


def _combination(ids: set[str], age: int | None) -> str:
    """Findings that are an emergency only together (Interagency Integrated Triage Tool, 2020, red criteria)."""
    if "chest_pain" in ids and ids & {"radiation", "sweating"}:
        return "Chest pain that reaches the arm or jaw, or comes with sweating (the clinic's emergency indicators)."
    if "chest_pain" in ids and age is not None and age > _OVER_50:
        return "Chest pain over the age of 50 (IITT)."
    if "chest_pain" in ids and ids & {"short_of_breath", "fainting"}:
        return "Chest pain with shortness of breath or fainting (IITT)."
    meningeal = ids & {"stiff_neck", "confusion"}
    if meningeal and (len(meningeal) > 1 or ids & {"fever", "high_fever", "headache"}):
        return "Stiff neck or confusion together with fever or headache (IITT)."
    return ""
