"""Every way a token of the clinic's own can be wrong, and the reasons the record may give for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from clinic_mcp.consultations.keys import public_part

from support.tokens import Minter

AUDIENCE = "patient-records"


@dataclass(frozen=True)
class Forge:
    """What a wrong token is made from.

    Args:
        minter: Holds the clinic's key.
        now: Seconds since the epoch.
        trap: A URL of a listener; nothing a token names may ever be fetched.
    """

    minter: Minter
    now: int
    trap: str = "http://127.0.0.1:9"

    def claims(self, **changes: Any) -> dict[str, Any]:
        return self.minter.claims("C-1", "intake_agent", "P001", AUDIENCE, **changes)


Make = Callable[[Forge], str]


def _with(**changes: Any) -> Make:
    return lambda forge: forge.minter.sign(forge.claims(**changes))


def _at(**offsets: float) -> Make:
    """Times relative to now."""
    return lambda forge: forge.minter.sign(forge.claims(**{name: forge.now + by for name, by in offsets.items()}))


def _head(**headers: Any) -> Make:
    return lambda forge: forge.minter.sign(forge.claims(), **headers)


def _cut(position: int) -> Make:
    return lambda forge: ".".join(forge.minter.sign(forge.claims()).split(".")[:position])


def _swapped(forge: Forge) -> str:
    """The signature of one grant under the claims of another."""
    mine, other = (forge.minter.sign(forge.claims(patient=patient)) for patient in ("P001", "P002"))
    return ".".join([*other.split(".")[:2], mine.split(".")[2]])


BAD: dict[str, tuple[Make, set[str]]] = {
    # times
    "expired": (_at(iat=-1_000, nbf=-1_000, exp=-100), {"expired"}),
    "expired just beyond the leeway": (_at(iat=-900, nbf=-900, exp=-61), {"expired"}),
    "lives longer than fifteen minutes": (_at(iat=0, exp=901), {"lives-too-long"}),
    "a person's lives longer than a working day": (
        lambda f: f.minter.person("dr-osei", AUDIENCE, exp=f.now + 12 * 3600 + 60),
        {"lives-too-long"},
    ),
    "expires in a hundred years": (_at(iat=0, exp=100 * 365 * 86_400), {"lives-too-long"}),
    "expires beyond what a clock can hold": (_with(exp=2**70), {"lives-too-long"}),
    "issued in the future": (_at(iat=300, exp=900), {"not-yet-valid"}),
    "not yet valid": (_at(iat=0, exp=900, nbf=300), {"not-yet-valid"}),
    "exp a string": (lambda f: f.minter.sign(f.claims(exp=str(f.now + 600))), {"bad-times"}),
    "exp a float": (_at(iat=0, exp=600.5), {"bad-times"}),
    "exp infinite": (_with(exp=float("inf")), {"malformed"}),
    "exp a boolean": (_with(exp=True), {"expired"}),
    "exp null": (_with(exp=None), {"missing-claim"}),
    "exp a list": (_with(exp=[2_000_000_000]), {"malformed"}),
    "iat a string": (lambda f: f.minter.sign(f.claims(iat=str(f.now))), {"bad-times"}),
    "iat a boolean": (_with(iat=True), {"bad-times"}),
    "nbf a string": (lambda f: f.minter.sign(f.claims(nbf=str(f.now))), {"bad-times"}),
    # claims that are not there
    "no exp": (_with(exp=...), {"missing-claim"}),
    "no iat": (_with(iat=...), {"missing-claim"}),
    "no nbf": (_with(nbf=...), {"missing-claim"}),
    "no aud": (_with(aud=...), {"missing-claim"}),
    "no iss": (_with(iss=...), {"missing-claim"}),
    "no jti": (_with(jti=...), {"missing-claim"}),
    "no sub": (_with(sub=...), {"missing-claim"}),
    "no clinic": (_with(clinic=...), {"bad-clinic"}),
    "no sid for an agent": (_with(sid=...), {"bad-sid"}),
    "no patient for an agent": (_with(patient=...), {"bad-patient"}),
    # who, for whom
    "a session but no agent": (_with(act=...), {"bad-act"}),
    "act a string": (_with(act="intake_agent"), {"bad-act"}),
    "act empty": (_with(act={}), {"bad-act"}),
    "act names a list": (_with(act={"sub": ["intake_agent"]}), {"bad-act"}),
    "act an empty name": (_with(act={"sub": ""}), {"bad-act"}),
    "sub a number": (_with(sub=7), {"malformed"}),
    "sub empty": (_with(sub=""), {"bad-sub"}),
    "jti a number": (_with(jti=7), {"malformed"}),
    "patient an object": (_with(patient={"__entity": {"type": "Clinic::Patient", "id": "P001"}}), {"bad-patient"}),
    "sid longer than any": (_with(sid="C" * 257), {"bad-sid"}),
    # issuer and audience
    "wrong issuer": (_with(iss="urn:somebody"), {"wrong-issuer"}),
    "issuer with a slash": (_with(iss="urn:clinic-mcp:issuer/"), {"wrong-issuer"}),
    "issuer a URL that listens": (lambda f: f.minter.sign(f.claims(iss=f.trap)), {"wrong-issuer"}),
    "issuer a list with the right one": (_with(iss=["urn:clinic-mcp:issuer"]), {"wrong-issuer", "malformed"}),
    "wrong audience": (_with(aud="pharmacy"), {"wrong-audience"}),
    "audience a prefix of the right one": (_with(aud="patient"), {"wrong-audience"}),
    "audience the right one and more": (_with(aud="patient-records-2"), {"wrong-audience"}),
    "a list of audiences with the right one": (_with(aud=[AUDIENCE, "pharmacy"]), {"wrong-audience"}),
    "a list of the right audience alone": (_with(aud=[AUDIENCE]), {"wrong-audience"}),
    "audience null": (_with(aud=None), {"missing-claim"}),
    "audience in other case": (_with(aud="Patient-Records"), {"wrong-audience"}),
    # keys and algorithms
    "signed by another key under our key's name": (lambda f: f.minter.forged(f.claims()), {"bad-signature"}),
    "signed by a key nobody published": (_head(kid="another"), {"unknown-key"}),
    "no kid": (_head(kid=...), {"unknown-key"}),
    "kid a number": (_head(kid=7), {"malformed"}),
    "kid a path": (_head(kid="../../keys/grants.jwk"), {"unknown-key"}),
    "kid a URL that listens": (lambda f: f.minter.sign(f.claims(), kid=f"{f.trap}/key"), {"unknown-key"}),
    "brings its own key": (
        lambda f: f.minter.sign(f.claims(), key=f.minter.stranger, kid="mine", jwk=public_part(f.minter.stranger)),
        {"foreign-key-material"},
    ),
    "names where its key is (jku)": (
        lambda f: f.minter.sign(f.claims(), jku=f"{f.trap}/jwks.json"),
        {"foreign-key-material"},
    ),
    "names where its certificate is (x5u)": (
        lambda f: f.minter.sign(f.claims(), x5u=f"{f.trap}/cert.pem"),
        {"foreign-key-material"},
    ),
    "brings a certificate (x5c)": (_head(x5c=["MIIB"]), {"foreign-key-material"}),
    "alg none": (lambda f: f.minter.unsigned(f.claims()), {"wrong-algorithm"}),
    "alg nOnE": (lambda f: f.minter.unsigned(f.claims(), alg="nOnE"), {"wrong-algorithm"}),
    "alg EdDSA without a signature": (lambda f: f.minter.unsigned(f.claims(), alg="EdDSA"), {"bad-signature"}),
    "HS256 with the public key as secret": (lambda f: f.minter.hmac_with_public_key(f.claims()), {"wrong-algorithm"}),
    "alg missing": (_head(alg=...), {"wrong-algorithm"}),
    "alg a list": (_head(alg=["EdDSA"]), {"wrong-algorithm"}),
    "alg RS256 over an Ed25519 signature": (_head(alg="RS256"), {"wrong-algorithm"}),
    # header
    "typ of an ID token": (_head(typ="JWT"), {"wrong-type"}),
    "typ missing": (_head(typ=...), {"wrong-type"}),
    "typ a list": (_head(typ=["at+jwt"]), {"wrong-type"}),
    "a critical extension nobody knows": (_head(crit=["x"], x=1), {"critical-header", "malformed"}),
    "crit empty": (_head(crit=[]), {"critical-header", "malformed"}),
    "a critical extension that changes nothing": (_head(crit=["b64"], b64=True), {"critical-header"}),
    "unencoded payload asked for": (_head(crit=["b64"], b64=False), {"critical-header", "malformed"}),
    "unencoded payload without saying so": (_head(b64=False), {"malformed", "bad-signature"}),
    # form
    "one claim changed after signing": (_swapped, {"bad-signature"}),
    "a part missing": (_cut(2), {"malformed"}),
    "only a header": (_cut(1), {"malformed"}),
    "the signature cut": (lambda f: f.minter.sign(f.claims())[:-8], {"bad-signature", "malformed"}),
    "a part too many": (lambda f: f.minter.sign(f.claims()) + ".e30", {"malformed"}),
    "claims a list": (lambda f: f.minter.sign([1]), {"malformed"}),
    "claims null": (lambda f: f.minter.sign(None), {"malformed"}),
    "empty": (lambda _f: "", {"malformed", "none"}),
    "not a token": (lambda _f: "hunter2", {"malformed"}),
    "beyond ASCII": (lambda _f: "päss.wörd.ñ", {"malformed"}),
    "a lone surrogate": (lambda _f: "\ud800.\ud800.\ud800", {"malformed"}),
    "longer than any token": (lambda _f: "a" * 9_000, {"too-long"}),
}
"""Name: how it is made, and the reasons the record may name."""
