"""A recorded decision as the request it was: what the policies were asked then, to be asked again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, func, select

from clinic_mcp.audit.event import Phase
from clinic_mcp.audit.models import events, slices
from clinic_mcp.core.errors import ClinicError
from clinic_mcp.core.policy import Entity, Request, Uid, moment

BATCH = 500
"""Events held in memory at a time."""


class NotKept(ClinicError):
    """The log does not hold what a decision was made on."""

    code = "not_kept"


@dataclass(frozen=True)
class Recorded:
    """A decision of the policies on the audit log.

    Args:
        event_id: The event.
        recorded: When, ISO 8601 in UTC.
        caller: Who called, e.g. `Agent:intake_agent`.
        tool: Which tool.
        resource_type: What it was about, the Cedar type alone.
        known: Whether that record existed.
        allowed: What the policies decided.
        policies: Which of them.
        errors: How many errors the engine had.
        policy_set: Digest of the policies' text.
        schema: Digest of their schema's text.
        patients: Patients the call was about.
        event: The whole event.
    """

    event_id: str
    recorded: str
    caller: str
    tool: str
    resource_type: str
    known: bool
    allowed: bool
    policies: tuple[str, ...]
    errors: int
    policy_set: str
    schema: str
    patients: tuple[str, ...]
    event: Mapping[str, Any]

    @property
    def slice_digest(self) -> str | None:
        """The name its entities are kept under."""
        digest: str | None = self.event.get("cedar", {}).get("slice")
        return digest

    @property
    def inputs(self) -> frozenset[str]:
        """The names of the arguments the call had."""
        return frozenset(self.event.get("cedar", {}).get("context", {}).get("input", {}))

    def request(self, slice_text: str | None) -> Request:
        """What the policies were asked. Arguments that the log does not keep are empty.

        Args:
            slice_text: The entities as the log keeps them under `slice_digest`.

        Raises:
            NotKept: The entities are not there, or are not those of the decision.
        """
        cedar, who = self.event.get("cedar", {}), self.event["principal"]
        if slice_text is None or "context" not in cedar:
            raise NotKept("The log does not hold the entities of this decision.")
        context = {
            **cedar["context"],
            "auth": {"transport": self.event["network"]["transport"]},
            "now": moment(self.event["started"]),
        }
        entities = [_entity(one) for one in json.loads(slice_text)]
        resource = (cedar["resource"]["type"], cedar["resource"]["id"])
        request = Request((who["type"], who["id"]), cedar["action"], resource, context, entities)
        if request.slice_digest != self.slice_digest:
            raise NotKept("The entities kept for this decision were altered.")
        return request


def recorded(leaf: bytes) -> Recorded | None:
    """A decision of the policies, or nothing where an event is none: a call can be refused without asking them.

    Args:
        leaf: The event's bytes.
    """
    event = json.loads(leaf)
    decision = event.get("decision", {})
    if "policy_set" not in decision or "principal" not in event:
        return None
    resource = event.get("cedar", {}).get("resource", {})  # earlier versions kept nothing of the request
    return Recorded(
        event_id=event["event_id"],
        recorded=event["recorded"],
        caller=f"{event['principal']['type']}:{event['principal']['id']}",
        tool=event["call"]["tool"],
        resource_type=resource.get("type", ""),
        known=resource.get("known", True),
        allowed=decision["effect"] == "allow",
        policies=tuple(decision["policies"]),
        errors=decision["errors"],
        policy_set=decision["policy_set"],
        schema=decision["schema"],
        patients=tuple(event.get("patients", ())),
        event=event,
    )


def count(connection: Connection, since: str | None, until: str | None) -> int:
    """How many events of a period say what was decided.

    Args:
        connection: An open read transaction.
        since: From this time on, ISO 8601 in UTC as the log writes it.
        until: Before this time, likewise.
    """
    found = _of_period(since, until).subquery()
    return int(connection.execute(select(func.count()).select_from(found)).scalar_one())


def stream(
    connection: Connection, since: str | None, until: str | None
) -> Iterator[tuple[Recorded | None, str | None]]:
    """The events of a period that say what was decided, in their order, each with the text of its entities.

    Args:
        connection: An open read transaction.
        since: As in `count`.
        until: As in `count`.
    """
    result = connection.execution_options(yield_per=BATCH).execute(_of_period(since, until))
    for batch in result.partitions():
        found = [recorded(row.leaf) for row in batch]
        digests = {one.slice_digest for one in found if one is not None}
        texts = slice_texts(connection, digests)
        for one in found:
            yield one, texts.get(one.slice_digest or "") if one is not None else None


def slice_texts(connection: Connection, digests: set[str | None]) -> dict[str, str]:
    """The texts of entities that the log keeps under some digests."""
    wanted = select(slices.c.digest, slices.c.text).where(slices.c.digest.in_(digests))
    return {row.digest: row.text for row in connection.execute(wanted)}


def _of_period(since: str | None, until: str | None) -> Select[Any]:
    query = (
        select(events.c.leaf)
        .where(events.c.phase.in_((Phase.INTENT, Phase.DECISION)), events.c.decision.is_not(None))
        .order_by(events.c.id)
    )
    if since is not None:
        query = query.where(events.c.recorded >= since)
    return query if until is None else query.where(events.c.recorded < until)


def _entity(value: Mapping[str, Any]) -> Entity:
    return Entity(_uid(value["uid"]), value["attrs"], tuple(_uid(one) for one in value["parents"]))


def _uid(value: Mapping[str, str]) -> Uid:
    return value["type"].partition("::")[2], value["id"]
