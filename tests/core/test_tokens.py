"""Tokens: the right one passes, and every way to be wrong is refused with its own reason."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from clinic_mcp.consultations.grants import Mint
from clinic_mcp.consultations.keys import new_key, public_part, write_public
from clinic_mcp.core.db import Database
from clinic_mcp.core.errors import Misconfigured, Unauthenticated
from clinic_mcp.core.identity import resolve
from clinic_mcp.core.tokens import Claims, TokenVerifier
from support.clinic import Clinic
from support.tokens import Minter

AUDIENCE = "patient-records"
Make = Callable[[Minter, int], str]


@pytest.fixture(scope="module")
def verifier(module_clinic: Clinic) -> TokenVerifier:
    return _verifier(module_clinic)


def _verifier(clinic: Clinic) -> TokenVerifier:
    jwks = clinic.home / "keys" / "jwks.json"
    return TokenVerifier(jwks, "urn:clinic-mcp:issuer", frozenset({AUDIENCE, "clinic-mcp"}))


def _claims(minter: Minter, **changes: Any) -> dict[str, Any]:
    return minter.claims("C-1", "intake_agent", "P001", AUDIENCE, **changes)


def _with(**changes: Any) -> Make:
    return lambda minter, _now: minter.sign(_claims(minter, **changes))


def _at(**offsets: float) -> Make:
    """Times relative to now."""
    return lambda minter, now: minter.sign(_claims(minter, **{name: now + by for name, by in offsets.items()}))


def _head(**headers: Any) -> Make:
    return lambda minter, _now: minter.sign(_claims(minter), **headers)


def _cut(minter: Minter, position: int) -> str:
    parts = minter.sign(_claims(minter)).split(".")
    return ".".join(parts[:position])


def _swapped(minter: Minter) -> str:
    """The signature of one grant under the claims of another."""
    mine, other = minter.sign(_claims(minter)), minter.sign(_claims(minter, patient="P002"))
    return ".".join([*other.split(".")[:2], mine.split(".")[2]])


WRONG: dict[str, tuple[Make, set[str]]] = {
    "expired": (_at(iat=-1_000, exp=-100), {"expired"}),
    "expired just beyond the leeway": (_at(iat=-900, exp=-61), {"expired"}),
    "lives longer than fifteen minutes": (_at(iat=0, exp=901), {"lives-too-long"}),
    "a person's lives longer than a working day": (
        lambda m, now: m.person("dr-osei", AUDIENCE, exp=now + 12 * 3600 + 60),
        {"lives-too-long"},
    ),
    "expires in the far future": (_at(iat=0, exp=10**9), {"lives-too-long"}),
    "expires beyond what a clock can hold": (_with(exp=2**70), {"lives-too-long", "malformed", "bad-times"}),
    "issued in the future": (_at(iat=300, exp=900), {"malformed"}),
    "not yet valid": (_at(iat=0, exp=900, nbf=300), {"malformed"}),
    "exp a string": (lambda m, now: m.sign(_claims(m, exp=str(now + 600))), {"malformed", "bad-times"}),
    "exp a float": (_at(iat=0, exp=600.5), {"bad-times", "malformed"}),
    "exp a boolean": (_with(exp=True), {"expired", "bad-times", "malformed"}),
    "exp null": (_with(exp=None), {"malformed"}),
    "exp a list": (_with(exp=[2_000_000_000]), {"malformed", "bad-times"}),
    "iat a string": (lambda m, now: m.sign(_claims(m, iat=str(now))), {"malformed", "bad-times"}),
    "no exp": (_with(exp=...), {"malformed"}),
    "no iat": (_with(iat=...), {"malformed"}),
    "no aud": (_with(aud=...), {"malformed"}),
    "no iss": (_with(iss=...), {"malformed"}),
    "no jti": (_with(jti=...), {"malformed"}),
    "no sub": (_with(sub=...), {"malformed"}),
    "no clinic": (_with(clinic=...), {"bad-clinic"}),
    "no sid for an agent": (_with(sid=...), {"bad-sid"}),
    "no patient for an agent": (_with(patient=...), {"bad-patient"}),
    "a session but no agent": (_with(act=...), {"bad-act"}),
    "act a string": (_with(act="intake_agent"), {"bad-act"}),
    "act empty": (_with(act={}), {"bad-act"}),
    "act names a list": (_with(act={"sub": ["intake_agent"]}), {"bad-act"}),
    "act an empty name": (_with(act={"sub": ""}), {"bad-act"}),
    "wrong issuer": (_with(iss="urn:somebody"), {"wrong-issuer"}),
    "issuer a list with the right one": (_with(iss=["urn:clinic-mcp:issuer"]), {"wrong-issuer", "malformed"}),
    "wrong audience": (_with(aud="pharmacy"), {"wrong-audience"}),
    "a list of audiences with the right one": (_with(aud=[AUDIENCE, "pharmacy"]), {"wrong-audience"}),
    "a list of the right audience alone": (_with(aud=[AUDIENCE]), {"wrong-audience"}),
    "audience null": (_with(aud=None), {"wrong-audience", "malformed"}),
    "audience in other case": (_with(aud="Patient-Records"), {"wrong-audience"}),
    "sub a number": (_with(sub=7), {"malformed", "bad-sub"}),
    "sub empty": (_with(sub=""), {"bad-sub"}),
    "jti a number": (_with(jti=7), {"malformed", "bad-jti"}),
    "patient an object": (_with(patient={"__entity": {"type": "Clinic::Patient", "id": "P001"}}), {"bad-patient"}),
    "sid longer than any": (_with(sid="C" * 257), {"bad-sid"}),
    "signed by another key under our key's name": (lambda m, _: m.forged(_claims(m)), {"bad-signature"}),
    "signed by a key nobody published": (_head(kid="another"), {"unknown-key"}),
    "no kid": (_head(kid=...), {"unknown-key"}),
    "kid a path": (_head(kid="../../keys/grants.jwk"), {"unknown-key"}),
    "brings its own key": (
        lambda m, _: m.sign(_claims(m), key=m.stranger, kid="mine", jwk=public_part(m.stranger)),
        {"unknown-key"},
    ),
    "alg none": (lambda m, _: m.unsigned(_claims(m)), {"wrong-algorithm"}),
    "alg nOnE": (lambda m, _: m.unsigned(_claims(m), alg="nOnE"), {"wrong-algorithm"}),
    "alg EdDSA without a signature": (lambda m, _: m.unsigned(_claims(m), alg="EdDSA"), {"bad-signature", "malformed"}),
    "HS256 with the public key as secret": (lambda m, _: m.hmac_with_public_key(_claims(m)), {"wrong-algorithm"}),
    "alg missing": (_head(alg=...), {"wrong-algorithm", "malformed"}),
    "alg a list": (_head(alg=["EdDSA"]), {"wrong-algorithm", "malformed"}),
    "typ of an id token": (_head(typ="JWT"), {"wrong-type"}),
    "typ missing": (_head(typ=...), {"wrong-type"}),
    "a critical extension nobody knows": (_head(crit=["x"], x=1), {"malformed"}),
    "unencoded payload asked for": (_head(crit=["b64"], b64=False), {"malformed", "bad-signature"}),
    "one claim changed after signing": (lambda m, _: _swapped(m), {"bad-signature"}),
    "a part missing": (lambda m, _: _cut(m, 2), {"malformed"}),
    "only a header": (lambda m, _: _cut(m, 1), {"malformed"}),
    "a part too many": (lambda m, _: m.sign(_claims(m)) + ".e30", {"malformed", "bad-signature"}),
    "claims a list": (lambda m, _: m.sign([1]), {"malformed"}),
    "claims null": (lambda m, _: m.sign(None), {"malformed"}),
    "empty": (lambda _m, _n: "", {"malformed"}),
    "not a token": (lambda _m, _n: "hunter2", {"malformed"}),
    "beyond ASCII": (lambda _m, _n: "päss.wörd.ñ", {"malformed"}),
    "a lone surrogate": (lambda _m, _n: "\ud800.\ud800.\ud800", {"malformed"}),
    "longer than any token": (lambda _m, _n: "a" * 9_000, {"too-long"}),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_token_is_refused_with_its_reason(verifier: TokenVerifier, module_clinic: Clinic, kind: str) -> None:
    make, reasons = WRONG[kind]
    token = make(module_clinic.tokens, int(time.time()))
    for _ in range(2):  # the second time the verifier may remember the first
        with pytest.raises(Unauthenticated) as refusal:
            verifier.verify(token)
        assert refusal.value.reason in reasons
        assert "token" not in refusal.value.message, "the caller learns nothing of why"


def test_there_are_enough_wrong_tokens() -> None:
    assert len(WRONG) >= 60


def test_a_grant_says_who_for_whom_about_whom(verifier: TokenVerifier, module_clinic: Clinic) -> None:
    claims = verifier.verify(module_clinic.tokens.sign(_claims(module_clinic.tokens)))
    assert (claims.subject, claims.agent, claims.consultation, claims.patient, claims.clinic) == (
        "dr-osei",
        "intake_agent",
        "C-1",
        "P001",
        "main",
    )


def test_a_token_within_the_leeway_still_passes(verifier: TokenVerifier, module_clinic: Clinic) -> None:
    now = int(time.time())
    tokens = module_clinic.tokens
    assert verifier.verify(tokens.sign(_claims(tokens, iat=now - 800, exp=now - 30)))
    assert verifier.verify(tokens.sign(_claims(tokens, iat=now + 30, exp=now + 900)))


def test_a_remembered_token_expires_too(
    verifier: TokenVerifier, module_clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = module_clinic.tokens.sign(_claims(module_clinic.tokens))
    verifier.verify(token)
    later = time.time() + 1_000
    monkeypatch.setattr("clinic_mcp.core.tokens.time.time", lambda: later)
    with pytest.raises(Unauthenticated) as refusal:
        verifier.verify(token)
    assert refusal.value.reason == "expired"


def test_a_key_taken_out_of_the_set_ends_its_tokens_and_a_new_one_begins(clinic: Clinic) -> None:
    verifier = _verifier(clinic)
    old = clinic.tokens.sign(_claims(clinic.tokens))
    verifier.verify(old)
    fresh = new_key()
    write_public(clinic.home / "keys" / "jwks.json", {"keys": [public_part(fresh)]})
    with pytest.raises(Unauthenticated) as refusal:
        verifier.verify(old)
    assert refusal.value.reason == "unknown-key"
    assert verifier.verify(clinic.tokens.sign(_claims(clinic.tokens), key=fresh, kid=fresh["kid"]))


def test_a_damaged_key_file_leaves_the_last_good_keys_in_force(clinic: Clinic) -> None:
    verifier = _verifier(clinic)
    verifier.verify(clinic.tokens.sign(_claims(clinic.tokens)))
    (clinic.home / "keys" / "jwks.json").write_text("{", "utf-8")
    assert verifier.verify(clinic.tokens.sign(_claims(clinic.tokens)))


def test_without_keys_nobody_is_let_in(clinic: Clinic) -> None:
    (clinic.home / "keys" / "jwks.json").unlink()
    with pytest.raises(Misconfigured):
        _verifier(clinic).verify(clinic.tokens.sign(_claims(clinic.tokens)))


def test_a_server_without_keys_refuses_to_start(clinic: Clinic) -> None:
    (clinic.home / "keys" / "jwks.json").unlink()
    done = clinic.run("serve", "pharmacy", "--transport", "stdio", code=4)
    assert "clinic-mcp init" in done.stderr


def _resolve(database: Database, claims: Claims) -> Any:
    with database.read() as connection:
        return resolve(connection, claims)


def test_the_database_decides_what_a_grant_names(clinic: Clinic) -> None:
    session = clinic.consult("P001")
    verifier = _verifier(clinic)

    def claims(**changes: Any) -> Claims:
        return verifier.verify(clinic.tokens.grant(session, "intake_agent", "P001", audience=AUDIENCE, **changes))

    with clinic.database() as database:
        caller = _resolve(database, claims())
        assert caller.principal.uid == ("Agent", "intake_agent")
        assert caller.roles == ("intake_agent",)
        assert caller.bound.patient == ("Patient", "P001")
        for wrong, reason in (
            ({"patient": "P002"}, "grant-does-not-match"),
            ({"sid": "C-nobody"}, "grant-does-not-match"),
            ({"clinic": "elsewhere"}, "grant-does-not-match"),
            ({"act": {"sub": "ghost"}}, "unknown-agent"),
        ):
            with pytest.raises(Unauthenticated) as refusal:
                _resolve(database, claims(**wrong))
            assert refusal.value.reason == reason
        clinic.execute("UPDATE agents SET active = 0 WHERE id = 'intake_agent'")
        with pytest.raises(Unauthenticated):
            _resolve(database, claims())


def test_a_person_is_who_the_database_says(clinic: Clinic) -> None:
    verifier = _verifier(clinic)

    def claims(person: str, **changes: Any) -> Claims:
        return verifier.verify(clinic.tokens.person(person, AUDIENCE, **changes))

    with clinic.database() as database:
        assert _resolve(database, claims("nurse-adeyemi")).principal.uid == ("Clinician", "nurse-adeyemi")
        assert _resolve(database, claims("auditor-tan")).roles == ("auditor",)
        for nobody in ("dr-nobody", "intake_agent", "client:clinic-agent", "patient:P001"):
            with pytest.raises(Unauthenticated):
                _resolve(database, claims(nobody))
        with pytest.raises(Unauthenticated):
            _resolve(database, claims("dr-osei", clinic="elsewhere"))


def test_what_the_mint_signs_the_verifier_accepts(clinic: Clinic) -> None:
    session = clinic.consult(notes="Paracetamol 500mg")
    mint = Mint(clinic.tokens.key, "urn:clinic-mcp:issuer", "main")
    verifier = _verifier(clinic)
    with clinic.database() as database, database.read() as connection:
        grant = verifier.verify(mint.grant(connection, session, "prescription_agent", AUDIENCE).token)
        person = verifier.verify(mint.person(connection, "dr-osei", AUDIENCE).token)
    assert (grant.agent, grant.consultation, grant.subject) == ("prescription_agent", session, "dr-osei")
    assert (person.agent, person.subject) == (None, "dr-osei")
    assert grant.expires - time.time() <= 900
