"""One call: why it was allowed or refused, and the events that say so, each with its place in the tree."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from starlette.responses import Response

from clinic_mcp.audit import tree
from clinic_mcp.audit.models import events, leaves
from clinic_mcp.audit.questions.calls import DEEDS, page
from clinic_mcp.audit.review.visit import Visit
from clinic_mcp.audit.review.why import explain
from clinic_mcp.core.errors import ClinicError, InvalidArguments

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
MOST = 20
"""Events of a call shown at most; a call has two."""


class NotFound(ClinicError):
    """The log has nothing of that name."""

    code = "not_found"


@dataclass(frozen=True)
class Placed:
    """An event and its place.

    Args:
        record: What it says.
        text: The same, as it is kept.
        leaf: Its place in the tree; none until the sequencer gave it one.
        covered: Whether a signed checkpoint is over it.
    """

    record: dict[str, Any]
    text: str
    leaf: int | None
    covered: bool


def show(visit: Visit) -> Response:
    """A call, by its id."""
    name = visit.request.path_params["call_id"]
    if not _UUID.fullmatch(name):
        raise InvalidArguments("A call is named by its id, 36 characters long.")
    with visit.parts.database.read() as connection:
        patients = _patients(connection, name)
    visit.record("call", {"call": name}, patients)
    with visit.parts.database.read() as connection:
        rows = connection.execute(
            select(events.c.call_id, events.c.leaf, leaves.c.leaf_index)
            .select_from(events.outerjoin(leaves, leaves.c.event == events.c.id))
            .where(events.c.call_id == name)
            .order_by(events.c.id)
            .limit(MOST)
        ).all()
        if not rows:
            raise NotFound("The log has no call of that id.", "Look for the id of an event by the search above.")
        newest = tree.latest_checkpoint(connection)
        size = 0 if newest is None else newest.size
        placed = [_placed(row, size) for row in rows]
        why = explain(connection, [one.record for one in placed])
        call = next(iter(page(connection, [events.c.call_id == name], limit=1, phases=DEEDS).calls), None)
    return visit.page("call.html", call=call, call_id=name, why=why, events=placed, checkpoint=newest)


def find(visit: Visit) -> str:
    """The id of the call that an event, a call or a consultation is looked up by, as an address of this page.

    Raises:
        InvalidArguments: It cannot be an id.
    """
    name = visit.request.query_params.get("id", "").strip()
    if re.fullmatch(r"C-[0-9a-f]{16}", name):
        return f"/calls?consultation={name}"
    if re.fullmatch(r"P[0-9]{3,12}", name):
        return f"/patients/{name}"
    if not _UUID.fullmatch(name):
        raise InvalidArguments("Give the id of a call, an event, a consultation or a patient.")
    with visit.parts.database.read() as connection:
        found = connection.execute(select(events.c.call_id).where(events.c.event_id == name)).scalar()
    return f"/calls/{found or name}"


def _patients(connection: Any, name: str) -> list[str]:
    leafs = connection.execute(select(events.c.leaf).where(events.c.call_id == name).limit(MOST)).scalars()
    return list(dict.fromkeys(one for leaf in leafs for one in json.loads(leaf).get("patients", [])))


def _placed(row: Any, size: int) -> Placed:
    text = bytes(row.leaf).decode("utf-8", "replace")
    return Placed(json.loads(text), text, row.leaf_index, row.leaf_index is not None and row.leaf_index < size)
