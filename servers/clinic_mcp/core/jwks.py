"""A provider's public keys: fetched from the one address in settings, cached, and kept when the provider is away."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from clinic_mcp.core import files
from clinic_mcp.core.providers import Provider
from clinic_mcp.core.urls import is_loopback

MAX_AGE = 600.0
"""Seconds after which a set is fetched again, known keys or not: a key taken out of it ends by then."""
REFRESH_PAUSE = 30.0
"""Seconds between two fetches at least, whatever tokens name and however the last one ended."""
FETCH_TIMEOUT = 5.0
"""Seconds a fetch waits for the provider."""
SIZE_LIMIT = 256 * 1024
"""Bytes a set may have."""

_PUBLIC = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
"""Members of a public key (RFC 7518, sections 6.2.1 and 6.3.1; RFC 8037, section 2); others are dropped."""
_FITS = {"RS256": ("RSA", None), "PS256": ("RSA", None), "ES256": ("EC", "P-256"), "EdDSA": ("OKP", "Ed25519")}
"""Key type and curve of each algorithm (RFC 7518, section 3.1; RFC 8037, section 3.1)."""
_RSA_BITS = range(2048, 8193)
"""RFC 7518, sections 3.3 and 3.5: 2048 bits or more. The upper bound keeps a verification quick."""


class ProviderKeys:
    """The keys of one provider that count now.

    Reading never waits; fetching is one thread's work at a time, the others go on with the set in force where it has
    their key.

    Args:
        provider: Whose keys, and of which algorithm.
        folder: Where the last good set is kept over restarts.
        clock: Seconds that only go forward.
    """

    def __init__(self, provider: Provider, folder: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._provider = provider
        self._file = folder / f"provider-{hashlib.sha256(provider.issuer.encode()).hexdigest()[:16]}.json"
        self._clock = clock
        self._fetched: float | None = None
        self._tried: float | None = None
        self._refreshing = threading.Lock()
        self._lines = structlog.get_logger().bind(issuer=provider.issuer)
        self._keys = self._saved()

    def find(self, kid: str, *, wait: bool = True) -> jwt.PyJWK | None:
        """The key of that id; an unknown one is asked for, at most every 30 seconds.

        Args:
            kid: The key's id.
            wait: Whether the provider may be asked. False looks into the set in force, and never waits.
        """
        if wait and self._due(kid):
            self._refresh(kid)
        return self._keys.get(kid)

    def ready(self, kid: str) -> bool:
        """Whether `find` would answer without waiting for the provider."""
        return not self._due(kid) or (kid in self._keys and self._refreshing.locked())

    @property
    def empty(self) -> bool:
        """Whether there is no key at all: the provider was never reached, or has none that fits."""
        return not self._keys

    def _due(self, kid: str) -> bool:
        moment = self._clock()
        if self._tried is not None and moment - self._tried < REFRESH_PAUSE:
            return False
        return kid not in self._keys or self._fetched is None or moment - self._fetched >= MAX_AGE

    def _refresh(self, kid: str) -> None:
        if not self._refreshing.acquire(blocking=kid not in self._keys):
            return  # somebody is at it, and the set in force has the key
        try:
            if not self._due(kid):
                return  # somebody else just did it
            started = self._clock()
            try:
                document = _fetch(self._provider.jwks_uri)
                keys = usable(document, self._provider.algorithm)
            finally:
                self._tried = started
            self._keys, self._fetched = keys, started
            self._lines.info("provider.keys.fetched", keys=len(keys))
            self._save(document)
        except UnavailableError as exc:
            self._lines.warning("provider.keys.unavailable", reason=str(exc), keys_kept=len(self._keys))
        finally:
            self._refreshing.release()

    def _saved(self) -> dict[str, jwt.PyJWK]:
        try:
            kept = json.loads(self._file.read_text("utf-8"))
            if (kept["issuer"], kept["jwks_uri"]) != (self._provider.issuer, self._provider.jwks_uri):
                return {}
            return usable(kept, self._provider.algorithm)
        except (OSError, ValueError, KeyError, TypeError, RecursionError, UnavailableError):
            return {}

    def _save(self, document: dict[str, Any]) -> None:
        kept = {
            "issuer": self._provider.issuer,
            "jwks_uri": self._provider.jwks_uri,
            "keys": [public for key in document["keys"] if (public := _public(key)) is not None],
        }
        try:
            files.replace(self._file, json.dumps(kept, indent=2), 0o600)
        except OSError as exc:
            self._lines.warning("provider.keys.not_kept", reason=exc.strerror)


class UnavailableError(Exception):
    """A provider gave no set of keys. The message is our own: nothing the provider sent is in it."""


def usable(document: Any, algorithm: str) -> dict[str, jwt.PyJWK]:
    """The keys of a set that can verify this algorithm, by id.

    Passed over: another key type or curve, another `alg`, a `use` other than `sig`, `key_ops` without `verify`
    (RFC 7517, sections 4.2 to 4.4), an RSA key under 2048 bits, no `kid`, and a `kid` that two keys share.

    Args:
        document: A JWK Set (RFC 7517, section 5).
        algorithm: The one algorithm tokens are signed with.

    Raises:
        UnavailableError: It is not a JWK Set.
    """
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise UnavailableError("not a JWK Set")
    found: dict[str, jwt.PyJWK] = {}
    shared: set[str] = set()
    for entry in document["keys"]:
        key = _key(entry, algorithm)
        if key is None or key.key_id is None:
            continue
        if key.key_id in found:
            shared.add(key.key_id)
        found[key.key_id] = key
    return {kid: key for kid, key in found.items() if kid not in shared}


def _key(entry: Any, algorithm: str) -> jwt.PyJWK | None:
    public = _public(entry)
    kind, curve = _FITS[algorithm]
    if public is None or public["kty"] != kind or (curve is not None and public.get("crv") != curve):
        return None
    if public.get("alg", algorithm) != algorithm or public.get("use", "sig") != "sig":
        return None
    operations = public.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    try:
        key = jwt.PyJWK(public, algorithm=algorithm)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError):
        return None
    if isinstance(key.key, RSAPublicKey) and key.key.key_size not in _RSA_BITS:
        return None
    return key


def _public(entry: Any) -> dict[str, Any] | None:
    """The public members of a key with a name, whatever else came along."""
    if not isinstance(entry, dict) or not isinstance(entry.get("kid"), str) or not 0 < len(entry["kid"]) <= 256:
        return None
    kind = entry.get("kty")
    if not isinstance(kind, str) or kind not in _PUBLIC:
        return None
    kept = ("kid", "kty", "alg", "use", "key_ops", *_PUBLIC[kind])
    return {name: entry[name] for name in kept if name in entry}


def _fetch(url: str) -> dict[str, Any]:
    """A set of keys from its one address: no redirect, nothing compressed, bounded in size and time.

    Raises:
        UnavailableError: There is none to be had.
    """
    import httpx

    deadline = time.monotonic() + FETCH_TIMEOUT
    headers = {"Accept": "application/jwk-set+json, application/json", "Accept-Encoding": "identity"}
    body = bytearray()
    # A proxy of the operator's may lead to the provider, never to this machine.
    proxied = not is_loopback(urlsplit(url).hostname or "")
    try:
        with (
            httpx.Client(timeout=FETCH_TIMEOUT, follow_redirects=False, trust_env=proxied) as client,
            client.stream("GET", url, headers=headers) as response,
        ):
            if response.status_code != 200:
                raise UnavailableError(f"HTTP {response.status_code}")
            for chunk in response.iter_raw():  # what came compressed in spite of the header is not JSON
                body += chunk
                if len(body) > SIZE_LIMIT:
                    raise UnavailableError("too large")
                if time.monotonic() > deadline:
                    raise UnavailableError("too slow")
        document: dict[str, Any] = json.loads(body)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as exc:
        raise UnavailableError(type(exc).__name__) from exc
    except (ValueError, RecursionError) as exc:
        raise UnavailableError("not JSON") from exc
    return document
