"""What stands in front of MCP on HTTP and SSE: a bearer gate, strict bodies, and a bound on what runs at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import anyio
import anyio.to_thread
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clinic_mcp.core.errors import AuditUnavailable, ClinicError, Unauthenticated
from clinic_mcp.core.tokens import Claims

BODY_LIMIT = 256 * 1024
"""Bytes a request body may have: a tool call is a few hundred."""
BODY_TIMEOUT = 10.0
"""Seconds a client may take to send its body."""
MAX_DEPTH = 32
"""How deep JSON may nest."""

CLAIMS = "clinic_mcp.claims"
"""Key of the ASGI scope under which a request's verified claims travel."""


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


class BearerGate:
    """ASGI middleware that lets a request through only with a valid bearer token, and records the others.

    Args:
        app: What the gate guards.
        verify: Checks a token.
        record: Puts an unauthenticated request on the audit log (peer, reason).
    """

    def __init__(self, app: ASGIApp, *, verify: Callable[[str], Claims], record: Callable[[str, str], None]) -> None:
        self.app = app
        self.verify = verify
        self.record = record

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._admit(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            claims = self._authenticate(scope)
        except Unauthenticated as refusal:
            response: Response = await self._refuse(scope, refusal)
        except ClinicError as failure:
            response = JSONResponse({"error": failure.code, "message": failure.message}, status_code=503)
        else:
            scope["user"] = _user(claims)
            scope[CLAIMS] = claims
            if scope["method"] != "POST":
                await self.app(scope, receive, send)
                return
            try:
                body = await read_body(receive)
                strict_json(body)
            except BadBodyError as bad:
                response = JSONResponse({"error": "bad_request", "message": str(bad)}, status_code=bad.status)
            else:
                await self.app(scope, _replay(body, receive), send)
                return
        await response(scope, receive, send)

    def _authenticate(self, scope: Scope) -> Claims:
        values = Headers(scope=scope).getlist("authorization")
        if not values:
            raise Unauthenticated("none")
        scheme, _, token = values[0].partition(" ")
        if len(values) > 1 or scheme.lower() != "bearer" or not token:
            raise Unauthenticated("malformed")
        return self.verify(token.strip())

    async def _refuse(self, scope: Scope, refusal: Unauthenticated) -> Response:
        peer = scope["client"][0] if scope.get("client") else "unknown"
        try:
            await anyio.to_thread.run_sync(self.record, peer, refusal.reason)
        except AuditUnavailable as unavailable:
            return JSONResponse({"error": unavailable.code, "message": unavailable.message}, status_code=503)
        body = {
            "error": "invalid_token",
            "error_description": "A valid bearer token for this server is required.",
            "message": "Get a grant with `clinic-mcp grant` or a token with `clinic-mcp token issue`.",
        }
        challenge = 'Bearer error="invalid_token", error_description="A valid bearer token is required"'
        return JSONResponse(body, status_code=401, headers={"WWW-Authenticate": challenge})


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


def _replay(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def replay() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _user(claims: Claims) -> AuthenticatedUser:
    """The SDK's user. An SSE session belongs to the client its first token was issued to."""
    token = AccessToken(token="", client_id=claims.client, scopes=[], expires_at=claims.expires)
    return AuthenticatedUser(token)
