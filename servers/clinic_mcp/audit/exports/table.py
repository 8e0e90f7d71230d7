"""Calls as rows of a CSV file that a spreadsheet opens and sorts."""

from __future__ import annotations

from clinic_mcp.audit.questions.calls import Call

COLUMNS = (
    "time",
    "call_id",
    "who",
    "agent",
    "on_behalf_of",
    "consultation",
    "server",
    "tool",
    "patients",
    "decision",
    "policies",
    "purpose",
    "reason",
    "ended",
    "peer",
)


def row(call: Call) -> list[str]:
    """A call's cells, in the order of `COLUMNS`; several values of one cell are separated by spaces."""
    cells = (
        call.time,
        call.call_id,
        call.who,
        call.agent,
        call.behalf,
        call.consultation,
        call.server,
        call.tool,
        " ".join(call.patients),
        call.decision,
        " ".join(call.policies),
        call.purpose,
        call.reason,
        call.ended,
        call.peer,
    )
    return [_harmless(cell or "") for cell in cells]


def _harmless(cell: str) -> str:
    """A cell no spreadsheet takes for a formula: ids can begin with anything a provider chose."""
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell
