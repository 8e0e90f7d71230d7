"""How a client proves who it is at the token endpoint: with its private key, or with a secret."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_plus

import jwt
from sqlalchemy import delete, insert, select

from clinic_mcp.consultations.keys import CLIENT_AUDIENCE
from clinic_mcp.core.clinic import clients, used_assertions
from clinic_mcp.core.db import Database
from clinic_mcp.core.errors import Unauthenticated
from clinic_mcp.core.jws import LEEWAY
from clinic_mcp.core.own_keys import ALGORITHM
from clinic_mcp.core.postgres import hold

JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_LIFETIME = 120
"""Seconds a client's assertion may live."""
_NOBODYS_SECRET = hashlib.sha256(b"").hexdigest()


class ClientAuthentication:
    """Knows the clinic's clients.

    Args:
        database: The clinic's.
        clinic_id: The clinic.
    """

    def __init__(self, database: Database, clinic_id: str) -> None:
        self._database = database
        self._clinic_id = clinic_id

    def authenticate(self, form: Mapping[str, str], authorization: str | None) -> Any:
        """The row of the client that sent a token request.

        Args:
            form: The request's fields.
            authorization: The `Authorization` header, if there is one.

        Raises:
            Unauthenticated: It did not prove who it is, or tried in more than one way (RFC 6749, section 2.3).
        """
        ways = [
            way
            for way, used in (
                (self._by_assertion, "client_assertion" in form or "client_assertion_type" in form),
                (self._by_posted_secret, "client_secret" in form),
                (self._by_basic, authorization is not None),
            )
            if used
        ]
        if len(ways) != 1:
            raise Unauthenticated("malformed" if ways else "none")
        return ways[0](form, authorization)

    def _by_basic(self, form: Mapping[str, str], authorization: str | None) -> Any:
        """`client_secret_basic` (RFC 6749, section 2.3.1): both parts form-encoded, then HTTP Basic (RFC 7617)."""
        scheme, _, encoded = (authorization or "").partition(" ")
        if scheme.lower() != "basic":
            raise Unauthenticated("malformed")
        try:
            name, colon, secret = base64.b64decode(encoded.strip(), validate=True).decode("utf-8").partition(":")
            client_id, secret = unquote_plus(name, errors="strict"), unquote_plus(secret, errors="strict")
        except (binascii.Error, ValueError) as exc:
            raise Unauthenticated("malformed") from exc
        if not colon or form.get("client_id", client_id) != client_id:
            raise Unauthenticated("malformed")
        return self._by_secret(client_id, secret)

    def _by_posted_secret(self, form: Mapping[str, str], _authorization: str | None) -> Any:
        """`client_secret_post` (RFC 6749, section 2.3.1)."""
        return self._by_secret(form.get("client_id", ""), form["client_secret"])

    def _by_secret(self, client_id: str, secret: str) -> Any:
        """The clinic keeps the SHA-256 of a secret of 32 random bytes: nobody guesses its preimage, so no slow hash is
        needed. An unknown client takes the same path as a wrong secret."""
        client = self._client(client_id)
        kept = (client.secret_sha256 if client is not None else None) or _NOBODYS_SECRET
        given = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
        same = hmac.compare_digest(given, kept)
        if client is None:
            raise Unauthenticated("unknown-client")
        if not same or not secret or client.secret_sha256 is None:
            raise Unauthenticated("bad-secret")
        return client

    def _by_assertion(self, form: Mapping[str, str], _authorization: str | None) -> Any:
        """`private_key_jwt` (RFC 7523, section 3): the assertion proves the client holds its key, once."""
        assertion = form.get("client_assertion", "")
        if form.get("client_assertion_type") != JWT_BEARER or not assertion:
            raise Unauthenticated("none")
        try:
            named = jwt.decode(assertion, options={"verify_signature": False}).get("sub")
            client = self._client(str(named))
            if client is None:
                raise Unauthenticated("unknown-client")
            if not client.public_key:
                raise Unauthenticated("bad-assertion")
            claims = jwt.decode(
                assertion,
                jwt.PyJWK(json.loads(client.public_key), algorithm=ALGORITHM),
                algorithms=[ALGORITHM],
                audience=CLIENT_AUDIENCE,
                issuer=client.id,
                leeway=LEEWAY,
                options={"require": ["iss", "sub", "aud", "exp", "iat", "jti"], "strict_aud": True},
            )
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as exc:
            raise Unauthenticated("bad-assertion") from exc
        if claims["exp"] - claims["iat"] > ASSERTION_LIFETIME:
            raise Unauthenticated("lives-too-long")
        self._use_once(client.id, str(claims["jti"]), int(claims["exp"]))
        return client

    def _client(self, client_id: str) -> Any:
        if "\x00" in client_id or not client_id.isprintable():
            return None
        with self._database.read() as connection:
            return connection.execute(
                select(clients).where(
                    clients.c.id == client_id, clients.c.clinic_id == self._clinic_id, clients.c.active
                )
            ).first()

    def _use_once(self, client_id: str, jti: str, expires: int) -> None:
        name = hashlib.sha256(f"{client_id}\0{jti}".encode("utf-8", "surrogatepass")).hexdigest()
        with self._database.write() as connection:
            hold(connection, f"assertion:{name}")
            forgotten = used_assertions.c.expires < int(time.time()) - LEEWAY
            connection.execute(delete(used_assertions).where(forgotten))
            if connection.execute(select(used_assertions.c.id).where(used_assertions.c.id == name)).first():
                raise Unauthenticated("replayed")
            row = {"id": name, "clinic_id": self._clinic_id, "expires": expires}
            connection.execute(insert(used_assertions), row)
