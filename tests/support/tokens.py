"""Tokens signed with the clinic's own key, and tokens broken in every way a token can be."""

from __future__ import annotations

import base64
import json
import secrets
import time
from pathlib import Path
from typing import Any

import jwt
from clinic_mcp.consultations.keys import new_key

from support.encoding import b64, part

Json = dict[str, Any]


class Minter:
    """Signs what a test asks for.

    Args:
        keys: The clinic's `keys` folder.
    """

    def __init__(self, keys: Path) -> None:
        self.key: dict[str, str] = json.loads((keys / "grants.jwk").read_text("utf-8"))
        self.stranger = {**new_key(), "kid": self.key["kid"]}

    def claims(self, session: str, agent: str, about: str, audience: str, /, **changes: Any) -> Json:
        """A grant's claims; a change to `...` leaves the claim out."""
        now = int(time.time())
        claims: Json = {
            "iss": "urn:clinic-mcp:issuer",
            "aud": audience,
            "iat": now,
            "nbf": now,
            "exp": now + 900,
            "jti": secrets.token_urlsafe(12),
            "sub": "dr-osei",
            "clinic": "main",
            "client_id": "clinic-agent",
            "act": {"sub": agent},
            "sid": session,
            "patient": about,
            **changes,
        }
        return {name: value for name, value in claims.items() if value is not ...}

    def grant(
        self, session: str, agent: str, about: str = "P001", /, audience: str = "clinic-mcp", **changes: Any
    ) -> str:
        return self.sign(self.claims(session, agent, about, audience, **changes))

    def person(self, person: str, audience: str = "clinic-mcp", **changes: Any) -> str:
        own = {"sub": person, "client_id": person, "act": ..., "sid": ..., "patient": ...}
        return self.sign(self.claims("", "", "", audience, **{**own, **changes}))

    def sign(self, claims: Any, *, key: dict[str, str] | None = None, **headers: Any) -> str:
        """A compact JWT over any JSON, whatever a library thinks of it."""
        head = {"alg": "EdDSA", "typ": "at+jwt", "kid": self.key["kid"], **headers}
        head = {name: value for name, value in head.items() if value is not ...}
        signed = f"{part(head)}.{part(claims)}"
        signature = jwt.PyJWK(key or self.key, algorithm="EdDSA").Algorithm.sign(
            signed.encode(), jwt.PyJWK(key or self.key, algorithm="EdDSA").key
        )
        return f"{signed}.{b64(signature)}"

    def forged(self, claims: Json) -> str:
        """Signed by another key under the clinic key's name."""
        return self.sign(claims, key=self.stranger)

    def unsigned(self, claims: Json, **headers: Any) -> str:
        return f"{part({'alg': 'none', 'typ': 'at+jwt', 'kid': self.key['kid'], **headers})}.{part(claims)}."

    def hmac_with_public_key(self, claims: Json) -> str:
        """RFC 8725, section 2.1: the public key used as an HMAC secret."""
        import hashlib
        import hmac

        head = part({"alg": "HS256", "typ": "at+jwt", "kid": self.key["kid"]})
        signed = f"{head}.{part(claims)}"
        secret = base64.urlsafe_b64decode(self.key["x"] + "==")
        return f"{signed}.{b64(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"
