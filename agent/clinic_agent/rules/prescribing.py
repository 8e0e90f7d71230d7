"""From a doctor's notes and the pharmacy's answers to the text of a prescription; no dose is ever made up."""

import re
from typing import Any

from clinic_agent.rules.text import fold

CANDIDATES = 6

_DOSE = r"\d+(?:[.,]\d+)?\s*(?:mg|mcg|µg|g|ml|iu|units?|tablets?|capsules?|puffs?|drops?|comprimes?|comprimidos?)\b"
_BEFORE_DOSE = re.compile(rf"\b([a-z][a-z-]{{3,}})\s+{_DOSE}")
_BEFORE_FORM = re.compile(
    r"\b([a-z][a-z-]{3,})\s+(?:tablets?|capsules?|syrup|inhaler|cream|ointment|suspension|sachets?|solution|drops|once|twice"
    r"|daily|three times|every)\b"
)
_NAME_ENDING = re.compile(
    r"\b([a-z][a-z-]{2,}(?:cillin|mycin|micin|cycline|floxacin|azole|profen|fenac|amol|mol|pril|sartan|statin|olol|dipine|formin"
    r"|gliptin|prazole|tidine|tadine|rizine|azide|semide|lukast|sone|solone|caine|vir|quine|quone|ether|bendazole|mectin"
    r"|oxacin|xaban|parin|pirin|sulfate|salts|insulin|cetamol|butamol|gliclazide|pam|zepam|dol|dine|lone|fen))\b"
)
_AFTER_VERB = re.compile(
    r"\b(?:prescribe|give|start|continue|take|recommend|prescrire|donner|prendre|recetar|dar|tomar|with|plus|add)\s+(?:oral\s+)?([a-z][a-z-]{3,})\b"
)
_NOT_NAMES = frozenset(
    "take give with plus oral once twice daily every then tablet tablets capsule capsules dose doses rest"
    " fluids water patient doctor diagnosis pain fever headache days day week weeks hours needed food milk"
    " therapy treatment course antibiotics antibiotic medicine medication paracetemol symptoms review"
    " follow infection acute chronic mild severe moderate history allergy allergic penicillin-allergic"
    " nothing none plenty supportive care analgesia them this that these their some three four five"
    " maximum minimum about after before meals night morning start first second time times drink".split()
)


def candidates(notes: str) -> list[str]:
    """Return the words of the notes that may name a medicine, in their order, at most six."""
    text = fold(notes)
    found: dict[str, int] = {}
    for pattern in (_BEFORE_DOSE, _BEFORE_FORM, _NAME_ENDING, _AFTER_VERB):
        for match in pattern.finditer(text):
            if match.group(1) not in _NOT_NAMES:
                found.setdefault(match.group(1), match.start(1))
    return sorted(found, key=lambda word: found[word])[:CANDIDATES]


def unmistakable(notes: str) -> frozenset[str]:
    """Return the candidates that have a dose or a medicine's ending: the doctor prescribes them, known here or not."""
    text = fold(notes)
    found = {match.group(1) for pattern in (_BEFORE_DOSE, _NAME_ENDING) for match in pattern.finditer(text)}
    return frozenset(found - _NOT_NAMES)


def is_stocked_item(result: Any) -> bool:
    """Say whether the pharmacy knows the medicine at all."""
    return isinstance(result, dict) and "error" not in result and bool(result.get("generic_name"))


def alternatives(result: dict[str, Any]) -> list[str]:
    """Return the names of what the pharmacy offers instead, in its order."""
    offered = result.get("alternatives", result.get("alternative", []))
    if isinstance(offered, (str, dict)):
        offered = [offered]
    names = [
        str(item.get("medication") or item.get("generic_name") or item.get("name") or "")
        if isinstance(item, dict)
        else str(item)
        for item in (offered if isinstance(offered, list) else [])
    ]
    return [name for name in names if name]


def instruction(notes: str, name: str) -> str:
    """Return the part of the notes that says how the named medicine is taken; empty when it says nothing."""
    for part in re.split(r"[;\n]|\.(?!\d)", notes):
        at = fold(part).find(fold(name))
        if at >= 0:
            tail = re.split(r",?\s+(?:and|plus|then|et|y)\s+(?=[A-Za-z]{4,}\s+\d)", part[at:])[0]
            return tail.strip(" ,.")
    return ""


def write_prescription(notes: str, stock: dict[str, Any]) -> str:
    """Write the prescription, one medicine a line.

    Nothing is added to the doctor's own words beside a substitution: the prescriptions server keeps a line that says
    more than was signed as a draft. Nothing is left out either: a medicine the pharmacy does not know stays in, and
    the server keeps that as a draft too.

    Args:
        notes: what the doctor signed.
        stock: the pharmacy's answer for each name that was checked, alternatives included.
    """
    lines = []
    for name in candidates(notes):
        result: dict[str, Any] = stock.get(fold(name)) or {}
        if not is_stocked_item(result):
            if name in unmistakable(notes):
                lines.append(instruction(notes, name))
            continue
        if result.get("in_stock"):
            lines.append(instruction(notes, name) or str(result.get("medication", name)))
        else:
            lines.append(_substituted(name, result, stock))
    if not lines:
        lines.append("No medication")
    return "\n".join(lines)


def _substituted(name: str, result: dict[str, Any], stock: dict[str, Any]) -> str:
    wanted = name.capitalize()
    for other in alternatives(result):
        if (stock.get(fold(other)) or {}).get("in_stock"):
            return f"{other} in place of {wanted}, which is out of stock, and the doctor confirms the dose"
    return f"{wanted} is out of stock and the pharmacy names no alternative in stock, so the doctor decides"
