"""OpenTelemetry spans of MCP messages, under the names the SDK gives them, without a word a caller chose.

It stands in for the SDK's own middleware, which copies tool names and request ids as they come: a caller can write a
patient's name in either. Attribute names: OpenTelemetry semantic conventions for MCP (`mcp.*`, `gen_ai.tool.name`); the
decision's are ours. Without a collector in settings the API does nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from opentelemetry import metrics, propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, StatusCode

from clinic_mcp.audit.event import safe_label, safe_traceparent

if TYPE_CHECKING:
    from clinic_mcp.core.record import Call

METHODS = frozenset(
    "initialize ping server/discover tools/list tools/call resources/list resources/read resources/templates/list"
    " prompts/list prompts/get completion/complete logging/setLevel notifications/initialized notifications/cancelled"
    " notifications/progress notifications/roots/list_changed".split()
)
"""The methods a span may be named by; another is `other`."""

_tracer = trace.get_tracer("clinic-mcp")
_meter = metrics.get_meter("clinic-mcp")
_calls = _meter.create_counter("clinic.calls", unit="{call}", description="Calls of tools, by how they ended.")
_decisions = _meter.create_counter("clinic.decisions", unit="{decision}", description="Decisions, by policy.")
_duration = _meter.create_histogram("mcp.server.operation.duration", unit="s", description="Time a call took.")
_recording = _meter.create_histogram("clinic.audit.duration", unit="s", description="Time a call's events took.")
_lag = _meter.create_gauge("clinic.audit.lag", unit="s", description="Age of the oldest event without a place.")


@contextmanager
def message_span(method: str, tool: str | None, protocol: object, meta: Mapping[str, Any] | None) -> Iterator[Span]:
    """A span around one inbound message.

    Args:
        method: The message's method, as the client wrote it.
        tool: The tool called, if the server has it.
        protocol: The protocol revision.
        meta: The message's `_meta`, for the trace it belongs to.
    """
    known = method if method in METHODS else "other"
    attributes = {"mcp.method.name": known}
    if (revision := safe_label(protocol)) is not None:
        attributes["mcp.protocol.version"] = revision
    if method == "tools/call":
        attributes |= {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": tool or "unknown"}
    with _tracer.start_as_current_span(
        f"{known} {tool}" if tool else known,
        context=_parent(meta),
        kind=SpanKind.SERVER,
        attributes=attributes,
        record_exception=False,  # an exception's text may hold what a caller wrote
        set_status_on_exception=False,
    ) as span:
        try:
            yield span
        except Exception as exc:
            span.set_attribute("error.type", type(exc).__name__)
            span.set_status(StatusCode.ERROR)
            raise


def describe(span: Span, call: Call) -> None:
    """What the guard knows of a call by the end of it: decision, policies, event, how it ended."""
    if not span.is_recording():
        return
    attributes: dict[str, Any] = {"clinic.call_id": call.call_id, "clinic.audit.duration_us": call.recording_us}
    if call.event_id is not None:
        attributes["clinic.audit.event_id"] = call.event_id
    if call.decision is not None:
        attributes |= {
            "clinic.decision": call.decision["effect"],
            "clinic.policy_ids": list(call.decision["policies"]),
        }
    span.set_attributes(attributes)
    if call.code != "ok":
        span.set_attribute("error.type", call.code or "failed")
        span.set_status(StatusCode.ERROR)


def count(call: Call) -> None:
    """Add a call to the metrics. Tools and policies are the server's own words; patients and people are in none."""
    ended = {"gen_ai.tool.name": call.label, "clinic.server": call.server, "clinic.code": call.code or "failed"}
    _calls.add(1, ended)
    _duration.record(call.duration_us / 1e6, ended)
    _recording.record(call.recording_us / 1e6, {"clinic.server": call.server})
    if call.decision is not None:
        for policy in call.decision["policies"]:
            _decisions.add(1, {"clinic.decision": call.decision["effect"], "clinic.policy_id": policy})


def lag(seconds: float) -> None:
    """How far the tree is behind the log."""
    _lag.set(seconds)


def _parent(meta: Mapping[str, Any] | None) -> Context | None:
    traceparent = safe_traceparent((meta or {}).get("traceparent"))
    return None if traceparent is None else propagate.extract({"traceparent": traceparent})
