"""A call as it comes in: what the request says of itself, and which of it may be believed or kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clinic_mcp.audit.event import safe_label, safe_request_id, safe_traceparent
from clinic_mcp.core.credentials import Credentials
from clinic_mcp.core.record import Call
from clinic_mcp.core.tool import ServerTools


def open_call(ctx: Any, server: ServerTools, credentials: Credentials, transport: str) -> Call:
    """The call that a `tools/call` request makes.

    Args:
        ctx: The SDK's request context.
        server: The tools there are.
        credentials: Finds the verified claims, or why there are none.
        transport: `stdio`, `sse` or `http`.
    """
    params = ctx.params or {}
    arguments = params.get("arguments")
    name = tool_name(params, server)
    meta: Mapping[str, Any] = ctx.meta or {}
    return Call(
        server=server.name,
        tool=server.tools[name] if name is not None else None,
        arguments=arguments if isinstance(arguments, dict) else {},
        claims=credentials.find(ctx, meta),
        transport=transport,
        origin={
            "call": {
                "protocol": safe_label(ctx.protocol_version),
                "request_id": safe_request_id(ctx.request_id),
                "traceparent": safe_traceparent(meta.get("traceparent")),
            },
            "network": {"transport": transport, "peer": credentials.peer(ctx)},
            "client": _claimed_client(ctx, meta),
        },
    )


def tool_name(params: Mapping[str, Any] | None, server: ServerTools) -> str | None:
    """The tool a request names, if the server has it: other names are a caller's free text."""
    name = (params or {}).get("name")
    return name if isinstance(name, str) and name in server.tools else None


def _claimed_client(ctx: Any, meta: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the client calls itself: kept as claimed, believed by nobody."""
    declared = meta.get("io.modelcontextprotocol/clientInfo")
    params = ctx.session.client_params
    name = declared.get("name") if isinstance(declared, dict) else params.client_info.name if params else None
    label = safe_label(name)
    return {"claimed": True, "name": label} if label else None
