"""Access tokens of an OpenID provider: who they name here, once everything about them has been checked."""

from __future__ import annotations

import hashlib
import re
import time
from typing import Any

import jwt

from clinic_mcp.core import jws
from clinic_mcp.core.errors import InsufficientScope, Unauthenticated
from clinic_mcp.core.identity import PATIENT_SUBJECT
from clinic_mcp.core.jwks import ProviderKeys
from clinic_mcp.core.providers import Provider
from clinic_mcp.core.remembered import Remembered
from clinic_mcp.core.roles import PERSON_ID, Role
from clinic_mcp.core.tokens import Claims

REQUIRED = ("iss", "aud", "exp", "iat", "sub")
"""RFC 9068, section 2.2, without `client_id` and `jti`, which not every provider issues."""
_ID = re.compile(PERSON_ID)
_JTI = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class ProviderTokens:
    """Checks the tokens of one provider.

    Args:
        provider: Whom to believe, and what.
        keys: Its public keys.
        audience: This server's resource identifier (RFC 8707): the exact `aud`.
        clinic: The clinic this process serves.
    """

    def __init__(self, provider: Provider, keys: ProviderKeys, *, audience: str, clinic: str) -> None:
        self._provider = provider
        self._keys = keys
        self._audience = audience
        self._clinic = clinic
        self._verified: Remembered[Claims] = Remembered()

    def verify(self, token: str, *, wait: bool = True) -> Claims:
        """The claims of a valid token.

        Args:
            token: The compact JWT, whose `iss` is this provider's.
            wait: Whether it may take a few seconds to ask the provider for its keys.

        Raises:
            Unauthenticated: It is not valid; `reason` says why, for the audit log.
            InsufficientScope: It is valid, but lacks a scope.
        """
        claims = self._remembered(token, wait) or self._check(token, wait)
        if claims.expires + jws.LEEWAY <= time.time():
            raise Unauthenticated("expired")
        return claims

    def ready(self, token: str) -> bool:
        """Whether `verify` has no reason to wait for the provider.

        Raises:
            Unauthenticated: The header alone shows that it is not valid.
        """
        return self._keys.ready(self._key_id(token))

    def _remembered(self, token: str, wait: bool) -> Claims | None:
        entry = self._verified.get(token)
        return entry.claims if entry is not None and self._keys.find(entry.kid, wait=wait) is entry.key else None

    def _key_id(self, token: str) -> str:
        return jws.key_id(token, algorithm=self._provider.algorithm, types=self._provider.types_accepted)

    def _check(self, token: str, wait: bool) -> Claims:
        kid = self._key_id(token)
        key = self._keys.find(kid, wait=wait)
        if key is None:
            raise Unauthenticated("no-keys" if self._keys.empty else "unknown-key")
        claims = self._claims(token, self._payload(token, key))
        self._verified.put(token, claims, kid, key)
        return claims

    def _payload(self, token: str, key: jwt.PyJWK) -> dict[str, Any]:
        provider = self._provider
        required = (*REQUIRED, "nbf") if provider.nbf == "required" else REQUIRED
        payload = jws.payload(token, key, algorithm=provider.algorithm, issuer=provider.issuer, required=required)
        if payload["aud"] != self._audience:  # a list, even of this one, is not this one
            raise Unauthenticated("wrong-audience")
        if payload["exp"] - payload["iat"] > provider.max_lifetime * 60:
            raise Unauthenticated("lives-too-long")
        for name, value in provider.require.items():
            if type(payload.get(name)) is not type(value) or payload[name] != value:
                raise Unauthenticated("not-as-required")
        return payload

    def _claims(self, token: str, payload: dict[str, Any]) -> Claims:
        provider = self._provider
        roles = self._roles(payload)
        if not roles:
            raise Unauthenticated("no-role")
        if roles == {Role.PATIENT} and provider.patient is not None:
            subject = PATIENT_SUBJECT + _id(payload.get(provider.patient), "patient")
        else:  # who works here calls as who they are here, even if they are also treated here
            subject = _id(payload.get(provider.person), "person")
        clinic = self._clinic if provider.clinic_claim is None else payload.get(provider.clinic_claim)
        client = payload.get("client_id", payload.get("azp", subject))  # RFC 9068, section 2.2; OpenID Connect's azp
        if not isinstance(clinic, str) or not isinstance(client, str) or len(client) > 256:
            raise Unauthenticated("bad-client" if isinstance(clinic, str) else "bad-clinic")
        self._check_scopes(payload)
        return Claims(
            subject=subject,
            clinic=clinic,
            jti=_token_id(token, payload.get("jti")),
            expires=payload["exp"],
            client=client,
            issuer=provider.issuer,
            roles=tuple(sorted(roles)),
        )

    def _roles(self, payload: dict[str, Any]) -> set[str]:
        values = _at(payload, self._provider.roles_claim)
        if isinstance(values, str):
            values = [values]
        if not isinstance(values, list):
            return set()
        mapped = (self._provider.roles.get(value) for value in values if isinstance(value, str))
        return {str(role) for role in mapped if role is not None}

    def _check_scopes(self, payload: dict[str, Any]) -> None:
        granted = payload.get("scope", "")  # RFC 9068, section 2.2.3; RFC 8693, section 4.2
        missing = set(self._provider.scopes) - set(granted.split(" ") if isinstance(granted, str) else ())
        if missing:
            raise InsufficientScope(self._provider.scopes)


def _at(payload: dict[str, Any], name: str) -> Any:
    """A claim by its name, which may itself have dots, or else by a path of names."""
    if name in payload:
        return payload[name]
    value: Any = payload
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _id(value: Any, name: str) -> str:
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise Unauthenticated(f"bad-{name}")
    return value


def _token_id(token: str, jti: Any) -> str:
    """The token's own id where it has one that can stand on the record, else its SHA-256."""
    if isinstance(jti, str) and _JTI.fullmatch(jti):
        return jti
    return "sha256:" + hashlib.sha256(token.encode("ascii")).hexdigest()
