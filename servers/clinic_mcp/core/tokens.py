"""The clinic's own signed tokens: what one says once every part of it has been checked, and only then."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clinic_mcp.core import jws
from clinic_mcp.core.errors import Unauthenticated
from clinic_mcp.core.jws import LEEWAY
from clinic_mcp.core.own_keys import ALGORITHM, OwnKeys
from clinic_mcp.core.remembered import Remembered

TOKEN_TYPE = "at+jwt"  # noqa: S105 - RFC 9068, section 2.1: the `typ` of a JWT access token
GRANT_LIFETIME = 15 * 60
"""Longest life of an agent's grant, in seconds."""
PERSON_LIFETIME = 12 * 60 * 60
"""Longest life of a person's token, in seconds: a working day."""
PATIENT_LIFETIME = 60 * 60
"""Longest life of a token the operator issues to a patient, in seconds."""
REQUIRED = ("iss", "aud", "exp", "iat", "nbf", "jti", "sub")
"""Claims every token of the clinic's own has (RFC 9068, section 2.2, and `nbf`)."""


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
        issuer: The OpenID provider that vouches for a person, or none for a token of this clinic's own.
        roles: The roles that provider vouches for.
    """

    subject: str
    clinic: str
    jti: str
    expires: int
    client: str
    agent: str | None = None
    consultation: str | None = None
    patient: str | None = None
    issuer: str | None = None
    roles: tuple[str, ...] = ()


class TokenVerifier:
    """Checks the clinic's own tokens against its public keys.

    Args:
        jwks: File with the public keys (JWK Set); read again when it changes.
        issuer: The one `iss` accepted.
        audiences: The exact `aud` values accepted.

    Raises:
        Misconfigured: There are no keys to check against.
    """

    def __init__(self, jwks: Path, issuer: str, audiences: frozenset[str]) -> None:
        self.issuer = issuer
        self._keys = OwnKeys(jwks)
        self._audiences = audiences
        self._verified: Remembered[Claims] = Remembered()

    def verify(self, token: str) -> Claims:
        """The claims of a valid token.

        Args:
            token: The compact JWT.

        Raises:
            Unauthenticated: It is not one; `reason` says why, for the audit log.
            Misconfigured: There are no keys to check against.
        """
        claims = self.remembered(token) or self._check(token)
        if claims.expires + LEEWAY <= time.time():
            raise Unauthenticated("expired")
        return claims

    def remembered(self, token: str) -> Claims | None:
        """What a token said when it was verified lately, if its key is still in force. It may have expired since."""
        entry = self._verified.get(token)
        return entry.claims if entry is not None and self._keys.find(entry.kid) is entry.key else None

    def _check(self, token: str) -> Claims:
        kid = jws.key_id(token, algorithm=ALGORITHM, types={TOKEN_TYPE})
        key = self._keys.find(kid)
        if key is None:
            raise Unauthenticated("unknown-key")
        claims = self._claims(jws.payload(token, key, algorithm=ALGORITHM, issuer=self.issuer, required=REQUIRED))
        self._verified.put(token, claims, kid, key)
        return claims

    def _claims(self, payload: dict[str, Any]) -> Claims:
        def text(value: object, name: str) -> str:
            if not isinstance(value, str) or not 0 < len(value) <= 256:
                raise Unauthenticated(f"bad-{name}")
            return value

        audience = payload["aud"]
        if not isinstance(audience, str) or audience not in self._audiences:
            raise Unauthenticated("wrong-audience")
        actor = payload.get("act")
        if actor is None:
            if "sid" in payload or "patient" in payload:
                raise Unauthenticated("bad-act")
            agent = consultation = patient = None
        else:
            agent = text(actor.get("sub") if isinstance(actor, dict) else None, "act")
            consultation = text(payload.get("sid"), "sid")
            patient = text(payload.get("patient"), "patient")
        if payload["exp"] - payload["iat"] > (GRANT_LIFETIME if agent else PERSON_LIFETIME):
            raise Unauthenticated("lives-too-long")
        subject = text(payload["sub"], "sub")
        return Claims(
            subject=subject,
            clinic=text(payload.get("clinic"), "clinic"),
            jti=text(payload["jti"], "jti"),
            expires=payload["exp"],
            client=text(payload.get("client_id", subject), "client"),
            agent=agent,
            consultation=consultation,
            patient=patient,
        )
