"""A tool's arguments as the Cedar record its action must take, so that tools and policies cannot drift apart.

Own generator: the published one makes every action apply to every resource, and turns enums, optionals and decimals
into types no policy can use.
"""

from __future__ import annotations

import types
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from clinic_mcp.core.errors import Misconfigured

_SCALARS = {str: "String", int: "Long", bool: "Bool"}


def input_type(arguments: type[BaseModel]) -> str:
    """The Cedar record of a tool's arguments, e.g. `{ limit?: Long, patient_id: String }`.

    Args:
        arguments: The tool's argument model: texts, whole numbers, booleans, literals of text, lists of these;
            `None` as an alternative makes a field optional.

    Raises:
        Misconfigured: A field has a type Cedar has no word for, such as a float.
    """
    fields = []
    for name, field in sorted(arguments.model_fields.items()):
        kind, optional = _cedar(field.annotation, f"{arguments.__name__}.{name}")
        fields.append(f"{name}{'?' if optional else ''}: {kind}")
    return "{ " + ", ".join(fields) + " }" if fields else "{}"


def _cedar(annotation: Any, where: str) -> tuple[str, bool]:
    """The Cedar type of an annotation, and whether it may be absent."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType) and type(None) in inner:
        rest = [one for one in inner if one is not type(None)]
        if len(rest) == 1:
            return _cedar(rest[0], where)[0], True
    if origin is Literal and all(isinstance(one, str) for one in inner):
        return "String", False
    if origin is list:
        return f"Set<{_cedar(inner[0], where)[0]}>", False
    if annotation in _SCALARS:
        return _SCALARS[annotation], False
    raise Misconfigured(f"{where} has a type that Cedar has no word for.")
