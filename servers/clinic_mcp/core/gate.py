"""The bearer gate: an HTTP request goes through with a valid token, and onto the record without one (RFC 6750)."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import anyio.to_thread
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clinic_mcp.audit.log import too_slow
from clinic_mcp.core.errors import AuditUnavailable, ClinicError, InsufficientScope, Unauthenticated
from clinic_mcp.core.http import BadBodyError, read_body, strict_json
from clinic_mcp.core.issuers import Issuers
from clinic_mcp.core.patience import DEFAULT, within
from clinic_mcp.core.tokens import Claims

CLAIMS = "clinic_mcp.claims"
"""Key of the ASGI scope under which a request's verified claims travel."""

WAITING = 8
"""Requests that may wait for a provider's keys at once; they take no thread from anybody else."""


class BearerGate:
    """ASGI middleware that lets a request through only with a valid bearer token, and records the others.

    Args:
        app: What the gate guards.
        issuers: Checks tokens.
        record: Puts an unauthenticated request on the audit log (peer, reason).
        metadata: Where this resource says whom it trusts (RFC 9728), if it does.
        patience: Seconds the record may take.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        issuers: Issuers,
        record: Callable[[str, str], None],
        metadata: str | None,
        patience: float = DEFAULT,
    ) -> None:
        self.app = app
        self.issuers = issuers
        self.record = record
        self.metadata = metadata
        self.patience = patience
        self._waiting = anyio.CapacityLimiter(WAITING)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._admit(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            claims = await self._verify(bearer(Headers(scope=scope).getlist("authorization")))
        except Unauthenticated as refusal:
            peer = scope["client"][0] if scope.get("client") else "unknown"
            response: Response = await turn_away(
                refusal, peer, record=self.record, metadata=self.metadata, patience=self.patience
            )
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

    async def _verify(self, token: str) -> Claims:
        if self.issuers.ready(token):
            return self.issuers.verify(token, wait=False)
        return await anyio.to_thread.run_sync(self.issuers.verify, token, limiter=self._waiting)


def bearer(values: list[str]) -> str:
    """The token of a request's `Authorization` headers.

    Args:
        values: Every value of the header.

    Raises:
        Unauthenticated: There is none, more than one, or one of another scheme.
    """
    if not values:
        raise Unauthenticated("none")
    scheme, _, token = values[0].partition(" ")
    if len(values) > 1 or scheme.lower() != "bearer" or not token:
        raise Unauthenticated("malformed")
    return token.strip()


async def turn_away(
    refusal: Unauthenticated,
    peer: str,
    *,
    record: Callable[[str, str], None],
    metadata: str | None,
    patience: float = DEFAULT,
) -> Response:
    """Put a request without a valid token on the record, and answer it; what cannot be recorded gets 503.

    Args:
        refusal: Why.
        peer: Where it came from.
        record: Puts it on the audit log (peer, reason).
        metadata: URL of the resource's metadata.
        patience: Seconds the record may take.
    """
    try:
        await within(patience, record, peer, refusal.reason)
    except AuditUnavailable as unavailable:
        return JSONResponse({"error": unavailable.code, "message": unavailable.message}, status_code=503)
    except TimeoutError:
        slow = too_slow(patience)
        return JSONResponse({"error": slow.code, "message": slow.message}, status_code=503)
    return _challenge(refusal, metadata)


def _challenge(refusal: Unauthenticated, metadata: str | None) -> Response:
    """The answer to a request without a valid token: 401, or 403 where only a scope is missing (RFC 6750, section 3.1).

    Args:
        refusal: Why; the caller is told nothing of it but the scopes.
        metadata: URL of the resource's metadata, for `resource_metadata` (RFC 9728, section 5.1).
    """
    if isinstance(refusal, InsufficientScope):
        status, error, description = 403, "insufficient_scope", "The token lacks a scope this server asks for."
        advice = "Ask the provider for a token with the scopes named in WWW-Authenticate."
    else:
        status, error, description = 401, "invalid_token", "A valid bearer token for this server is required."
        advice = "Get a grant with `clinic-mcp grant`, or a token with `clinic-mcp token issue` or of your provider."
    challenge = [f'error="{error}"', f'error_description="{description.rstrip(".")}"']
    if isinstance(refusal, InsufficientScope):
        challenge.append(f'scope="{" ".join(refusal.scopes)}"')
    if metadata is not None:
        challenge.append(f'resource_metadata="{metadata}"')
    body = {"error": error, "error_description": description, "message": advice}
    return JSONResponse(body, status_code=status, headers={"WWW-Authenticate": f"Bearer {', '.join(challenge)}"})


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
    """The SDK's user. An SSE session belongs to the client its first token was issued to; a provider issues tokens to
    one client for many people, so there it belongs to the person too."""
    vouched = claims.issuer is not None
    token = AccessToken(
        token="",
        client_id=claims.client,
        scopes=[],
        expires_at=claims.expires,
        subject=claims.subject if vouched else None,
        claims={"iss": claims.issuer} if vouched else None,
    )
    return AuthenticatedUser(token)
