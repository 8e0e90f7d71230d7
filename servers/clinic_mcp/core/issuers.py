"""Whose token is it? The clinic's own, or one of a provider in settings; nobody else's counts."""

from __future__ import annotations

import time
from collections.abc import Callable

import jwt

from clinic_mcp.core.errors import Unauthenticated
from clinic_mcp.core.jwks import ProviderKeys
from clinic_mcp.core.jws import MAX_TOKEN_LENGTH
from clinic_mcp.core.provider_tokens import ProviderTokens
from clinic_mcp.core.providers import Provider, load_providers
from clinic_mcp.core.settings import Settings
from clinic_mcp.core.tokens import Claims, TokenVerifier


class Issuers:
    """Checks a token with the verifier of whoever it says it is from.

    What a token says of itself only chooses which of the configured verifiers refuses or accepts it. A name that is
    none of theirs, be it for a slash, is refused; nothing it names is fetched.

    Args:
        settings: The operator's settings.
        audiences: The exact `aud` values of the clinic's own tokens.
        resource: The resource identifier of this server (RFC 8707): the exact `aud` of providers' tokens.
        clock: Seconds that only go forward, for the age of providers' keys.

    Raises:
        Misconfigured: There are no own keys, or the providers' file cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        audiences: frozenset[str],
        resource: str,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.providers: tuple[Provider, ...] = load_providers(settings.providers, own_issuer=settings.issuer)
        self._own = TokenVerifier(settings.keys / "jwks.json", settings.issuer, audiences)
        self._others = {
            provider.issuer: ProviderTokens(
                provider, ProviderKeys(provider, settings.keys, clock=clock), audience=resource, clinic=settings.id
            )
            for provider in self.providers
        }

    def verify(self, token: str, *, wait: bool = True) -> Claims:
        """The claims of a valid token.

        Args:
            token: The compact JWT.
            wait: Whether it may take a few seconds to ask a provider for its keys. An event loop may not.

        Raises:
            Unauthenticated: It is not one; `reason` says why, for the audit log.
            Misconfigured: There are no keys to check against.
        """
        other = self._other(token)
        return self._own.verify(token) if other is None else other.verify(token, wait=wait)

    def ready(self, token: str) -> bool:
        """Whether `verify` has no reason to wait for a provider.

        Raises:
            Unauthenticated: It is plain already that it would refuse.
        """
        other = self._other(token)
        return other is None or other.ready(token)

    def _other(self, token: str) -> ProviderTokens | None:
        """The provider whose token it says it is; none for the clinic's own and for what cannot be read."""
        if not self._others or len(token) > MAX_TOKEN_LENGTH:
            return None
        try:
            issuer = jwt.decode(token, options={"verify_signature": False}).get("iss")
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            return None
        if not isinstance(issuer, str):
            return None
        if issuer != self._own.issuer and issuer not in self._others:
            raise Unauthenticated("wrong-issuer")
        return self._others.get(issuer)
