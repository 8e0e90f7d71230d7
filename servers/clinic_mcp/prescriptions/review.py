"""What the clinician signed is what may become active: compares a prescription with the signed notes.

The rule is one-sided. Notes and prescription are cut into instructions, one a medication. A prescription is active only
when each of its instructions is, word for word and number for number, one of the signed ones, nothing signed is left
out, and no allergy speaks against it. Anything else is kept as a draft with the reasons, for the clinician: another
drug, a substitute, another dose, an unknown word that might be a drug, a sentence that says not to give something.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

NOTHING_PRESCRIBED = re.compile(r"no (medication|medicine|prescription)s?( (needed|required|prescribed|today))?[.]?")
"""A line that says, alone, that nothing is prescribed; a valid prescription."""

PLAIN_WORDS = frozenset(
    """a an and as by capsule capsules food from give inhaler inhalers mouth oral orally please prescribe start tablet
    tablets take the then to use water with""".split()
)
"""Words an instruction may have or leave out: none of them names a drug, an amount, a frequency or a duration."""

NEGATIONS = frozenset(
    """allergic allergy avoid cease contraindicated discontinue do don except hold instead neither never no none nor not
    omit refuse refused refuses stop stopped stopping unless without withhold""".split()
)
"""Words that may turn a sentence into one about not giving something: it then signs nothing."""


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
        atc: WHO ATC code.
        controlled: Whether only a physician may prescribe it.
    """

    id: str
    names: tuple[str, ...]
    strength: str
    classes: frozenset[str]
    in_stock: bool = True
    alternatives: tuple[str, ...] = ()
    atc: str = ""
    controlled: bool = False

    @property
    def groups(self) -> frozenset[str]:
        """The names interactions can be listed under."""
        return self.classes | frozenset(self.names)

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
    overridden: Mapping[str, frozenset[str]] = MappingProxyType({}),
) -> Review:
    """Compare a prescription with what the clinician signed.

    Args:
        prescription: The text an agent wants to record.
        notes: The clinician's signed notes.
        formulary: The clinic's medications.
        allergy_classes: Classes the patient is recorded as allergic to.
        allergy_status: `known`, `none_known` or `never_asked`.
        overridden: By guardrail, the items a physician has overridden it for in person.
    """
    result = Review()
    signed = [
        instruction
        for sentence in _sentences(notes)
        if not NEGATIONS & set(_words(sentence))
        for instruction in _instructions(sentence, formulary)
    ]
    sentences = _sentences(prescription)
    if not sentences:
        result.find("line-not-understood", "check", "It says nothing.")
    for sentence in sentences:
        if NOTHING_PRESCRIBED.fullmatch(sentence):
            continue
        found = _instructions(sentence, formulary)
        if not found:
            result.find("line-not-understood", "check", "A line of it names no medication of the formulary.")
        for instruction in found:
            result.items.append(instruction.item)
            _compare(result, instruction, signed)
            if instruction.item.id not in overridden.get("allergy", ()):
                _check_allergy(result, instruction.item, allergy_classes)
    _check_complete(result, signed)
    asked_about = {item.id for item in result.items} <= overridden.get("never_asked", frozenset())
    if allergy_status == "never_asked" and not asked_about:
        result.find("allergies-never-asked", "stop", "The patient's allergies were never asked for.")
    return result


def named_in(text: str, formulary: Sequence[Medication]) -> list[Medication]:
    """The medications of the formulary that a text names, each once, whatever it says about them."""
    found = {item.id: item for sentence in _sentences(text) for _, item in _places(sentence, formulary)}
    return list(found.values())


@dataclass(frozen=True)
class _Instruction:
    """What one sentence says about one medication: its words in order, without the plain ones."""

    item: Medication
    words: tuple[str, ...]


def _compare(result: Review, instruction: _Instruction, signed: Sequence[_Instruction]) -> None:
    item = instruction.item
    same_drug = [other for other in signed if other.item.id == item.id]
    if same_drug:
        if not item.in_stock:
            result.find("out-of-stock", "check", f"{item.label} is out of stock.")
        elif all(other.words != instruction.words for other in same_drug):
            result.find(
                "wording-not-signed", "stop", f"What it says about {item.label} is not what the signed notes say."
            )
        return
    replaced = [other.item for other in signed if item.id in other.item.alternatives and not other.item.in_stock]
    if replaced:
        result.find(
            "substitute",
            "check",
            f"{item.label} stands in for {replaced[0].label}, which is out of stock: its dose needs the clinician.",
        )
    else:
        result.find("not-signed", "stop", f"{item.label} is not in the signed notes.")


def _check_complete(result: Review, signed: Sequence[_Instruction]) -> None:
    given = {item.id for item in result.items}
    for instruction in signed:
        if not given & {instruction.item.id, *instruction.item.alternatives}:
            result.find("left-out", "check", f"{instruction.item.label} is in the signed notes and not in it.")


def _check_allergy(result: Review, item: Medication, allergy_classes: frozenset[str]) -> None:
    for clash in sorted(item.classes & allergy_classes):
        result.find("allergy", "stop", f"{item.label} belongs to a class the patient is allergic to: {clash}.")


def _sentences(text: str) -> list[str]:
    parts = re.split(r"[\n;]|(?<=[.!?])\s", text.lower())
    tidy = (" ".join(part.split()).rstrip(".!? ") for part in parts)
    return [part for part in tidy if re.search(r"\w", part)]


def _instructions(sentence: str, formulary: Sequence[Medication]) -> list[_Instruction]:
    """Cut a sentence before each medication it names; what stands before the first belongs to the first."""
    places = _places(sentence, formulary)
    instructions = []
    for number, (start, item) in enumerate(places):
        begin = 0 if number == 0 else start
        end = places[number + 1][0] if number + 1 < len(places) else len(sentence)
        before, after = _words(sentence[begin:start]), _without_label(item, _words(sentence[start:end]))
        words = tuple(word for word in (*before, *after) if word not in PLAIN_WORDS)
        instructions.append(_Instruction(item, words))
    return instructions


def _without_label(item: Medication, words: list[str]) -> list[str]:
    """The words after a medication's name and, where it stands right there, the strength its label has anyway."""
    name = next(_words(name) for name in item.names if _words(name) == words[: len(_words(name))])
    rest, strength = words[len(name) :], _words(item.strength)
    return rest[len(strength) :] if rest[: len(strength)] == strength else rest


def _places(sentence: str, formulary: Sequence[Medication]) -> list[tuple[int, Medication]]:
    found: dict[int, Medication] = {}
    for item in formulary:
        for name in item.names:
            for match in re.finditer(rf"(?<!\w){re.escape(name)}(?!\w)", sentence):
                found.setdefault(match.start(), item)
    return sorted(found.items(), key=lambda place: place[0])


def _words(text: str) -> list[str]:
    """Words and numbers apart, `500mg` being two, so that a changed dose, frequency or duration shows."""
    return re.findall(r"\d+(?:[.,]\d+)?|[^\W\d_]+", text.lower())
