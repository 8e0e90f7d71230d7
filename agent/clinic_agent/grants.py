"""Grants: short-lived tokens that let one agent of one consultation call one server (RFC 8693)."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from clinic_agent.credentials import Credential
from clinic_agent.errors import Refused, Unauthenticated, Unavailable

TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
CONSULTATION = "urn:clinic-mcp:token-type:consultation"
AGENT = "urn:clinic-mcp:token-type:agent"
RENEW_BEFORE = 60.0


@dataclass(frozen=True)
class Caller:
    """On whose behalf a tool is called: the consultation and the agent in it."""

    session_id: str
    agent: str


@dataclass
class _Held:
    token: str
    renew_at: float


def token_url(credential: Credential, consultations_url: str) -> str:
    """Return the token endpoint, at `consultations_url` where that is set."""
    if not consultations_url:
        return credential.token_endpoint
    return consultations_url.rstrip("/") + urlsplit(credential.token_endpoint).path


def read_token(response: httpx.Response) -> tuple[str, float]:
    """Return the token of an answer and its life in seconds.

    Raises:
        Refused: no such grant is given; the message is the service's sentence.
        Unauthenticated: the client's credential was not accepted.
        Unavailable: the service answered with something else.
    """
    try:
        body = response.json()
    except ValueError:
        body = {}
    if not isinstance(body, dict):
        body = {}
    if response.status_code == 200 and isinstance(body.get("access_token"), str):
        return body["access_token"], float(body.get("expires_in", 0))
    sentence = str(body.get("error_description") or body.get("message") or "")
    if response.status_code == 401:
        raise Unauthenticated(sentence or "The consultations service does not know this credential.")
    if response.status_code in (400, 403):
        raise Refused(sentence or "The consultations service gives no grant for this call.")
    raise Unavailable(f"The consultations service answered with HTTP {response.status_code}; try again shortly.")


class Grants:
    """Obtains grants when first needed and renews them before they expire.

    Args:
        credential: the agent's own key.
        url: the token endpoint.
        http: client for the requests; its timeouts bound every wait.
        clock: seconds that only go forward.
    """

    def __init__(
        self, credential: Credential, url: str, http: httpx.AsyncClient, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._credential = credential
        self._url = url
        self._http = http
        self._clock = clock
        self._held: dict[tuple[Caller, str], _Held] = {}
        self._locks: dict[tuple[Caller, str], asyncio.Lock] = {}

    async def get(self, caller: Caller, server: str) -> str:
        """Return a grant good for at least the next minute.

        Raises:
            Refused, Unauthenticated, Unavailable: as `read_token`; Unavailable too when nobody answers.
        """
        key = (caller, server)
        async with self._locks.setdefault(key, asyncio.Lock()):
            held = self._held.get(key)
            if held is not None and self._clock() < held.renew_at:
                return held.token
            token, life = await self._exchange(caller, server)
            self._forget_expired()
            self._held[key] = _Held(token, self._clock() + life - min(RENEW_BEFORE, life / 2))
            return token

    def discard(self, caller: Caller, server: str, token: str) -> None:
        """Throw away a grant that a server did not accept, unless it was renewed meanwhile."""
        held = self._held.get((caller, server))
        if held is not None and held.token == token:
            del self._held[caller, server]

    async def _exchange(self, caller: Caller, server: str) -> tuple[str, float]:
        form = {
            "grant_type": TOKEN_EXCHANGE,
            "subject_token": caller.session_id,
            "subject_token_type": CONSULTATION,
            "actor_token": caller.agent,
            "actor_token_type": AGENT,
            "audience": server,
        }
        try:
            response = await self._http.post(self._url, data=self._credential.authenticated(form))
        except httpx.HTTPError:
            raise Unavailable(
                f"The consultations service at {self._url} cannot be reached; start it with `clinic-mcp up`"
                " or set CLINIC_CONSULTATIONS_URL."
            ) from None
        return read_token(response)

    def _forget_expired(self) -> None:
        now = self._clock()
        for key in [key for key, held in self._held.items() if held.renew_at <= now]:
            del self._held[key]
            if key in self._locks and not self._locks[key].locked():
                del self._locks[key]
