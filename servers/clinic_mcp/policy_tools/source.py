"""The text of each policy as its owner wrote it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clinic_mcp.core.policy import PolicySet

# A string may hold `;` and `//`, a comment may hold both and quotes.
_PIECE = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\n]*|;|[^";/]+|/', re.DOTALL)


def statements(text: str) -> list[str]:
    """The policies of a text in their order, each from its first annotation to its semicolon.

    Args:
        text: Cedar text that parses.
    """
    found: list[str] = []
    current = ""
    for piece in _PIECE.findall(text):
        if piece.startswith("//") and not current.strip():
            continue  # a comment above a policy is not part of it
        current += piece
        if piece == ";":
            found.append(current.strip())
            current = ""
    return found


def texts(policies: PolicySet) -> dict[str, str]:
    """Each policy's text by its `@id`."""
    return dict(zip(policies.policies, statements(policies.text), strict=True))


def places(policies: PolicySet, folder: Path) -> dict[str, str]:
    """Where each policy stands, e.g. `desk.cedar:3`, for those the folder's files still have.

    Args:
        policies: The policies.
        folder: Where their files are.
    """
    names = {text: name for name, text in texts(policies).items()}
    found: dict[str, str] = {}
    for path in sorted(folder.glob("*.cedar")):
        text = path.read_text("utf-8")
        for statement in statements(text):
            if statement in names:
                line = text.count("\n", 0, text.index(statement)) + 1
                found[names[statement]] = f"{path.name}:{line}"
    return found
