"""Signing in with the clinic's OpenID provider: authorization code with PKCE, state and nonce.

What comes of it is an access token, which is then checked as any other: the sign-in itself opens no door. Addresses are
those of settings; nothing that a token or an answer names is fetched.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

import structlog

from clinic_mcp.core import jws
from clinic_mcp.core.errors import Misconfigured, Unauthenticated, Unavailable
from clinic_mcp.core.jwks import ProviderKeys
from clinic_mcp.core.providers import Provider, SignIn
from clinic_mcp.core.settings import REVIEW, Settings
from clinic_mcp.core.urls import is_loopback

CALLBACK = "/login/openid/callback"
LASTS = 10 * 60.0
"""Seconds somebody may take to sign in at the provider."""
MOST = 100
"""Sign-ins under way at once; the oldest makes room."""
TIMEOUT = 10.0
"""Seconds the provider may take to redeem a code."""
SIZE_LIMIT = 64 * 1024
"""Bytes of its answer."""
ID_TOKEN_TYPES = frozenset({"", "jwt"})
"""`typ` of an ID token: RFC 7519, section 5.1, or none."""


@dataclass(frozen=True)
class Offer:
    """A provider auditors can sign in with.

    Args:
        provider: It.
        sign_in: How.
        keys: Its public keys, for its ID tokens.
        secret: The page's secret there; none for a public client.
    """

    provider: Provider
    sign_in: SignIn
    keys: ProviderKeys
    secret: str | None = field(repr=False)

    @property
    def name(self) -> str:
        """What people call it: its host."""
        return urlsplit(self.provider.issuer).netloc


@dataclass(frozen=True)
class _Flow:
    """A sign-in under way: what only the browser that began it, and this page, know."""

    offer: Offer
    verifier: str = field(repr=False)
    nonce: str
    browser: str = field(repr=False)
    began: float


class OpenId:
    """Sign-ins under way.

    Args:
        settings: The operator's settings.
        providers: The providers trusted.
        url: The page's own URL: the resource its tokens are for (RFC 8707), and where browsers come back to.
        clock: Seconds that only go forward.

    Raises:
        Misconfigured: A secret's file cannot be read.
    """

    def __init__(
        self,
        settings: Settings,
        providers: Sequence[Provider],
        url: str,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.offers = [
            Offer(one, one.review, ProviderKeys(one, settings.keys), _secret(one.review))
            for one in providers
            if one.review is not None
        ]
        self._resource = url
        self._redirect = url.rstrip("/") + CALLBACK
        self._clock = clock
        self._lock = threading.Lock()
        self._flows: dict[str, _Flow] = {}
        self._lines = structlog.get_logger().bind(part=REVIEW)

    def begin(self, number: int) -> tuple[str, str]:
        """Send a browser to a provider.

        Args:
            number: Which of the offers.

        Returns:
            Where to, and what to leave in the browser's cookie until it comes back.

        Raises:
            Unauthenticated: There is no such offer.
        """
        if not 0 <= number < len(self.offers):
            raise Unauthenticated("unknown-provider")
        offer = self.offers[number]
        state, browser, verifier, nonce = (secrets.token_urlsafe(32) for _ in range(4))
        with self._lock:
            moment = self._clock()
            self._flows = {name: one for name, one in self._flows.items() if moment - one.began < LASTS}
            while len(self._flows) >= MOST:
                del self._flows[next(iter(self._flows))]
            self._flows[state] = _Flow(offer, verifier, nonce, browser, moment)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "response_type": "code",
            "client_id": offer.sign_in.client_id,
            "redirect_uri": self._redirect,
            "scope": " ".join(offer.sign_in.scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",  # RFC 7636, section 4.3
            "resource": self._resource,
        }
        where = offer.sign_in.authorization_endpoint
        return f"{where}{'&' if '?' in where else '?'}{urlencode(asked)}", browser

    def finish(self, answer: Mapping[str, str], browser: str | None) -> str:
        """The access token of somebody who comes back.

        Args:
            answer: The query they come back with.
            browser: What their cookie holds.

        Raises:
            Unauthenticated: They did not begin here, were refused there, or the provider's answer does not hold.
            Unavailable: The provider does not answer.
        """
        with self._lock:
            flow = self._flows.pop(answer.get("state", ""), None)  # a state counts once
        if flow is None or self._clock() - flow.began >= LASTS:
            raise Unauthenticated("unknown-state")
        if not hmac.compare_digest(flow.browser.encode(), (browser or "").encode("utf-8", "replace")):
            raise Unauthenticated("other-browser")
        if answer.get("iss", flow.offer.provider.issuer) != flow.offer.provider.issuer:  # RFC 9207, section 2.4
            raise Unauthenticated("wrong-issuer")
        code = answer.get("code")
        if "error" in answer or not code:
            raise Unauthenticated("refused-by-provider")
        issued = self._redeem(flow, code)
        access, identity = issued.get("access_token"), issued.get("id_token")
        if not isinstance(access, str) or not isinstance(identity, str):
            raise Unauthenticated("no-token")
        self._check_identity(flow, identity)
        return access

    def _check_identity(self, flow: _Flow, token: str) -> None:
        """The ID token is this provider's, for this client, and of this very sign-in (OpenID Connect Core 1.0,
        section 3.1.3.7)."""
        provider = flow.offer.provider
        kid = jws.key_id(token, algorithm=provider.algorithm, types=ID_TOKEN_TYPES)
        key = flow.offer.keys.find(kid)
        if key is None:
            raise Unauthenticated("no-keys" if flow.offer.keys.empty else "unknown-key")
        required = ("iss", "aud", "exp", "iat", "sub", "nonce")
        claims = jws.payload(token, key, algorithm=provider.algorithm, issuer=provider.issuer, required=required)
        if claims["aud"] not in (flow.offer.sign_in.client_id, [flow.offer.sign_in.client_id]):
            raise Unauthenticated("wrong-audience")
        if claims["nonce"] != flow.nonce:
            raise Unauthenticated("wrong-nonce")

    def _redeem(self, flow: _Flow, code: str) -> dict[str, Any]:
        offer = flow.offer
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect,
            "code_verifier": flow.verifier,
            "resource": self._resource,
        }
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if offer.secret is None:
            form["client_id"] = offer.sign_in.client_id
        else:  # RFC 6749, section 2.3.1
            pair = f"{quote_plus(offer.sign_in.client_id)}:{quote_plus(offer.secret)}"
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        status, document = _post(offer.sign_in.token_endpoint, form, headers)
        if status != 200 or not isinstance(document, dict):
            self._lines.warning("openid.code_refused", issuer=offer.provider.issuer, status=status)
            raise Unauthenticated("code-refused")
        return document


def _secret(sign_in: SignIn) -> str | None:
    if sign_in.client_secret_file is None:
        return None
    try:
        secret = sign_in.client_secret_file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise Misconfigured(f"The secret in {sign_in.client_secret_file} cannot be read.") from exc
    if not secret:
        raise Misconfigured(f"There is no secret in {sign_in.client_secret_file}.")
    return secret


def _post(url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> tuple[int, Any]:
    """Post a form to the one address of settings: no redirect, bounded in size and time.

    Raises:
        Unavailable: There is no answer.
    """
    import httpx

    deadline = time.monotonic() + TIMEOUT
    body = bytearray()
    proxied = not is_loopback(urlsplit(url).hostname or "")
    try:
        with (
            httpx.Client(timeout=TIMEOUT, follow_redirects=False, trust_env=proxied) as client,
            client.stream("POST", url, data=dict(form), headers=dict(headers)) as response,
        ):
            for chunk in response.iter_raw():
                body += chunk
                if len(body) > SIZE_LIMIT or time.monotonic() > deadline:
                    raise Unavailable("The OpenID provider's answer is too long or too slow.", "Try again.")
        return response.status_code, json.loads(body)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as exc:
        raise Unavailable("The OpenID provider does not answer.", "Try again, or sign in with a token.") from exc
    except (ValueError, RecursionError):
        return response.status_code, None
