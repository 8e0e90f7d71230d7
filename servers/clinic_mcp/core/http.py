"""What stands in front of everything on HTTP and SSE: Host and Origin, strict bodies, a bound on what runs at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import anyio
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

BODY_LIMIT = 256 * 1024
"""Bytes a request body may have: a tool call is a few hundred."""
BODY_TIMEOUT = 10.0
"""Seconds a client may take to send its body."""
MAX_DEPTH = 32
"""How deep JSON may nest."""


class FrontDoor:
    """ASGI middleware before everything else: `/healthz`, Host and Origin, and a bound on what runs at once.

    Args:
        app: What is behind it.
        hosts: Host headers accepted beside loopback; `name:*` accepts any port.
        concurrency: Requests in flight before it answers 503.
    """

    def __init__(self, app: ASGIApp, *, hosts: Sequence[str], concurrency: int) -> None:
        self.app = app
        self.security = TransportSecurityMiddleware(transport_security(hosts))
        self.concurrency = concurrency
        self.in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif scope["path"] == "/healthz":
            await JSONResponse({"status": "ok"})(scope, receive, send)
        elif self.in_flight >= self.concurrency:
            busy = {"error": "busy", "message": "The server is at its limit. Try again in a moment."}
            await JSONResponse(busy, status_code=503, headers={"Retry-After": "1"})(scope, receive, send)
        elif (wrong := await self.security.validate_request(Request(scope), is_post=False)) is not None:
            await wrong(scope, receive, send)
        else:
            counted = scope["method"] == "POST"  # an open SSE stream is not work
            self.in_flight += counted
            try:
                await self.app(scope, receive, send)
            finally:
                self.in_flight -= counted


def transport_security(hosts: Sequence[str]) -> TransportSecuritySettings:
    """The SDK's protection against DNS rebinding, always on: loopback and the operator's hosts."""
    names = ["127.0.0.1:*", "localhost:*", "[::1]:*", *hosts]
    origins = [f"{scheme}://{name}" for name in names for scheme in ("http", "https")]
    return TransportSecuritySettings(enable_dns_rebinding_protection=True, allowed_hosts=names, allowed_origins=origins)


class BadBodyError(Exception):
    """A request body that is not strict JSON within its limits."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def strict_json(body: bytes) -> Any:
    """Parse a body as strict JSON: UTF-8, no duplicate keys, no NaN or Infinity, bounded depth.

    Raises:
        BadBodyError: It is not; the message names the fault, never the content.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise BadBodyError("The body repeats a key.")
        return found

    def constant(_name: str) -> None:
        raise BadBodyError("The body holds a number JSON does not have.")

    try:
        text = body.decode("utf-8")
        if _depth(text) > MAX_DEPTH:
            raise BadBodyError("The body nests too deep.")
        return json.loads(text, object_pairs_hook=unique, parse_constant=constant)
    except (ValueError, RecursionError) as exc:
        raise BadBodyError("The body is not JSON.") from exc


def _depth(text: str) -> int:
    """How deep brackets nest at most, strings counted too: a bound, found without parsing."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return 0
    depth = deepest = 0
    inside = escaped = False
    for character in text:
        if inside:
            inside = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            inside = True
        elif character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


async def read_body(receive: Receive) -> bytes:
    """A request's body, within its size and time.

    Raises:
        BadBodyError: It is too large, too slow, or did not arrive.
    """
    chunks, size = [], 0
    try:
        with anyio.fail_after(BODY_TIMEOUT):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise BadBodyError("The body did not arrive.")
                chunk = message.get("body", b"")
                size += len(chunk)
                if size > BODY_LIMIT:
                    raise BadBodyError(f"The body is larger than {BODY_LIMIT} bytes.", 413)
                chunks.append(chunk)
                if not message.get("more_body"):
                    return b"".join(chunks)
    except TimeoutError as exc:
        raise BadBodyError("The body took too long to arrive.", 408) from exc
