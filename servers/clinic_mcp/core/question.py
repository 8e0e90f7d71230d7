"""How a call becomes a question to the policies: the one place that builds a Cedar request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clinic_mcp.core.identity import Caller
from clinic_mcp.core.policy import Request, moment, ref
from clinic_mcp.core.tool import Target


def ask(
    caller: Caller, action: str, inputs: Mapping[str, Any], target: Target, *, transport: str, started: str
) -> Request:
    """The request that a call makes of the policies.

    Args:
        caller: Who calls, with the consultation a verified grant binds them to.
        action: The tool's name.
        inputs: Its arguments as they were validated, without absent ones.
        target: The record it is about.
        transport: `stdio`, `sse` or `http`.
        started: When the call came in, ISO 8601 in UTC.
    """
    context: dict[str, Any] = {"auth": {"transport": transport}, "now": moment(started), "input": dict(inputs)}
    if caller.bound is not None:
        consultation, patient = ref(caller.bound.consultation.uid), ref(caller.bound.patient)
        context["bound"] = {"consultation": consultation, "patient": patient}
    if target.facts is not None:
        context["facts"] = dict(target.facts)
    # Where the caller is what the call is about, the record's own attributes count.
    entities = {entity.uid: entity for entity in (*caller.entities, *target.entities, target.resource)}
    return Request(caller.principal.uid, action, target.resource.uid, context, tuple(entities.values()))
