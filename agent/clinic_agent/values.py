"""A server's answer as the plain Python value a graph written for in-process tools expects."""

import json
from typing import Any, Literal

from mcp.types import CallToolResult, TextContent

Kind = Literal["dict", "list", "str"]
Value = dict[str, Any] | list[Any] | str


def refusal(kind: Kind, code: str, message: str) -> Value:
    """Return a refusal in the shape of the tool's own result, so that the model can read it and go on."""
    if kind == "str":
        return f"Refused ({code}): {message}"
    error = {"error": message, "code": code}
    return error if kind == "dict" else [error]


def decode(kind: Kind, result: CallToolResult) -> Value:
    """Return the value of a tool's answer, or its refusal."""
    text = "".join(block.text for block in result.content if isinstance(block, TextContent))
    if result.isError:
        return refusal(kind, *_error(result.structuredContent, text))
    content: Any = result.structuredContent
    if content is None:
        content = _parsed(text) if kind != "str" else text
    elif kind != "dict" and set(content) == {"result"}:
        content = content["result"]
    expected = {"dict": dict, "list": list, "str": str}[kind]
    if not isinstance(content, expected):
        return refusal(kind, "internal", "The server's answer is not of the promised kind.")
    value: Value = content
    return value


def _error(content: dict[str, Any] | None, text: str) -> tuple[str, str]:
    error = (content or {}).get("error")
    if isinstance(error, dict):
        sentences = [str(error.get("message", "")), str(error.get("advice") or "")]
        return str(error.get("code", "refused")), " ".join(part for part in sentences if part)
    code, separator, message = text.partition(": ")
    if separator and code.isidentifier():
        return code, message
    return "refused", text or "The server refused the call."


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
