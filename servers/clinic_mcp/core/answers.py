"""How a refusal or a failure reads to the caller."""

from __future__ import annotations

from mcp_types import CallToolResult, TextContent

from clinic_mcp.core.errors import ClinicError
from clinic_mcp.core.record import Call


def failure(error: ClinicError, call: Call) -> CallToolResult:
    """A refusal or failure as a result the model can read: a code, a sentence, what to do."""
    body = {"code": error.code, "message": error.message, "call_id": call.call_id}
    if error.advice:
        body["advice"] = error.advice
    text = f"{error.code}: {error.message}" + (f" {error.advice}" if error.advice else "")
    return CallToolResult(
        content=[TextContent(type="text", text=text)], structured_content={"error": body}, is_error=True
    )


def crash(call: Call, what: str = "call") -> CallToolResult:
    """An unforeseen error: nothing of it, and the reference under which the log has it."""
    return failure(ClinicError(f"The {what} failed (reference {call.call_id})."), call)
