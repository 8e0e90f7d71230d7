"""What a server says of itself as an OAuth resource: who it is, and whom it trusts (RFC 9728)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from clinic_mcp.core.errors import Misconfigured
from clinic_mcp.core.providers import Provider
from clinic_mcp.core.settings import DEFAULT_PORTS, Settings
from clinic_mcp.core.urls import is_loopback

WELL_KNOWN = "/.well-known/oauth-protected-resource"
"""RFC 9728, section 3."""


@dataclass(frozen=True)
class Resource:
    """A server as a resource.

    Args:
        url: Its resource identifier, the exact `aud` of a provider's token (RFC 8707, section 2).
        name: What people read.
        path: Where on this process its endpoint is, e.g. `/mcp`.
        providers: Whom it trusts beside the clinic itself.
    """

    url: str
    name: str
    path: str
    providers: Sequence[Provider]

    @property
    def metadata_url(self) -> str | None:
        """Where clients find its metadata: the well-known path between host and path (RFC 9728, section 3.1)."""
        if not self.providers:
            return None
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}{WELL_KNOWN}{parts.path.rstrip('/')}"

    @property
    def metadata(self) -> dict[str, object]:
        """RFC 9728, section 2. Strings as configured, because clients compare them character by character."""
        scopes = sorted({scope for provider in self.providers for scope in provider.scopes})
        return {
            "resource": self.url,
            "authorization_servers": [provider.issuer for provider in self.providers],
            "bearer_methods_supported": ["header"],
            "resource_name": self.name,
            **({"scopes_supported": scopes} if scopes else {}),
        }

    @property
    def metadata_paths(self) -> frozenset[str]:
        """The paths its metadata is served at: alone, with this process's path, and with the public one."""
        paths = ("", self.path, urlsplit(self.url).path)
        return frozenset(WELL_KNOWN + path.rstrip("/") for path in paths)


class ResourceMetadata:
    """ASGI middleware that answers for a resource's metadata without a token; 404 where no provider is trusted.

    Args:
        app: What answers everything else.
        resource: The resource.
    """

    def __init__(self, app: ASGIApp, resource: Resource) -> None:
        self.app = app
        self.resource = resource
        self.paths = resource.metadata_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in self.paths:
            await self.app(scope, receive, send)
        elif not self.resource.providers:
            await PlainTextResponse("Not Found", status_code=404)(scope, receive, send)
        elif scope["method"] not in ("GET", "HEAD"):
            await PlainTextResponse("Method Not Allowed", 405, {"Allow": "GET, HEAD"})(scope, receive, send)
        else:
            answer = JSONResponse(self.resource.metadata, headers={"Cache-Control": "max-age=300"})
            await answer(scope, receive, send)


def resource_url(settings: Settings, server: str, path: str, *, port: int | None = None) -> str:
    """The resource identifier of a server: its URL in CLINIC_PUBLIC_URLS, else its address on this machine.

    Args:
        settings: The operator's settings.
        server: The server's name.
        path: Where its endpoint is, e.g. `/mcp`.
        port: The port it is bound to; none means its default one.
    """
    return settings.public_urls.get(server, f"http://127.0.0.1:{port or DEFAULT_PORTS.get(server, 0)}{path}")


def check_public(settings: Settings, server: str, host: str) -> None:
    """A server that others reach needs a URL that others know, if providers are to issue tokens for it.

    Raises:
        Misconfigured: It is bound to another address than loopback, trusts providers, and has no public URL.
    """
    if settings.providers is not None and server not in settings.public_urls and not is_loopback(host):
        raise Misconfigured(
            f"CLINIC_PUBLIC_URLS has no URL for {server}, so that no provider's token could name it.",
            f'Set it, e.g. {{"{server}": "https://clinic.example/{server}/mcp"}}.',
        )
