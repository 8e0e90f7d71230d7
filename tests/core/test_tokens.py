"""Tokens: the right one passes, and every way to be wrong is refused with its own reason."""

from __future__ import annotations

import time
from typing import Any

import pytest
from clinic_mcp.consultations.grants import Mint
from clinic_mcp.consultations.keys import new_key, public_part, write_public
from clinic_mcp.core.db import Database
from clinic_mcp.core.errors import Misconfigured, Unauthenticated
from clinic_mcp.core.identity import resolve
from clinic_mcp.core.tokens import Claims, TokenVerifier
from support.bad_tokens import AUDIENCE, BAD, Forge
from support.clinic import Clinic
from support.tokens import Minter


@pytest.fixture(scope="module")
def verifier(module_clinic: Clinic) -> TokenVerifier:
    return _verifier(module_clinic)


def _verifier(clinic: Clinic) -> TokenVerifier:
    jwks = clinic.home / "keys" / "jwks.json"
    return TokenVerifier(jwks, "urn:clinic-mcp:issuer", frozenset({AUDIENCE, "clinic-mcp"}))


def _claims(minter: Minter, **changes: Any) -> dict[str, Any]:
    return minter.claims("C-1", "intake_agent", "P001", AUDIENCE, **changes)


@pytest.mark.parametrize("kind", BAD)
def test_a_wrong_token_is_refused_with_its_reason(verifier: TokenVerifier, module_clinic: Clinic, kind: str) -> None:
    make, reasons = BAD[kind]
    token = make(Forge(module_clinic.tokens, int(time.time())))
    for _ in range(2):  # the second time the verifier may remember the first
        with pytest.raises(Unauthenticated) as refusal:
            verifier.verify(token)
        assert refusal.value.reason in reasons
        assert "token" not in refusal.value.message, "the caller learns nothing of why"


def test_there_are_enough_wrong_tokens() -> None:
    assert len(BAD) >= 60


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


def test_a_key_replaced_under_its_own_name_ends_its_tokens(clinic: Clinic) -> None:
    verifier = _verifier(clinic)
    old = clinic.tokens.sign(_claims(clinic.tokens))
    verifier.verify(old)
    fresh = {**new_key(), "kid": clinic.tokens.key["kid"]}
    write_public(clinic.home / "keys" / "jwks.json", {"keys": [public_part(fresh)]})
    with pytest.raises(Unauthenticated) as refusal:
        verifier.verify(old)
    assert refusal.value.reason == "bad-signature"


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
        clinic.execute("UPDATE agents SET active = FALSE WHERE id = 'intake_agent'")
        with pytest.raises(Unauthenticated):
            _resolve(database, claims())


def test_a_person_is_who_the_database_says(clinic: Clinic) -> None:
    verifier = _verifier(clinic)

    def claims(person: str, **changes: Any) -> Claims:
        return verifier.verify(clinic.tokens.person(person, AUDIENCE, **changes))

    with clinic.database() as database:
        assert _resolve(database, claims("nurse-adeyemi")).principal.uid == ("Clinician", "nurse-adeyemi")
        assert _resolve(database, claims("auditor-tan")).roles == ("auditor",)
        for nobody in ("dr-nobody", "intake_agent", "client:clinic-agent", "Patient:P001"):
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
