"""What a compact JWS must look like before anybody asks who signed it, and the names of its faults."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import jwt

from clinic_mcp.core.errors import Unauthenticated

LEEWAY = 60
"""Seconds of clock difference tolerated, either way (RFC 7519, sections 4.1.4 and 4.1.5: "a few minutes" at most)."""
MAX_TOKEN_LENGTH = 8_192
"""Characters a token may have."""
FOREIGN_KEY_MATERIAL = frozenset({"jku", "x5u", "x5c", "jwk"})
"""Header parameters that bring or name a key (RFC 7515, sections 4.1.2, 4.1.3, 4.1.5 and 4.1.6). Keys come from
settings; a token that offers its own is refused, and nothing it names is fetched (RFC 8725, section 3.10)."""


def key_id(token: str, *, algorithm: str, types: Collection[str]) -> str:
    """The `kid` of a token whose header is acceptable. Nothing is verified yet.

    Args:
        token: The compact JWS.
        algorithm: The one `alg` accepted; the header never chooses (RFC 8725, section 3.1).
        types: The `typ` values accepted, in lower case; the empty one allows an absent `typ` (RFC 8725, section 3.11).

    Raises:
        Unauthenticated: It is too long, malformed, of another algorithm or type, brings a key, or asks for an
            extension (`crit`, RFC 7515, section 4.1.11: none is understood here, so all are refused).
    """
    if len(token) > MAX_TOKEN_LENGTH:
        raise Unauthenticated("too-long")
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as exc:
        raise Unauthenticated("malformed") from exc
    if header.get("alg") != algorithm:
        raise Unauthenticated("wrong-algorithm")
    if FOREIGN_KEY_MATERIAL & header.keys():
        raise Unauthenticated("foreign-key-material")
    if "crit" in header:
        raise Unauthenticated("critical-header")
    kind = header.get("typ", "")
    if not isinstance(kind, str) or kind.lower() not in types:
        raise Unauthenticated("wrong-type")
    kid = header.get("kid")
    return kid if isinstance(kid, str) else ""


def payload(token: str, key: jwt.PyJWK, *, algorithm: str, issuer: str, required: Sequence[str]) -> dict[str, Any]:
    """The claims of a token that this key signed, whose issuer, times and form are right. The audience is not
    looked at.

    Args:
        token: The compact JWS.
        key: The public key that must have signed it.
        algorithm: The algorithm it must have been signed with.
        issuer: The exact `iss`.
        required: Claims that must be there, `exp` and `iat` among them.

    Raises:
        Unauthenticated: They are not; `reason` says which.
    """
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            issuer=issuer,
            leeway=LEEWAY,
            options={"require": list(required), "verify_aud": False},
        )
    except jwt.ExpiredSignatureError as exc:
        raise Unauthenticated("expired") from exc
    except jwt.ImmatureSignatureError as exc:
        raise Unauthenticated("not-yet-valid") from exc
    except jwt.MissingRequiredClaimError as exc:
        raise Unauthenticated("missing-claim") from exc
    except jwt.InvalidSignatureError as exc:
        raise Unauthenticated("bad-signature") from exc
    except jwt.InvalidIssuerError as exc:
        raise Unauthenticated("wrong-issuer") from exc
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as exc:
        raise Unauthenticated("malformed") from exc
    # The library reads a number out of a string and out of a fraction; a NumericDate here is an integer.
    if any(type(claims[name]) is not int for name in ("exp", "iat", "nbf") if name in claims):
        raise Unauthenticated("bad-times")
    return claims
