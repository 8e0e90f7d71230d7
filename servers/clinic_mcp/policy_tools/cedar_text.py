"""A condition in Cedar's JSON form as a person writes it: without the parentheses the engine puts everywhere.

Reading the text again gives the same condition; a test holds this to the engine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from clinic_mcp.core.policy_parts import Est

_IF, _OR, _AND, _RELATION, _SUM, _PRODUCT, _UNARY, _MEMBER = range(8)
"""How tightly an expression holds together, as in Cedar's grammar; a looser one inside a tighter needs parentheses."""

_BINARY = {
    "||": (_OR, _OR, _AND),
    "&&": (_AND, _AND, _RELATION),
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">=", "in"), (_RELATION, _SUM, _SUM)),
    **dict.fromkeys(("+", "-"), (_SUM, _SUM, _PRODUCT)),
    "*": (_PRODUCT, _PRODUCT, _UNARY),
}
"""Each operator's own level, and the lowest its left and right side may have without parentheses."""

_METHODS = ("contains", "containsAll", "containsAny", "getTag", "hasTag")
_CONSTRUCTORS = ("ip", "decimal", "datetime", "duration")
_WORDS = frozenset("if then else true false in is like has __cedar".split())


def condition(node: Est) -> str:
    """An expression as Cedar text, e.g. `context has bound && context.bound.patient == resource`.

    Args:
        node: The expression in Cedar's JSON form.

    Raises:
        ValueError: It is not one.
    """
    return _text(node, _IF)


def entity(value: Est) -> str:
    """An entity as Cedar text, e.g. `Clinic::Role::"nurse"`."""
    return f"{value['type']}::{_quoted(value['id'])}"


def scope(variable: str, part: Est) -> str:
    """A policy's scope for one variable as Cedar text, e.g. `principal is Clinic::Agent in Clinic::Role::"nurse"`.

    Args:
        variable: `principal`, `action` or `resource`.
        part: Its scope in Cedar's JSON form.
    """
    if part["op"] == "All":
        return variable
    if part["op"] == "==":
        return f"{variable} == {entity(part['entity'])}"
    if part["op"] == "is":
        return f"{variable} is {part['entity_type']}{_inside(part['in']) if 'in' in part else ''}"
    return f"{variable}{_inside(part)}"


def _inside(part: Est) -> str:
    if "entities" in part:
        return f" in [{', '.join(entity(one) for one in part['entities'])}]"
    return f" in {entity(part['entity'])}"


def _text(node: Est, least: int) -> str:
    level, text = _written(node)
    return f"({text})" if level < least else text


def _written(node: Est) -> tuple[int, str]:  # noqa: PLR0911, PLR0912 - one branch a form
    ((kind, body),) = node.items()
    if kind in _BINARY:
        level, left, right = _BINARY[kind]
        return level, f"{_text(body['left'], left)} {kind} {_text(body['right'], right)}"
    match kind:
        case "Var":
            return _MEMBER, body
        case "Value":
            return _value(body)
        case "!":
            return _UNARY, f"!{_text(body['arg'], _MEMBER)}"
        case "neg":  # `-3` is a number, `-(3)` takes one from zero
            inner = _text(body["arg"], _MEMBER)
            return _UNARY, f"-({inner})" if inner[0].isdigit() else f"-{inner}"
        case ".":
            return _MEMBER, f"{_text(body['left'], _MEMBER)}{_attribute(body['attr'])}"
        case "has":
            name = body["attr"] if _is_name(body["attr"]) else _quoted(body["attr"])
            return _RELATION, f"{_text(body['left'], _SUM)} has {name}"
        case "is":
            inside = f" in {_text(body['in'], _SUM)}" if "in" in body else ""
            return _RELATION, f"{_text(body['left'], _SUM)} is {body['entity_type']}{inside}"
        case "like":
            return _RELATION, f'{_text(body["left"], _SUM)} like "{_pattern(body["pattern"])}"'
        case "if-then-else":
            parts = [f"{word} {_text(body[word], _IF)}" for word in ("if", "then", "else")]
            return _IF, " ".join(parts)
        case "Set":
            return _MEMBER, f"[{_list(body)}]"
        case "Record":
            return _MEMBER, "{" + ", ".join(f"{_quoted(key)}: {_text(one, _IF)}" for key, one in body.items()) + "}"
        case "isEmpty":
            return _MEMBER, f"{_text(body['arg'], _MEMBER)}.isEmpty()"
        case _ if kind in _METHODS:
            return _MEMBER, f"{_text(body['left'], _MEMBER)}.{kind}({_text(body['right'], _IF)})"
        case _ if kind in _CONSTRUCTORS:
            return _MEMBER, f"{kind}({_list(body)})"
        case _ if isinstance(body, list) and body and re.fullmatch(r"[A-Za-z]\w*", kind):
            return _MEMBER, f"{_text(body[0], _MEMBER)}.{kind}({_list(body[1:])})"
    raise ValueError(f"Cedar has no expression {kind!r}")


def _value(value: Any) -> tuple[int, str]:
    if isinstance(value, bool):
        return _MEMBER, "true" if value else "false"
    if isinstance(value, int):
        return (_UNARY if value < 0 else _MEMBER), str(value)
    if isinstance(value, str):
        return _MEMBER, _quoted(value)
    if isinstance(value, dict) and "__entity" in value:
        return _MEMBER, entity(value["__entity"])
    raise ValueError(f"Cedar has no value of the type {type(value).__name__}")


def _list(nodes: Iterable[Est]) -> str:
    return ", ".join(_text(one, _IF) for one in nodes)


def _attribute(name: str) -> str:
    return f".{name}" if _is_name(name) else f"[{_quoted(name)}]"


def _is_name(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) is not None and name not in _WORDS


def _quoted(text: str) -> str:
    return f'"{_escaped(text)}"'


def _escaped(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return "".join(char if char.isprintable() else f"\\u{{{ord(char):x}}}" for char in escaped)


def _pattern(pattern: list[Any]) -> str:
    return "".join("*" if one == "Wildcard" else _escaped(one["Literal"]).replace("*", "\\*") for one in pattern)
