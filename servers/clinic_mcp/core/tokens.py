"""Signed tokens: what one says once every part of it has been checked, and only then."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt

from clinic_mcp.core.errors import Misconfigured, Unauthenticated

ALGORITHM = "EdDSA"
"""The one algorithm a token may be signed with (RFC 8037, Ed25519); the token's own header never chooses."""

TOKEN_TYPE = "at+jwt"  # noqa: S105 - RFC 9068, section 2.1: the `typ` of a JWT access token
LEEWAY = 60
"""Seconds of clock difference tolerated, either way."""
GRANT_LIFETIME = 15 * 60
"""Longest life of an agent's grant, in seconds."""
PERSON_LIFETIME = 12 * 60 * 60
"""Longest life of a person's token, in seconds: a working day."""
MAX_TOKEN_LENGTH = 8_192


@dataclass(frozen=True)
class Claims:
    """What a verified token says.

    Args:
        subject: The human on whose behalf the call is made.
        clinic: The clinic.
        jti: The token's own id.
        expires: Seconds since the epoch.
        client: The client the token was issued to.
        agent: The acting agent, or none when a person calls in their own name.
        consultation: The consultation an agent acts in.
        patient: The patient of that consultation.
    """

    subject: str
    clinic: str
    jti: str
    expires: int
    client: str
    agent: str | None = None
    consultation: str | None = None
    patient: str | None = None


class TokenVerifier:
    """Checks tokens against this clinic's public keys.

    Args:
        jwks: File with the public keys (JWK Set); read again when it changes.
        issuer: The one `iss` accepted.
        audiences: The exact `aud` values accepted.

    Raises:
        Misconfigured: There are no keys to check against.
    """

    def __init__(self, jwks: Path, issuer: str, audiences: frozenset[str]) -> None:
        self._jwks = jwks
        self._issuer = issuer
        self._audiences = audiences
        self._stamp: tuple[int, int] | None = None
        self._keys: dict[str, jwt.PyJWK] = {}
        self._verified: OrderedDict[bytes, Claims] = OrderedDict()
        self._lock = threading.Lock()
        self._refresh_keys()  # a server without keys could let nobody in: it does not start

    def verify(self, token: str) -> Claims:
        """The claims of a valid token.

        Args:
            token: The compact JWT.

        Raises:
            Unauthenticated: It is not one; `reason` says why, for the audit log.
            Misconfigured: There are no keys to check against.
        """
        with self._lock:
            self._refresh_keys()
            fingerprint = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
            claims = self._verified.get(fingerprint)
            if claims is None:
                claims = self._check(token)
                self._verified[fingerprint] = claims
                if len(self._verified) > 1_024:
                    self._verified.popitem(last=False)
        if claims.expires + LEEWAY <= time.time():
            raise Unauthenticated("expired")
        return claims

    def _refresh_keys(self) -> None:
        try:
            stat = self._jwks.stat()
            stamp = (stat.st_mtime_ns, stat.st_size)
            if stamp == self._stamp:
                return
            document = json.loads(self._jwks.read_text("utf-8"))
            keys = {key["kid"]: jwt.PyJWK(key, algorithm=ALGORITHM) for key in document["keys"]}
        except (OSError, ValueError, KeyError, jwt.PyJWTError) as exc:
            if self._keys:
                return  # the last good set stays in force
            raise Misconfigured(
                "There are no keys to check credentials with.", "Run `clinic-mcp init` for this data folder first."
            ) from exc
        self._keys, self._stamp = keys, stamp
        self._verified.clear()

    def _check(self, token: str) -> Claims:
        if len(token) > MAX_TOKEN_LENGTH:
            raise Unauthenticated("too-long")
        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") != ALGORITHM:
                raise Unauthenticated("wrong-algorithm")
            if str(header.get("typ", "")).lower() != TOKEN_TYPE:
                raise Unauthenticated("wrong-type")
            key = self._keys.get(str(header.get("kid")))
            if key is None:
                raise Unauthenticated("unknown-key")
            payload = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                issuer=self._issuer,
                leeway=LEEWAY,
                options={"require": ["iss", "aud", "exp", "iat", "jti", "sub"], "verify_aud": False},
            )
        except jwt.ExpiredSignatureError as exc:
            raise Unauthenticated("expired") from exc
        except jwt.InvalidSignatureError as exc:
            raise Unauthenticated("bad-signature") from exc
        except jwt.InvalidIssuerError as exc:
            raise Unauthenticated("wrong-issuer") from exc
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as exc:
            raise Unauthenticated("malformed") from exc
        return self._claims(payload)

    def _claims(self, payload: dict[str, Any]) -> Claims:
        def text(value: object, name: str) -> str:
            if not isinstance(value, str) or not 0 < len(value) <= 256:
                raise Unauthenticated(f"bad-{name}")
            return value

        audience, issued, expires = payload["aud"], payload["iat"], payload["exp"]
        if not isinstance(audience, str) or audience not in self._audiences:
            raise Unauthenticated("wrong-audience")
        if type(issued) is not int or type(expires) is not int:
            raise Unauthenticated("bad-times")
        actor = payload.get("act")
        if actor is None:
            if "sid" in payload or "patient" in payload:
                raise Unauthenticated("bad-act")
            agent = consultation = patient = None
        else:
            agent = text(actor.get("sub") if isinstance(actor, dict) else None, "act")
            consultation = text(payload.get("sid"), "sid")
            patient = text(payload.get("patient"), "patient")
        if expires - issued > (GRANT_LIFETIME if agent else PERSON_LIFETIME):
            raise Unauthenticated("lives-too-long")
        subject = text(payload["sub"], "sub")
        return Claims(
            subject=subject,
            clinic=text(payload.get("clinic"), "clinic"),
            jti=text(payload["jti"], "jti"),
            expires=expires,
            client=text(payload.get("client_id", subject), "client"),
            agent=agent,
            consultation=consultation,
            patient=patient,
        )
