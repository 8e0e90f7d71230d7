"""Clients of the consultations service: added, revoked, and authenticated by a key or by a secret."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import httpx
import jwt
import pytest
from support.clinic import Clinic
from support.log import AuditReader
from support.servers import Process, running

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
OWN = {"grant_type": "client_credentials"}
STRANGER = [("unauthenticated", "http.unauthenticated")]


@pytest.fixture(scope="module")
def service(module_clinic: Clinic) -> Iterator[Process]:
    with running(module_clinic, "consultations") as process:
        yield process


@pytest.fixture(scope="module")
def secret(module_clinic: Clinic) -> str:
    """The secret of the client `desk-app`, which may act as the intake agent."""
    path = module_clinic.home / "desk-app.secret"
    module_clinic.run("client", "add", "desk-app", "--agent", "intake_agent", "--secret-file", str(path))
    return path.read_text("utf-8").strip()


def ask(service: Process, form: dict[str, str], **headers: str) -> httpx.Response:
    return httpx.post(f"{service.url}/oauth/token", data=form, headers=headers, timeout=20)


def basic(client: str, secret: str) -> str:
    """RFC 6749, section 2.3.1: form-encoded, then base64."""
    return "Basic " + base64.b64encode(f"{quote_plus(client)}:{quote_plus(secret)}".encode()).decode()


def assertion(credential: dict[str, Any], **changes: Any) -> str:
    now, name = int(time.time()), credential["client_id"]
    claims = {"iss": name, "sub": name, "aud": credential["audience"], "iat": now, "exp": now + 60}
    claims |= {"jti": secrets.token_hex(8), **changes}
    return jwt.encode(claims, jwt.PyJWK(credential["private_key"], algorithm="EdDSA"), algorithm="EdDSA")


def with_key(credential: dict[str, Any], **changes: Any) -> dict[str, str]:
    return {**OWN, "client_assertion_type": JWT_BEARER, "client_assertion": assertion(credential, **changes)}


def credential_of(clinic: Clinic, client: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((clinic.home / "credentials" / f"{client}.json").read_text("utf-8"))
    return read


# adding


def test_a_client_with_a_key_keeps_the_private_half_and_the_clinic_the_public_one(clinic: Clinic) -> None:
    log = AuditReader(clinic)
    shown = clinic.json("client", "add", "ward-7", "--agent", "intake_agent", "--agent", "prescription_agent")
    path = Path(shown["file"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    credential = credential_of(clinic, "ward-7")
    assert set(credential) == {"client_id", "agents", "token_endpoint", "audience", "private_key"}
    (row,) = clinic.execute("SELECT * FROM clients WHERE id = 'ward-7'")
    assert json.loads(row["public_key"])["kid"] == credential["private_key"]["kid"]
    assert "d" not in json.loads(row["public_key"])
    assert (row["secret_sha256"], row["agent_ids"], row["person_id"]) == (
        None,
        "intake_agent prescription_agent",
        None,
    )
    (event,) = log.events()
    assert (event["phase"], event["code"]) == ("admin", "client.added")
    assert event["about"] == {
        "type": "Client",
        "id": "ward-7",
        "agents": ["intake_agent", "prescription_agent"],
        "credential": "private key",
    }
    assert event["call_id"] == row["call_id"]


def test_of_a_secret_the_clinic_keeps_the_digest_alone(clinic: Clinic) -> None:
    path = clinic.home / "app.secret"
    clinic.run("client", "add", "app", "--agent", "intake_agent", "--secret-file", str(path))
    secret = path.read_text("utf-8").strip()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(base64.urlsafe_b64decode(secret + "=")) == 32
    (row,) = clinic.execute("SELECT * FROM clients WHERE id = 'app'")
    assert (row["public_key"], row["secret_sha256"]) == ("", hashlib.sha256(secret.encode()).hexdigest())
    credential = credential_of(clinic, "app")
    assert credential["secret_file"] == str(path)
    assert secret not in json.dumps(credential)
    everything = b"".join(entry.read_bytes() for entry in clinic.home.glob("clinic.db*"))
    assert secret.encode() not in everything


@pytest.mark.parametrize(
    "arguments",
    [
        ("clinic-agent",),
        ("ward-7", "--agent", "ghost_agent"),
        ("../escape",),
        (".hidden",),
        ("two words",),
        ("",),
        ("x" * 65,),
        ("a\nb",),
    ],
    ids=ascii,
)
def test_a_client_that_cannot_be_is_refused_and_leaves_nothing(clinic: Clinic, arguments: tuple[str, ...]) -> None:
    log, before = AuditReader(clinic), sorted(clinic.home.rglob("*.json"))
    secret = clinic.home / "x.secret"
    done = clinic.run("client", "add", *arguments, "--secret-file", str(secret), code=1)
    assert done.stderr.count("\n") == 1
    assert sorted(clinic.home.rglob("*.json")) == before
    assert not secret.exists()
    assert log.events() == []


def test_a_file_in_the_way_is_left_alone(clinic: Clinic) -> None:
    secret = clinic.home / "kept.secret"
    secret.write_text("mine", "utf-8")
    clinic.run("client", "add", "app", "--secret-file", str(secret), code=1)
    assert secret.read_text("utf-8") == "mine"
    assert not clinic.execute("SELECT 1 FROM clients WHERE id = 'app'")
    clinic.run("client", "add", "app", "--secret-file", "/proc/nowhere/secret", code=4)
    assert not (clinic.home / "credentials" / "app.json").exists()


def test_what_cannot_be_recorded_leaves_no_credential(clinic: Clinic) -> None:
    with clinic.write_lock():
        clinic.run("client", "add", "late", code=4)
    assert not (clinic.home / "credentials" / "late.json").exists()
    clinic.run("client", "add", "late")


def test_the_list_shows_everybody_and_no_credential(clinic: Clinic) -> None:
    path = clinic.home / "app.secret"
    clinic.run("client", "add", "app", "--agent", "intake_agent", "--secret-file", str(path))
    found = {entry["id"]: entry for entry in clinic.json("client", "list")}
    assert found["app"] == {
        "id": "app",
        "credential": "secret",
        "agents": ["intake_agent"],
        "person": None,
        "active": True,
    }
    assert found["dr-osei"]["credential"] == "private key"
    assert found["dr-osei"]["person"] == "dr-osei"
    for text in (clinic.run("client", "list").stdout, json.dumps(found)):
        assert path.read_text("utf-8").strip() not in text
        assert hashlib.sha256(path.read_text("utf-8").strip().encode()).hexdigest() not in text


# authenticating


def test_a_secret_authenticates_in_a_header_and_in_the_form(service: Process, secret: str) -> None:
    assert ask(service, OWN, Authorization=basic("desk-app", secret)).status_code == 200
    assert ask(service, {**OWN, "client_id": "desk-app", "client_secret": secret}).status_code == 200
    same = {**OWN, "client_id": "desk-app"}
    assert ask(service, same, Authorization=basic("desk-app", secret)).status_code == 200


def test_a_client_with_a_secret_gets_the_grants_of_its_agents_and_no_others(
    service: Process, secret: str, module_clinic: Clinic
) -> None:
    form = {
        "grant_type": EXCHANGE,
        "subject_token": module_clinic.consult(notes="Paracetamol 500mg"),
        "subject_token_type": "urn:clinic-mcp:token-type:consultation",
        "actor_token_type": "urn:clinic-mcp:token-type:agent",
        "audience": "patient-records",
    }
    granted = ask(service, {**form, "actor_token": "intake_agent"}, Authorization=basic("desk-app", secret))
    claims = jwt.decode(granted.json()["access_token"], options={"verify_signature": False})
    assert (claims["act"], claims["client_id"]) == ({"sub": "intake_agent"}, "desk-app")
    assert claims["nbf"] == claims["iat"]
    refused = ask(service, {**form, "actor_token": "prescription_agent"}, Authorization=basic("desk-app", secret))
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")


WRONG: dict[str, tuple[dict[str, str], dict[str, str], str]] = {
    "a wrong secret": ({}, {"Authorization": basic("desk-app", "guess")}, "bad-secret"),
    "no secret": ({}, {"Authorization": basic("desk-app", "")}, "bad-secret"),
    "the digest as secret": ({}, {"Authorization": "{digest}"}, "bad-secret"),
    "an unknown client": ({}, {"Authorization": basic("ghost", "guess")}, "unknown-client"),
    "a client without a name": ({"client_secret": "{secret}"}, {}, "unknown-client"),
    "a client that has a key": ({"client_id": "clinic-agent", "client_secret": "guess"}, {}, "bad-secret"),
    "the secret of another client": ({"client_id": "dr-osei", "client_secret": "{secret}"}, {}, "bad-secret"),
    "not base64": ({}, {"Authorization": "Basic ???"}, "malformed"),
    "no colon": ({}, {"Authorization": "Basic ZGVzaw=="}, "malformed"),
    "not UTF-8": ({}, {"Authorization": "Basic /zr/"}, "malformed"),
    "percent-encoded nonsense": ({}, {"Authorization": "Basic " + base64.b64encode(b"%ff:%ff").decode()}, "malformed"),
    "a bearer token": ({}, {"Authorization": "Bearer {secret}"}, "malformed"),
    "another client's name in the form": ({"client_id": "dr-osei"}, {"Authorization": "{right}"}, "malformed"),
    "two ways at once": (
        {"client_id": "desk-app", "client_secret": "{secret}"},
        {"Authorization": "{right}"},
        "malformed",
    ),
    "a secret and an assertion": ({"client_assertion": "x", "client_secret": "{secret}"}, {}, "malformed"),
    "NUL in the name": ({"client_id": "desk-app\x00", "client_secret": "{secret}"}, {}, "unknown-client"),
    "nothing": ({}, {}, "none"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_who_does_not_prove_who_it_is_gets_nothing_and_is_recorded(
    service: Process, secret: str, module_clinic: Clinic, kind: str
) -> None:
    form, headers, reason = WRONG[kind]
    known = {
        "secret": secret,
        "right": basic("desk-app", secret),
        "digest": basic("desk-app", hashlib.sha256(secret.encode()).hexdigest()),
    }
    log = AuditReader(module_clinic, "consultations")
    answer = ask(
        service,
        OWN | {name: value.format(**known) for name, value in form.items()},
        **{name: value.format(**known) for name, value in headers.items()},
    )
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert ("WWW-Authenticate" in answer.headers) == ("Authorization" in headers)
    assert log.phases() == STRANGER
    assert log.events()[0]["reason"] == reason
    assert secret not in str(log.events())


def test_a_client_with_a_secret_has_no_key_to_sign_with(service: Process, secret: str, module_clinic: Clinic) -> None:
    other = credential_of(module_clinic, "clinic-agent")
    form = with_key({**other, "client_id": "desk-app"})
    assert ask(service, form).status_code == 401


def test_a_form_with_a_repeated_field_is_refused(service: Process, secret: str) -> None:
    content = "grant_type=client_credentials&audience=consultations&audience=patient-records"
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Authorization": basic("desk-app", secret)}
    answer = httpx.post(f"{service.url}/oauth/token", content=content, headers=headers, timeout=20)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


def test_a_stranger_that_cannot_be_recorded_is_told_to_come_back(clinic: Clinic) -> None:
    with running(clinic, "consultations") as service, clinic.write_lock():
        asked = ask(service, OWN, Authorization=basic("ghost", "guess"))
        assert (asked.status_code, asked.json()["error"]) == (503, "temporarily_unavailable")
        shown = httpx.get(f"{service.url}/consultations/C-1", timeout=20)
        assert (shown.status_code, shown.json()["error"]) == (503, "audit_unavailable")


# revoking


def test_a_revoked_client_gets_nothing_more_and_its_own_token_ends(clinic: Clinic) -> None:
    path = clinic.home / "app.secret"
    clinic.run("client", "add", "app", "--secret-file", str(path))
    clinic.run("client", "add", "ward-7")
    secret = path.read_text("utf-8").strip()
    with running(clinic, "consultations") as service:
        token = ask(service, OWN, Authorization=basic("app", secret)).json()["access_token"]
        sent = {"Authorization": f"Bearer {token}"}
        session = clinic.consult()
        assert httpx.get(f"{service.url}/consultations/{session}", headers=sent, timeout=20).status_code == 200
        log = AuditReader(clinic)
        for client in ("app", "ward-7"):
            clinic.run("client", "revoke", client)
        assert ask(service, OWN, Authorization=basic("app", secret)).status_code == 401
        assert ask(service, with_key(credential_of(clinic, "ward-7"))).status_code == 401
        assert httpx.get(f"{service.url}/consultations/{session}", headers=sent, timeout=20).status_code == 401
    codes = [(event["code"], event.get("about", {}).get("id")) for event in log.events() if event["phase"] == "admin"]
    assert codes == [("client.revoked", "app"), ("client.revoked", "ward-7")]
    log.mark()
    assert clinic.json("client", "revoke", "app") == {"id": "app", "active": False}
    assert log.events() == [], "revoking twice changes nothing"
    clinic.run("client", "revoke", "ghost", code=1)
    clinic.run("client", "add", "app", code=1)
