"""What the clinician signed is what may become active: compares a prescription with the signed notes.

The rule is one-sided. A prescription is active only when every line of it names a medication the clinician named,
in words and numbers the clinician wrote, and no allergy speaks against it. Anything else is kept as a draft with the
reasons, for the clinician: another drug, a substitute, another dose, an unknown word that might be a drug.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

NOTHING_PRESCRIBED = re.compile(r"no (medication|medicine|prescription)s?( (needed|required|prescribed|today))?[.]?")
"""A line that says, alone, that nothing is prescribed; a valid prescription."""

PLAIN_WORDS = frozenset(
    """and as by capsule capsules clinician doctor food from inhaler inhalers mouth notes of oral orally per
    prescription puff puffs signed tablet tablets take the to use water with""".split()
)
"""Words a line may add to the clinician's: none of them names a drug, an amount, a frequency or a duration."""


@dataclass(frozen=True)
class Medication:
    """A formulary item as the review needs it.

    Args:
        id: The item's id.
        names: Lower-case names it goes by.
        strength: What one unit holds, e.g. `500mg`.
        classes: Classes an allergy record can name.
        in_stock: Whether any unexpired unit is left.
        alternatives: Ids of listed equivalents.
    """

    id: str
    names: tuple[str, ...]
    strength: str
    classes: frozenset[str]
    in_stock: bool = True
    alternatives: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        return self.names[0].capitalize()


@dataclass(frozen=True)
class Finding:
    """A reason why a clinician must look. `severity` is `stop` or `check`."""

    code: str
    severity: str
    sentence: str

    def as_json(self) -> dict[str, str]:
        return {"code": self.code, "severity": self.severity, "sentence": self.sentence, "source": "clinic-mcp"}


@dataclass
class Review:
    """What came of the comparison: active when there are no findings."""

    items: list[Medication] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def active(self) -> bool:
        return not self.findings

    def find(self, code: str, severity: str, sentence: str) -> None:
        finding = Finding(code, severity, sentence)
        if finding not in self.findings:
            self.findings.append(finding)


def review(
    prescription: str,
    notes: str,
    formulary: Sequence[Medication],
    allergy_classes: frozenset[str],
    allergy_status: str,
) -> Review:
    """Compare a prescription with what the clinician signed.

    Args:
        prescription: The text an agent wants to record.
        notes: The clinician's signed notes.
        formulary: The clinic's medications.
        allergy_classes: Classes the patient is recorded as allergic to.
        allergy_status: `known`, `none_known` or `never_asked`.
    """
    result = Review()
    signed = {item.id: item for item in _named(notes, formulary)}
    substitutes = {
        alternative: item for item in signed.values() if not item.in_stock for alternative in item.alternatives
    }
    for line in _lines(prescription):
        named = _named(line, formulary)
        if not named and not NOTHING_PRESCRIBED.fullmatch(line):
            result.find("line-not-understood", "check", "A line of it names no medication of the formulary.")
        for item in named:
            result.items.append(item)
            _check_item(result, item, line, notes, signed, substitutes)
            _check_allergy(result, item, allergy_classes)
    if result.items and allergy_status == "never_asked":
        result.find("allergies-never-asked", "stop", "The patient's allergies were never asked for.")
    return result


def _check_item(
    result: Review,
    item: Medication,
    line: str,
    notes: str,
    signed: dict[str, Medication],
    substitutes: dict[str, Medication],
) -> None:
    if item.id in signed:
        if not item.in_stock:
            result.find("out-of-stock", "check", f"{item.label} is out of stock.")
        own = _words(" ".join((*item.names, item.strength)))
        if not _words(line) <= _words(notes) | own | PLAIN_WORDS:
            result.find("wording-not-signed", "stop", "It says something that is not in the signed notes.")
    elif item.id in substitutes:
        replaced = substitutes[item.id].label
        result.find(
            "substitute",
            "check",
            f"{item.label} stands in for {replaced}, which is out of stock: its dose needs the clinician.",
        )
    elif any(item.id in other.alternatives for other in signed.values()):
        result.find("not-signed", "stop", f"{item.label} is not in the signed notes, and what is there is in stock.")
    else:
        result.find("not-signed", "stop", f"{item.label} is not in the signed notes.")


def _check_allergy(result: Review, item: Medication, allergy_classes: frozenset[str]) -> None:
    for clash in sorted(item.classes & allergy_classes):
        result.find("allergy", "stop", f"{item.label} belongs to a class the patient is allergic to: {clash}.")


def _lines(text: str) -> list[str]:
    parts = re.split(r"[\n;]|(?<=[.!?])\s", text.lower())
    return [part for part in (" ".join(re.findall(r"[\w.,/%-]+", part)) for part in parts) if re.search(r"\w", part)]


def _named(text: str, formulary: Sequence[Medication]) -> list[Medication]:
    lowered = text.lower()
    return [item for item in formulary if any(_word(name, lowered) for name in item.names)]


def _word(name: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None


def _words(text: str) -> set[str]:
    """Words and numbers apart, `500mg` being two, so that a changed dose, frequency or duration shows."""
    return set(re.findall(r"\d+(?:[.,]\d+)?|[^\W\d_]+", text.lower()))
