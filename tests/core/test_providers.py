"""An OpenID provider's tokens: what the providers' file may say, who a token names, and what is refused."""

from __future__ import annotations

import re
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clinic_mcp.core.db import Database
from clinic_mcp.core.errors import InsufficientScope, Misconfigured, Unauthenticated
from clinic_mcp.core.identity import resolve
from clinic_mcp.core.issuers import Issuers
from clinic_mcp.core.jwks import MAX_AGE
from clinic_mcp.core.providers import load_providers
from clinic_mcp.core.settings import Settings
from clinic_mcp.core.tokens import Claims
from support.bad_provider_tokens import BAD, REQUIRE, Forge
from support.clinic import Clinic
from support.issuer import Issuer, Key, issuing, write_providers

RESOURCE = "http://127.0.0.1:8101/mcp"
OWN = frozenset({"patient-records", "clinic-mcp"})
EXAMPLES = Path(__file__).parents[2] / "deploy" / "providers"


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with issuing() as opened:
        opened.rotate()
        yield opened


def issuers(clinic: Clinic, *entries: dict[str, Any], **settings: Any) -> Issuers:
    path = write_providers(clinic.home / "providers.toml", *entries)
    return Issuers(Settings(home=clinic.home, providers=path, **settings), OWN, RESOURCE)


@pytest.fixture(scope="module")
def trusting(module_clinic: Clinic, issuer: Issuer) -> Issuers:
    """Trusts the issuer as most tests want it."""
    return issuers(module_clinic, issuer.entry(require=REQUIRE, scopes=["clinic"]))


def refusal(trusting: Issuers, token: str) -> str:
    with pytest.raises(Unauthenticated) as refused:
        trusting.verify(token)
    return refused.value.reason


# who a token names


def test_a_token_names_a_person_of_the_clinic_and_the_roles_the_provider_vouches_for(
    trusting: Issuers, issuer: Issuer
) -> None:
    token = issuer.token(RESOURCE, token_use="access", groups=["doctors", "everyone", "audit"])
    claims = trusting.verify(token)
    assert (claims.subject, claims.issuer, claims.roles) == ("dr-osei", issuer.url, ("auditor", "physician"))
    assert (claims.clinic, claims.client, claims.agent, claims.consultation) == ("main", "clinic-portal", None, None)
    assert trusting.ready(token), "a token that was verified needs nobody's answer"


def test_no_claim_of_a_providers_token_makes_it_an_agents(trusting: Issuers, issuer: Issuer) -> None:
    own = {"act": {"sub": "intake_agent"}, "sid": "C-1", "patient": "P001", "clinic": "elsewhere"}
    claims = trusting.verify(issuer.token(RESOURCE, token_use="access", **own))
    assert (claims.agent, claims.consultation, claims.patient, claims.clinic) == (None, None, None, "main")


def test_who_is_only_a_patient_comes_as_one_and_staff_as_staff(trusting: Issuers, issuer: Issuer) -> None:
    def named(*groups: str) -> str:
        return trusting.verify(
            issuer.token(RESOURCE, token_use="access", groups=list(groups), patient_id="P002")
        ).subject

    assert named("patients") == "patient:P002"
    assert named("patients", "doctors") == "dr-osei"


def named(value: object) -> str:
    """A case's name, the same in every run: moments are left out."""
    return re.sub(r"\d{9,}", "moment", str(value))


@pytest.mark.parametrize(
    ("entry", "claims", "expected"),
    [
        ({"person": "username"}, {"username": "nurse-adeyemi"}, {"subject": "nurse-adeyemi"}),
        ({"roles_claim": "realm.roles"}, {"realm": {"roles": ["nurses"]}}, {"roles": ("nurse",)}),
        (
            {"roles_claim": "https://clinic.example/roles"},
            {"https://clinic.example/roles": ["nurses"]},
            {"roles": ("nurse",)},
        ),
        ({"roles_claim": "role"}, {"role": "nurses"}, {"roles": ("nurse",)}),
        ({"clinic_claim": "site"}, {"site": "north"}, {"clinic": "north"}),
        ({}, {"client_id": ..., "azp": "desktop"}, {"client": "desktop"}),
        ({}, {"client_id": ...}, {"client": "dr-osei"}),
        ({"nbf": "optional"}, {"nbf": ...}, {"subject": "dr-osei"}),
        ({"scopes": ["a", "b"]}, {"scope": "b c a"}, {"subject": "dr-osei"}),
        ({"require": {"n": 1, "b": True}}, {"n": 1, "b": True}, {"subject": "dr-osei"}),
        ({"max_lifetime": 720}, {"exp": int(time.time()) + 40_000}, {"subject": "dr-osei"}),
    ],
    ids=named,
)
def test_claims_are_mapped_as_the_file_says(
    clinic: Clinic, issuer: Issuer, entry: dict[str, Any], claims: dict[str, Any], expected: dict[str, Any]
) -> None:
    found = issuers(clinic, issuer.entry(**entry)).verify(issuer.token(RESOURCE, **claims))
    assert {name: getattr(found, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("entry", "claims", "reason"),
    [
        ({"nbf": "optional"}, {"nbf": int(time.time()) + 600}, "not-yet-valid"),
        ({"clinic_claim": "site"}, {}, "bad-clinic"),
        ({"clinic_claim": "site"}, {"site": ["main"]}, "bad-clinic"),
        ({"roles_claim": "realm.roles"}, {"realm": "roles"}, "no-role"),
        ({"require": {"n": 1}}, {"n": True}, "not-as-required"),
        ({"require": {"n": 1}}, {"n": "1"}, "not-as-required"),
        ({"max_lifetime": 5}, {}, "lives-too-long"),
        ({}, {"client_id": 7}, "bad-client"),
    ],
    ids=named,
)
def test_what_the_file_asks_for_and_the_token_lacks_is_refused(
    clinic: Clinic, issuer: Issuer, entry: dict[str, Any], claims: dict[str, Any], reason: str
) -> None:
    assert refusal(issuers(clinic, issuer.entry(**entry)), issuer.token(RESOURCE, **claims)) == reason


def test_a_token_without_an_id_is_named_by_its_digest(trusting: Issuers, issuer: Issuer) -> None:
    for jti in (..., "with spaces", "x" * 200):
        claims = trusting.verify(issuer.token(RESOURCE, token_use="access", jti=jti))
        assert claims.jti.startswith("sha256:")
        assert len(claims.jti) == 71


def test_a_missing_scope_is_said_and_nothing_else_is(trusting: Issuers, issuer: Issuer) -> None:
    for scope in (..., "openid", "clinical", ["clinic"]):
        with pytest.raises(InsufficientScope) as refused:
            trusting.verify(issuer.token(RESOURCE, token_use="access", scope=scope))
        assert refused.value.scopes == ("clinic",)
        assert refused.value.reason == "insufficient-scope"
    assert refusal(trusting, issuer.token(RESOURCE, scope=...)) == "not-as-required", "only a valid token hears of it"


def test_types_are_compared_in_any_case(trusting: Issuers, issuer: Issuer) -> None:
    for kind in ("at+jwt", "AT+JWT", "application/at+jwt"):
        assert trusting.verify(issuer.key.sign(issuer.claims(RESOURCE, token_use="access"), typ=kind))


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
def test_each_algorithm_works_and_is_the_only_one(clinic: Clinic, algorithm: str) -> None:
    with issuing(algorithm) as issuer:
        others = [Key(other, other) for other in ("RS256", "PS256", "ES256", "EdDSA") if other != algorithm]
        issuer.documents += [key.public for key in others]
        trusting = issuers(clinic, issuer.entry())
        assert trusting.verify(issuer.token(RESOURCE)).subject == "dr-osei"
        for key in others:
            assert refusal(trusting, key.sign(issuer.claims(RESOURCE))) == "wrong-algorithm"


# what is refused


@pytest.mark.parametrize("kind", BAD)
def test_a_wrong_token_is_refused_with_its_reason(
    trusting: Issuers, issuer: Issuer, module_clinic: Clinic, kind: str
) -> None:
    make, reason = BAD[kind]
    token = make(Forge(issuer, module_clinic.tokens, RESOURCE, int(time.time())))
    for _ in range(2):
        assert refusal(trusting, token) == reason


def test_the_right_token_beside_the_wrong_ones_passes(trusting: Issuers, issuer: Issuer, module_clinic: Clinic) -> None:
    assert trusting.verify(Forge(issuer, module_clinic.tokens, RESOURCE, int(time.time())).token())
    assert trusting.verify(module_clinic.tokens.person("dr-osei", "patient-records")).issuer is None


def test_without_a_provider_nobody_elses_token_counts(clinic: Clinic, issuer: Issuer) -> None:
    alone = Issuers(clinic.settings, OWN, RESOURCE)
    assert refusal(alone, issuer.token(RESOURCE)) == "wrong-algorithm"
    assert alone.verify(clinic.tokens.person("dr-osei", "patient-records"))


def test_one_providers_key_signs_nothing_for_another(clinic: Clinic) -> None:
    with issuing() as one, issuing() as other:
        trusting = issuers(clinic, one.entry(), other.entry())
        assert trusting.verify(one.token(RESOURCE)).issuer == one.url
        assert trusting.verify(other.token(RESOURCE)).issuer == other.url
        assert refusal(trusting, one.token(RESOURCE, iss=other.url)) == "unknown-key"


def test_a_key_withdrawn_ends_the_tokens_it_signed_though_they_were_verified(clinic: Clinic) -> None:
    moment = [1_000.0]
    with issuing() as issuer:
        path = write_providers(clinic.home / "providers.toml", issuer.entry())
        settings = Settings(home=clinic.home, providers=path)
        trusting = Issuers(settings, OWN, RESOURCE, clock=lambda: moment[0])
        token = issuer.token(RESOURCE)
        assert trusting.verify(token)
        issuer.rotate()
        assert trusting.verify(token), "until the set is asked for again"
        moment[0] += MAX_AGE
        assert refusal(trusting, token) == "unknown-key"


def test_a_key_replaced_under_its_own_name_ends_the_tokens_it_signed(clinic: Clinic) -> None:
    moment = [1_000.0]
    with issuing() as issuer:
        path = write_providers(clinic.home / "providers.toml", issuer.entry())
        settings = Settings(home=clinic.home, providers=path)
        trusting = Issuers(settings, OWN, RESOURCE, clock=lambda: moment[0])
        token = issuer.token(RESOURCE)
        assert trusting.verify(token)
        issuer.key = Key("RS256", issuer.key.kid)
        issuer.documents = [issuer.key.public]
        moment[0] += MAX_AGE
        assert refusal(trusting, token) == "bad-signature"
        assert trusting.verify(issuer.token(RESOURCE))


def test_a_remembered_token_expires_too(trusting: Issuers, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    token = issuer.token(RESOURCE, token_use="access")
    trusting.verify(token)
    later = time.time() + 700
    monkeypatch.setattr("clinic_mcp.core.provider_tokens.time.time", lambda: later)
    assert refusal(trusting, token) == "expired"


def test_a_provider_that_was_never_reached_lets_nobody_in(clinic: Clinic) -> None:
    with issuing() as issuer:
        trusting, token = issuers(clinic, issuer.entry()), issuer.token(RESOURCE)
        issuer.stop()
        assert not trusting.ready(token)
        assert refusal(trusting, token) == "no-keys"
        assert clinic.tokens.person("dr-osei", "patient-records")


# the database decides


def _resolve(database: Database, claims: Claims) -> Any:
    with database.read() as connection:
        return resolve(connection, claims)


def test_the_provider_and_the_clinic_must_agree_on_a_role(
    trusting: Issuers, issuer: Issuer, module_clinic: Clinic
) -> None:
    def caller(person: str, *groups: str) -> Any:
        return _resolve(
            database, trusting.verify(issuer.token(RESOURCE, person, token_use="access", groups=list(groups)))
        )

    with module_clinic.database() as database:
        assert caller("dr-osei", "doctors", "audit").roles == ("physician",)
        for person, group, reason in (
            ("dr-osei", "audit", "role-not-vouched-for"),
            ("auditor-tan", "doctors", "role-not-vouched-for"),
            ("dr-nobody", "doctors", "unknown-person"),
        ):
            with pytest.raises(Unauthenticated) as refused:
                caller(person, group)
            assert refused.value.reason == reason


# the file


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"issuer": "http://idp.example"}, "provider 1, issuer: Value error, it must be https, or http on loopback"),
        ({"jwks_uri": "http://idp.example/keys"}, "jwks_uri"),
        ({"jwks_uri": "http://127.0.0.1.example/keys"}, "jwks_uri"),
        ({"jwks_uri": "file:///etc/passwd"}, "jwks_uri"),
        ({"jwks_uri": "https://user:pw@idp.example/keys"}, "jwks_uri"),
        ({"jwks_uri": "https://idp.example/keys#x"}, "jwks_uri"),
        ({"jwks_uri": "https:///keys"}, "jwks_uri"),
        ({"jwks_uri": "https://idp.example:port/keys"}, "jwks_uri"),
        ({"jwks_uri": ...}, "jwks_uri: Field required"),
        ({"issuer": ...}, "issuer: Field required"),
        ({"issuer": ""}, "issuer"),
        ({"algorithm": "HS256"}, "algorithm"),
        ({"algorithm": "none"}, "algorithm"),
        ({"algorithm": ["RS256", "ES256"]}, "algorithm"),
        ({"roles": {"doctors": "surgeon"}}, "roles, doctors"),
        ({"roles": {}}, "roles"),
        ({"roles_claim": ""}, "roles_claim"),
        ({"patient": ...}, "the role patient needs patient"),
        ({"types": []}, "types"),
        ({"types": ["JWT"]}, "need a claim under require"),
        ({"types": [""]}, "need a claim under require"),
        ({"types": ["at+jwt", "jwt"]}, "need a claim under require"),
        ({"nbf": "never"}, "nbf"),
        ({"max_lifetime": 721}, "max_lifetime"),
        ({"max_lifetime": 0}, "max_lifetime"),
        ({"scopes": ['a "b"']}, "scopes"),
        ({"audience": "x"}, "audience: Extra inputs are not permitted"),
        ({"issuer": "urn:clinic-mcp:issuer"}, "issuer"),
    ],
    ids=named,
)
def test_a_file_that_cannot_be_used_says_which_field(
    tmp_path: Path, issuer: Issuer, changes: dict[str, Any], says: str
) -> None:
    path = write_providers(tmp_path / "providers.toml", issuer.entry(**changes))
    with pytest.raises(Misconfigured) as refused:
        load_providers(path, own_issuer="urn:clinic-mcp:issuer")
    assert says in refused.value.message
    assert "deploy/providers" in str(refused.value.advice)


def test_two_providers_may_not_be_one_and_none_may_be_the_clinic(tmp_path: Path, issuer: Issuer) -> None:
    path = write_providers(tmp_path / "providers.toml", issuer.entry(), issuer.entry())
    with pytest.raises(Misconfigured, match="same issuer"):
        load_providers(path, own_issuer="urn:x")
    path = write_providers(tmp_path / "providers.toml", issuer.entry())
    with pytest.raises(Misconfigured, match="CLINIC_ISSUER"):
        load_providers(path, own_issuer=issuer.url)


def test_the_example_for_cognito_takes_cognitos_access_token_and_not_its_id_token(clinic: Clinic) -> None:
    """The shapes are those of Amazon's developer guide ("Understanding the access token", "… the identity token")."""
    with issuing() as issuer:
        trusting = issuers(clinic, _example("cognito", issuer))
        now = int(time.time())
        common = {
            "sub": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
            "cognito:groups": ["clinic-physicians"],
            "iss": issuer.url,
            "origin_jti": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
            "event_id": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
            "auth_time": now,
            "exp": now + 3600,
            "iat": now,
            "jti": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
        }
        access = common | {"aud": RESOURCE, "token_use": "access", "client_id": "1example", "username": "dr-osei"}
        access |= {"scope": "openid", "version": 2}
        claims = trusting.verify(issuer.key.sign(access, typ=...))
        assert (claims.subject, claims.roles, claims.client) == ("dr-osei", ("physician",), "1example")
        identity = common | {"aud": "1example", "token_use": "id", "cognito:username": "dr-osei"}
        assert refusal(trusting, issuer.key.sign(identity, typ=...)) == "wrong-audience"
        assert refusal(trusting, issuer.key.sign(identity | {"aud": RESOURCE}, typ=...)) == "not-as-required"
        del access["aud"]  # without a resource asked for
        assert refusal(trusting, issuer.key.sign(access, typ=...)) == "missing-claim"


def test_the_example_for_keycloak_takes_keycloaks_access_token_and_not_its_other_tokens(clinic: Clinic) -> None:
    with issuing() as issuer:
        trusting = issuers(clinic, _example("keycloak", issuer))
        now = int(time.time())
        access = {
            "exp": now + 300,
            "iat": now,
            "jti": "onrtac:6b8fbf3c-2f5b-4a5e-9f6e-0d6a1c6f8f10",
            "iss": issuer.url,
            "aud": RESOURCE,
            "sub": "f3c7d1a2-0000-4000-8000-000000000001",
            "typ": "Bearer",
            "azp": "vscode",
            "sid": "5a3c0d0e-0000-4000-8000-000000000002",
            "acr": "1",
            "realm_access": {"roles": ["offline_access", "default-roles-clinic", "physician"]},
            "scope": "openid profile patient-records",
            "preferred_username": "dr-osei",
        }
        for kind in ("JWT", "at+jwt"):
            claims = trusting.verify(issuer.key.sign(access, typ=kind))
            assert (claims.subject, claims.roles, claims.client) == ("dr-osei", ("physician",), "vscode")
        assert claims.consultation is None, "Keycloak's sid is a browser session"
        for other in ("ID", "Refresh", "Offline", "Logout"):
            assert refusal(trusting, issuer.key.sign(access | {"typ": other}, typ="JWT")) == "not-as-required"
        listed = access | {"aud": [RESOURCE, "account"]}
        assert refusal(trusting, issuer.key.sign(listed, typ="JWT")) == "wrong-audience"


def _example(name: str, issuer: Issuer) -> dict[str, Any]:
    """A ready example, with this issuer in place of the one that has to be changed anyway."""
    path = EXAMPLES / f"{name}.toml"
    (shipped,) = load_providers(path, own_issuer="urn:x")
    assert shipped.jwks_uri.startswith(shipped.issuer)
    (entry,) = tomllib.loads(path.read_text("utf-8"))["provider"]
    return {**entry, "issuer": issuer.url, "jwks_uri": issuer.jwks_uri}


@pytest.mark.parametrize("text", ["", "[[provider]", "provider = 7", "x = 1"], ids=str)
def test_what_is_no_providers_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "providers.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(Misconfigured):
        load_providers(path, own_issuer="urn:x")
    with pytest.raises(Misconfigured, match="cannot be read"):
        load_providers(tmp_path / "nowhere.toml", own_issuer="urn:x")


@pytest.mark.parametrize(
    "command", [("serve", "pharmacy"), ("serve", "pharmacy", "--transport", "http"), ("consultations",)]
)
def test_a_process_with_a_bad_file_does_not_start(clinic: Clinic, issuer: Issuer, command: tuple[str, ...]) -> None:
    path = write_providers(clinic.home / "providers.toml", issuer.entry(algorithm="HS256"))
    done = clinic.run(*command, code=4, CLINIC_PROVIDERS=str(path))
    assert "algorithm" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1
