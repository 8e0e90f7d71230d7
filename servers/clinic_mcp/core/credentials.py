"""Where each transport carries a call's credential. Everything a model or a header says beside it identifies nobody."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from clinic_mcp.core.errors import Unauthenticated
from clinic_mcp.core.gate import CLAIMS
from clinic_mcp.core.issuers import Issuers
from clinic_mcp.core.settings import Settings
from clinic_mcp.core.tokens import Claims

GRANT_META = "clinic-mcp/grant"
"""Key of a call's `_meta` that carries a signed grant on stdio."""


class Credentials(Protocol):
    """Finds a call's credential in the SDK's request context (`ctx`), one implementation a transport."""

    def find(self, ctx: Any, meta: Mapping[str, Any]) -> Claims | Unauthenticated:
        """The verified claims of a call, or why there are none."""

    def explain(self, refusal: Unauthenticated) -> Unauthenticated:
        """The refusal with this transport's words on how to get a credential."""

    def connection(self, ctx: Any) -> str:
        """What tells this caller's connection from another's."""

    def peer(self, ctx: Any) -> str:
        """The network peer, as the transport saw it."""


class StdioCredentials:
    """A signed grant in the call's `_meta`, else the token of the process.

    A provider's token may have to wait a few seconds for the provider's keys: there is one client, and it waits anyway.
    """

    def __init__(self, issuers: Issuers, settings: Settings) -> None:
        self._issuers = issuers
        self._settings = settings

    def find(self, ctx: Any, meta: Mapping[str, Any]) -> Claims | Unauthenticated:
        token = meta.get(GRANT_META, None)
        try:
            if token is not None and not isinstance(token, str):
                raise Unauthenticated("malformed")
            token = token or self._own_token()
            if not token:
                raise Unauthenticated("none")
            return self._issuers.verify(token)
        except Unauthenticated as refusal:
            return self.explain(refusal)

    def explain(self, refusal: Unauthenticated) -> Unauthenticated:
        return Unauthenticated(
            refusal.reason,
            "This call carries no valid credential.",
            "Put a grant from `clinic-mcp grant SESSION --agent NAME` in the call's _meta, or set CLINIC_TOKEN to a"
            " token from `clinic-mcp token issue --as ID`.",
        )

    def connection(self, ctx: Any) -> str:
        return "stdio"

    def peer(self, ctx: Any) -> str:
        return "stdio"

    def _own_token(self) -> str | None:
        if self._settings.token is not None:
            return self._settings.token.get_secret_value().strip()
        path = self._settings.token_file
        return _token_file(path) if path is not None else None


class HttpCredentials:
    """The bearer token that the gate verified, on streamable HTTP and SSE."""

    def find(self, ctx: Any, meta: Mapping[str, Any]) -> Claims | Unauthenticated:
        claims = ctx.request.scope.get(CLAIMS) if ctx.request is not None else None
        return claims if isinstance(claims, Claims) else self.explain(Unauthenticated("none"))

    def explain(self, refusal: Unauthenticated) -> Unauthenticated:
        return Unauthenticated(refusal.reason, None, "Get a new grant or token for this call.")

    def connection(self, ctx: Any) -> str:
        return str(ctx.request.query_params.get("session_id")) if ctx.request is not None else ""

    def peer(self, ctx: Any) -> str:
        return ctx.request.client.host if ctx.request is not None and ctx.request.client else "unknown"


def _token_file(path: Path) -> str | None:
    try:
        return path.read_text("utf-8").strip() or None
    except OSError:
        return None
