"""What a decision was made on, and why a call ended where no policy was asked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, or_, select

from clinic_mcp.audit.models import events
from clinic_mcp.core.errors import InvalidArguments
from clinic_mcp.policy_tools.recorded import Recorded, slice_texts

REASONS = {
    "call.unknown_tool": "The server has no tool of that name, so the policies were not asked.",
    "call.invalid_arguments": "The arguments did not fit the tool's schema, so the policies were not asked.",
    "call.malformed": "The request could not be read, so the policies were not asked.",
    "call.duplicate_id": "A request of the same connection with the same id was being answered, so it was not run.",
    "call.unauthenticated": "The call carried no valid credential, so nobody was there to ask the policies about.",
    "http.unauthenticated": "The request carried no valid credential, so it reached no tool.",
    "grant.refused": "An agent asked for a grant that its consultation does not allow.",
    "disclosure.recorded": "An operator put on the record what went to somebody outside the clinic.",
}
"""Why there is no decision of the policies, by the event's code."""


@dataclass(frozen=True)
class Inputs:
    """What the policies were asked, as the log keeps it: arguments that it does not keep are empty.

    Args:
        context: Facts of the call.
        entities: What the clinic's data said of everybody and everything in it.
    """

    context: dict[str, Any]
    entities: list[dict[str, Any]]


def inputs(connection: Connection, decision: Recorded) -> Inputs:
    """What a recorded decision was made on.

    Args:
        connection: An open read transaction.
        decision: It.
    """
    text = slice_texts(connection, {decision.slice_digest}).get(decision.slice_digest or "")
    return Inputs(decision.event.get("cedar", {}).get("context", {}), [] if text is None else json.loads(text))


def without_policies(connection: Connection, reference: str) -> dict[str, Any]:
    """Why there is no decision of the policies in a call.

    Args:
        connection: An open read transaction.
        reference: The id of the call, or of an event of it.

    Raises:
        InvalidArguments: The log has nothing under that id.
    """
    found = or_(events.c.event_id == reference, events.c.call_id == reference)
    row = connection.execute(select(events.c.leaf).where(found).order_by(events.c.id).limit(1)).first()
    if row is None:
        raise InvalidArguments("The audit log has nothing under that id.")
    event = json.loads(row.leaf)
    code = event["code"]
    shown = {
        "event_id": event["event_id"],
        "recorded": event["recorded"],
        "code": code,
        "why": REASONS.get(code, "Policies decide calls to tools, and this is none."),
        "reason": event.get("reason"),
        "tool": event.get("call", {}).get("tool"),
    }
    return {name: value for name, value in shown.items() if value is not None}
