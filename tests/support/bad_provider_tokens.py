"""Every way a token of a clinic's OpenID provider can be wrong, and the reason the record gives for it."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from support.encoding import b64, part
from support.issuer import Issuer, Key
from support.tokens import Minter


@dataclass(frozen=True)
class Forge:
    """What a wrong token is made from.

    Args:
        issuer: The provider; `support.issuer.Issuer.entry` with `scopes` and `require` is what the server knows.
        minter: Holds the clinic's own key.
        audience: The server's resource identifier.
        now: Seconds since the epoch.
        trap: A URL of a listener; nothing a token names may ever be fetched.
    """

    issuer: Issuer
    minter: Minter
    audience: str
    now: int
    trap: str = "http://127.0.0.1:9"

    def claims(self, **changes: Any) -> dict[str, Any]:
        return self.issuer.claims(self.audience, **{"token_use": "access", **changes})

    def token(self, **changes: Any) -> str:
        return self.issuer.key.sign(self.claims(**changes))


REQUIRE = {"token_use": "access"}
"""What the provider's entry requires, so that an ID token shows."""

Make = Callable[[Forge], str]


def _with(**changes: Any) -> Make:
    return lambda forge: forge.token(**changes)


def _at(**offsets: int) -> Make:
    return lambda forge: forge.token(**{name: forge.now + by for name, by in offsets.items()})


def _head(**headers: Any) -> Make:
    return lambda forge: forge.issuer.key.sign(forge.claims(), **headers)


def _aud(change: Callable[[str], Any]) -> Make:
    return lambda forge: forge.token(aud=change(forge.audience))


def _hmac(forge: Forge) -> str:
    """RFC 8725, section 2.1: the public key's PEM as an HMAC secret."""
    secret = forge.issuer.key.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signed = f"{part({'alg': 'HS256', 'typ': 'at+jwt', 'kid': forge.issuer.key.kid})}.{part(forge.claims())}"
    return f"{signed}.{b64(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"


def _id_token(forge: Forge) -> str:
    """What the same sign-in brings the client beside the access token (OpenID Connect Core 1.0, section 2)."""
    own = {"aud": "clinic-portal", "token_use": "id", "nonce": "n", "at_hash": "x", "scope": ..., "client_id": ...}
    return forge.issuer.key.sign(forge.claims(**own), typ="JWT")


BAD: dict[str, tuple[Make, str]] = {
    # issuer
    "issuer with a slash": (lambda f: f.token(iss=f.issuer.url + "/"), "wrong-issuer"),
    "issuer in other case": (lambda f: f.token(iss=f.issuer.url.upper()), "wrong-issuer"),
    "issuer another name of this machine": (
        lambda f: f.token(iss=f.issuer.url.replace("127.0.0.1", "localhost")),
        "wrong-issuer",
    ),
    "issuer a URL that listens": (lambda f: f.token(iss=f.trap), "wrong-issuer"),
    "issuer a list": (lambda f: f.token(iss=[f.issuer.url]), "wrong-algorithm"),
    "issuer missing": (_with(iss=...), "wrong-algorithm"),
    "the clinic's own issuer": (_with(iss="urn:clinic-mcp:issuer"), "wrong-algorithm"),
    "the provider's name on the clinic's own token": (
        lambda f: f.minter.person("dr-osei", "clinic-mcp", iss=f.issuer.url),
        "wrong-algorithm",
    ),
    # audience
    "audience missing": (_with(aud=...), "missing-claim"),
    "audience null": (_with(aud=None), "missing-claim"),
    "audience another server's": (_with(aud="https://clinic.example/pharmacy/mcp"), "wrong-audience"),
    "audience the name of an own token's": (_with(aud="patient-records"), "wrong-audience"),
    "audience the suite's name": (_with(aud="clinic-mcp"), "wrong-audience"),
    "audience with a slash": (_aud(lambda url: url + "/"), "wrong-audience"),
    "audience a prefix": (_aud(lambda url: url.removesuffix("/mcp")), "wrong-audience"),
    "audience the right one and more": (_aud(lambda url: url + "/../x"), "wrong-audience"),
    "audience a list of the right one": (_aud(lambda url: [url]), "wrong-audience"),
    "audience a list with the right one": (_aud(lambda url: [url, "account"]), "wrong-audience"),
    "audience an object": (_aud(lambda url: {url: True}), "wrong-audience"),
    "audience the client, as in an ID token": (_with(aud="clinic-portal"), "wrong-audience"),
    # times
    "expired": (_at(iat=-700, nbf=-700, exp=-100), "expired"),
    "expired just beyond the leeway": (_at(iat=-661, nbf=-661, exp=-61), "expired"),
    "issued in the future": (_at(iat=120, exp=600), "not-yet-valid"),
    "not yet valid": (_at(nbf=120, exp=600), "not-yet-valid"),
    "lives longer than the provider's may": (_at(iat=0, exp=3_601), "lives-too-long"),
    "lives a hundred years": (_at(iat=0, exp=100 * 365 * 86_400), "lives-too-long"),
    "lives forever": (_with(exp=...), "missing-claim"),
    "no iat": (_with(iat=...), "missing-claim"),
    "no nbf": (_with(nbf=...), "missing-claim"),
    "exp a string": (lambda f: f.token(exp=str(f.now + 600)), "bad-times"),
    "exp infinite": (_with(exp=float("inf")), "malformed"),
    "nbf a float": (lambda f: f.token(nbf=f.now - 0.5), "bad-times"),
    # who
    "no sub": (_with(sub=...), "missing-claim"),
    "sub a number": (_with(sub=7), "malformed"),
    "sub empty": (_with(sub=""), "bad-person"),
    "sub that would be a patient": (_with(sub="patient:P001"), "bad-person"),
    "sub that would be a client": (_with(sub="client:clinic-agent"), "bad-person"),
    "sub with a line break": (_with(sub="dr-osei\n"), "bad-person"),
    "sub longer than any": (_with(sub="d" * 65), "bad-person"),
    "no role": (_with(groups=...), "no-role"),
    "roles empty": (_with(groups=[]), "no-role"),
    "a role nobody maps": (_with(groups=["everyone"]), "no-role"),
    "the clinic's own word for a role": (_with(groups=["physician"]), "no-role"),
    "roles of the wrong shape": (_with(groups={"doctors": True}), "no-role"),
    "roles within roles": (_with(groups=[["doctors"], {"doctors": True}]), "no-role"),
    "a patient without an id": (_with(groups=["patients"]), "bad-patient"),
    "a patient whose id is a colon too far": (_with(groups=["patients"], patient_id="x:P001"), "bad-patient"),
    # kind
    "an ID token": (_id_token, "wrong-type"),
    "an ID token dressed as an access token": (_with(token_use="id"), "not-as-required"),
    "without what is required": (_with(token_use=...), "not-as-required"),
    "what is required in a list": (_with(token_use=["access"]), "not-as-required"),
    "typ JWT": (_head(typ="JWT"), "wrong-type"),
    "typ missing": (_head(typ=...), "wrong-type"),
    "typ of a logout token": (_head(typ="logout+jwt"), "wrong-type"),
    # keys and algorithms
    "alg none": (
        lambda f: f"{part({'alg': 'none', 'typ': 'at+jwt', 'kid': f.issuer.key.kid})}.{part(f.claims())}.",
        "wrong-algorithm",
    ),
    "HS256 with the public key as secret": (_hmac, "wrong-algorithm"),
    "PS256 with the provider's RSA key": (
        lambda f: Key("PS256", f.issuer.key.kid, f.issuer.key.private).sign(f.claims()),
        "wrong-algorithm",
    ),
    "ES256 under the provider's key name": (
        lambda f: Key("ES256", f.issuer.key.kid).sign(f.claims()),
        "wrong-algorithm",
    ),
    "another algorithm's name over the right signature": (_head(alg="RS512"), "wrong-algorithm"),
    "the clinic's own key under the provider's name": (
        lambda f: f.minter.sign(f.claims(), kid=f.issuer.key.kid),
        "wrong-algorithm",
    ),
    "another key under the provider's key name": (
        lambda f: Key("RS256", f.issuer.key.kid).sign(f.claims()),
        "bad-signature",
    ),
    "a key nobody published": (lambda f: Key("RS256", "nobody").sign(f.claims()), "unknown-key"),
    "a key rotated away": (lambda f: f.issuer.rotated.sign(f.claims()), "unknown-key"),
    "no kid": (_head(kid=...), "unknown-key"),
    "kid a path": (_head(kid="../../../keys/grants.jwk"), "unknown-key"),
    "kid a URL that listens": (lambda f: f.issuer.key.sign(f.claims(), kid=f.trap), "unknown-key"),
    "kid a query": (_head(kid="' OR 1=1 --"), "unknown-key"),
    "names where its keys are (jku)": (
        lambda f: f.issuer.key.sign(f.claims(), jku=f"{f.trap}/keys"),
        "foreign-key-material",
    ),
    "names the provider's own address (jku)": (
        lambda f: f.issuer.key.sign(f.claims(), jku=f.issuer.jwks_uri),
        "foreign-key-material",
    ),
    "names where its certificate is (x5u)": (
        lambda f: f.issuer.key.sign(f.claims(), x5u=f"{f.trap}/cert"),
        "foreign-key-material",
    ),
    "brings its own key (jwk)": (
        lambda f: (own := Key("RS256")).sign(f.claims(), jwk=own.public),
        "foreign-key-material",
    ),
    "brings a certificate (x5c)": (_head(x5c=["MIIB"]), "foreign-key-material"),
    "a critical extension": (_head(crit=["http://example"], **{"http://example": 1}), "malformed"),
    # form
    "the claims of one, the signature of another": (
        lambda f: ".".join([*f.token(sub="nurse-adeyemi").split(".")[:2], f.token().split(".")[2]]),
        "bad-signature",
    ),
    "the signature missing": (lambda f: ".".join([*f.token().split(".")[:2], ""]), "bad-signature"),
    "cut in half": (lambda f: f.token()[: len(f.token()) // 3], "malformed"),
    "huge": (lambda f: f.token(extra="x" * 9_000), "too-long"),
}
"""Name: how it is made, and the reason on the record."""
