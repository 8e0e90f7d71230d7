"""The token battery: every wrong token, of the clinic's own and of a provider, sent to real processes.

All are refused, all are on the record with their reason, and nothing that a token names is ever asked for anything.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from clinic_mcp.consultations.keys import new_key, public_part, write_public
from support import bad_provider_tokens, bad_tokens
from support.bad_provider_tokens import REQUIRE
from support.calls import GATE, REFUSED, STRANGER
from support.clinic import Clinic
from support.issuer import Issuer, Trap, issuing, write_providers
from support.log import AuditReader
from support.servers import CALL_TIMEOUT, GRANT_META, StdioPipe, headers, piped, request, running, serving

SERVER = "patient-records"
PUBLIC = "https://clinic.example/patient-records/mcp"
CALL = ("get_patient_record", {"patient_id": "P001"})
TRANSPORTS = ("http", "stdio", "token file")


@dataclass
class Battery:
    """A clinic, its provider, a listener nobody may call, and a server on each transport."""

    clinic: Clinic
    issuer: Issuer
    trap: Trap
    url: str
    pipe: StdioPipe
    filed: StdioPipe
    token_file: Path
    retired: dict[str, str]

    def send(self, token: str, transport: str) -> str:
        """Call a tool with a token; `ok`, the code of a refusal, or the HTTP status of one."""
        if transport == "http":
            return self._post(token)
        if transport == "stdio":
            return _called(self.pipe, {GRANT_META: token})
        self.token_file.write_bytes(token.encode("utf-8", "surrogatepass"))
        return _called(self.filed, None)

    def _post(self, token: str) -> str:
        sent = [(name.encode(), value.encode()) for name, value in headers(None).items()]
        sent.append((b"Authorization", f"Bearer {token}".strip().encode("utf-8", "surrogatepass")))
        answer = httpx.post(f"{self.url}/mcp", json=request(*CALL), headers=sent, timeout=CALL_TIMEOUT)
        if answer.status_code != 200:
            return str(answer.status_code)
        result = answer.json()["result"]
        return str(result["structuredContent"]["error"]["code"]) if result["isError"] else "ok"


def _called(pipe: StdioPipe, meta: Any) -> str:
    pipe.send(request(*CALL, number=time.monotonic_ns(), meta=meta))
    result = pipe.receive()["result"]
    return str(result["structuredContent"]["error"]["code"]) if result["isError"] else "ok"


@pytest.fixture(scope="module")
def battery(module_clinic: Clinic) -> Iterator[Battery]:
    clinic = module_clinic
    retired = _retire_a_key(clinic)
    trap = Trap()
    with issuing() as issuer, ExitStack() as stack:
        issuer.rotate()  # there is a key of its that counted once
        entry = issuer.entry(require=REQUIRE, scopes=["clinic"])
        token_file = clinic.home / "stdio.token"
        settings = {
            "CLINIC_PROVIDERS": str(write_providers(clinic.home / "providers.toml", entry)),
            "CLINIC_PUBLIC_URLS": json.dumps({SERVER: PUBLIC}),
        }
        process = stack.enter_context(serving(clinic, SERVER, **settings))
        pipe = stack.enter_context(piped(clinic, SERVER, **settings))
        filed = stack.enter_context(piped(clinic, SERVER, CLINIC_TOKEN_FILE=str(token_file), **settings))
        yield Battery(clinic, issuer, trap, process.url, pipe, filed, token_file, retired)
        assert trap.connections == 0, "somebody asked a token's own address"
        assert set(issuer.requests) <= {"/keys"}
        assert len(issuer.requests) <= 9, "three processes, and at most one fetch each in thirty seconds"
    trap.close()


def _retire_a_key(clinic: Clinic) -> dict[str, str]:
    """A key of the clinic's that `keys rotate` replaced, twelve hours and more ago."""
    path, retired = clinic.home / "keys" / "jwks.json", new_key()
    keys = json.loads(path.read_text("utf-8"))["keys"]
    write_public(path, {"keys": [*keys, {**public_part(retired), "exp": int(time.time()) - 1}]})
    return retired


def refused(battery: Battery, token: str, transport: str, reasons: set[str]) -> None:
    """The token gets nothing, and the record says why, once, and repeats nothing of it."""
    log = AuditReader(battery.clinic, SERVER)
    answer = battery.send(token, transport)
    assert answer == ("401" if transport == "http" else "unauthenticated")
    assert log.phases() == [GATE if transport == "http" else STRANGER]
    (event,) = log.events()
    assert event["reason"] in reasons
    assert "principal" not in event
    assert not any(len(part) > 12 and part in json.dumps(event) for part in token.split("."))


def own(battery: Battery) -> bad_tokens.Forge:
    return bad_tokens.Forge(battery.clinic.tokens, int(time.time()), battery.trap.url)


def foreign(battery: Battery) -> bad_provider_tokens.Forge:
    return bad_provider_tokens.Forge(battery.issuer, battery.clinic.tokens, PUBLIC, int(time.time()), battery.trap.url)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_right_ones_pass(battery: Battery, transport: str) -> None:
    session = battery.clinic.consult()
    grant = battery.clinic.tokens.grant(session, "intake_agent", audience=SERVER)
    for token in (grant, battery.clinic.tokens.person("dr-osei", SERVER), foreign(battery).token()):
        assert battery.send(token, transport) == "ok"


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("kind", bad_tokens.BAD)
def test_a_wrong_token_of_the_clinics_own(battery: Battery, kind: str, transport: str) -> None:
    make, reasons = bad_tokens.BAD[kind]
    if kind == "a lone surrogate" and transport != "http":
        pytest.skip("JSON with a lone surrogate is no message to the SDK, and such a file no text: it never is a call")
    if kind == "empty":
        reasons = reasons | {"none"}
    refused(battery, make(own(battery)), transport, reasons)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("kind", bad_provider_tokens.BAD)
def test_a_wrong_token_of_the_provider(battery: Battery, kind: str, transport: str) -> None:
    make, reason = bad_provider_tokens.BAD[kind]
    refused(battery, make(foreign(battery)), transport, {reason})


def test_there_are_enough_of_them() -> None:
    assert len(bad_tokens.BAD) + len(bad_provider_tokens.BAD) >= 60


# tokens that were right once, or elsewhere


def _retired(battery: Battery) -> str:
    forge = own(battery)
    return forge.minter.sign(forge.claims(), key=battery.retired, kid=battery.retired["kid"])


def _exchanged_for_another_server(battery: Battery) -> str:
    session = battery.clinic.consult(notes="Paracetamol 500mg")
    with running(battery.clinic, "consultations") as service:
        form = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token": session,
            "subject_token_type": "urn:clinic-mcp:token-type:consultation",
            "actor_token": "intake_agent",
            "actor_token_type": "urn:clinic-mcp:token-type:agent",
            "audience": "pharmacy",
        }
        answer = httpx.post(f"{service.url}/oauth/token", data={**form, **_proof(battery)}, timeout=CALL_TIMEOUT)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])


def _proof(battery: Battery) -> dict[str, str]:
    path = battery.clinic.home / "credentials" / "clinic-agent.json"
    credential = json.loads(path.read_text("utf-8"))
    now = int(time.time())
    claims = {"iss": "clinic-agent", "sub": "clinic-agent", "aud": credential["audience"], "iat": now, "exp": now + 60}
    claims["jti"] = f"{time.time_ns()}"
    assertion = jwt.encode(claims, jwt.PyJWK(credential["private_key"], algorithm="EdDSA"), algorithm="EdDSA")
    return {
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": assertion,
    }


ONCE_RIGHT: dict[str, tuple[Callable[[Battery], str], str]] = {
    "signed with a key that has retired": (_retired, "unknown-key"),
    "exchanged for another server": (_exchanged_for_another_server, "wrong-audience"),
    "a client's assertion": (lambda battery: _proof(battery)["client_assertion"], "wrong-issuer"),
    "a token for the consultations service": (
        lambda battery: battery.clinic.tokens.person("dr-osei", "consultations"),
        "wrong-audience",
    ),
}


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("kind", ONCE_RIGHT)
def test_a_token_that_was_right_once_or_elsewhere(battery: Battery, kind: str, transport: str) -> None:
    make, reason = ONCE_RIGHT[kind]
    refused(battery, make(battery), transport, {reason})


# tokens that verify, and that the database does not know: behind the gate, the call itself is refused and recorded

UNKNOWN: dict[str, tuple[Callable[[Battery], str], str]] = {
    "a person nobody knows": (lambda b: foreign(b).token(sub="dr-nobody"), "unknown-person"),
    "an agent's name as a person's": (lambda b: foreign(b).token(sub="intake_agent"), "unknown-person"),
    "a role the clinic did not give": (lambda b: foreign(b).token(groups=["nurses"]), "role-not-vouched-for"),
    "a role the provider did not give": (lambda b: foreign(b).token(sub="auditor-tan"), "role-not-vouched-for"),
    "a person of another clinic": (
        lambda b: b.clinic.tokens.person("dr-osei", SERVER, clinic="elsewhere"),
        "unknown-person",
    ),
    "a consultation nobody opened": (
        lambda b: b.clinic.tokens.grant("C-nobody", "intake_agent", audience=SERVER),
        "grant-does-not-match",
    ),
    "another patient than the consultation's": (
        lambda b: b.clinic.tokens.grant(b.clinic.consult(), "intake_agent", "P002", audience=SERVER),
        "grant-does-not-match",
    ),
}


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("kind", UNKNOWN)
def test_a_valid_token_that_names_nobody_the_clinic_knows(battery: Battery, kind: str, transport: str) -> None:
    make, reason = UNKNOWN[kind]
    token = make(battery)
    log = AuditReader(battery.clinic, SERVER)
    assert battery.send(token, transport) == "unauthenticated"
    assert log.phases() == [STRANGER]
    assert log.events()[0]["reason"] == reason


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_grant_of_a_consultation_closed_since_ends_at_the_next_call(battery: Battery, transport: str) -> None:
    session = battery.clinic.consult()
    token = battery.clinic.tokens.grant(session, "intake_agent", audience=SERVER)
    assert battery.send(token, transport) == "ok"
    battery.clinic.run("consultation", "close", session)
    log = AuditReader(battery.clinic, SERVER)
    assert battery.send(token, transport) == "refused"
    assert log.phases() == [REFUSED]
    assert "no-closed-consultation" in log.events()[0]["decision"]["policies"]


def test_a_scope_that_is_missing_is_the_one_403(battery: Battery) -> None:
    token = foreign(battery).token(scope="openid")
    for transport, answer in (("http", "403"), ("stdio", "unauthenticated"), ("token file", "unauthenticated")):
        log = AuditReader(battery.clinic, SERVER)
        assert battery.send(token, transport) == answer
        assert log.events()[0]["reason"] == "insufficient-scope"


# replays


def test_an_approval_opens_its_own_consultation_once_and_no_other(module_clinic: Clinic) -> None:
    """The sign-off is the approval: it is a row, named by the grant's consultation, and no token carries it along."""
    clinic, notes = module_clinic, "Paracetamol 500mg three times daily for 3 days"
    approved, other = clinic.consult(notes=notes), clinic.consult()
    with piped(clinic, "prescriptions") as pipe:

        def record(grant_of: str, session: str, text: str = notes) -> str:
            token = clinic.tokens.grant(grant_of, "prescription_agent", audience="prescriptions")
            arguments = {"session_id": session, "prescription": text}
            body = request("record_prescription", arguments, time.monotonic_ns(), {GRANT_META: token})
            pipe.send(body)
            result = pipe.receive()["result"]
            return str(result["structuredContent"]["error"]["code"]) if result["isError"] else "ok"

        log = AuditReader(clinic, "prescriptions")
        assert record(approved, other) == "refused"
        assert record(other, other) == "refused"
        assert record(other, approved) == "refused"
        assert log.phases() == [REFUSED] * 3
        assert record(approved, approved) == "ok"
        assert record(approved, approved) == "ok", "the same again changes nothing"
        assert record(approved, approved, notes + " and 3 nights") in ("conflict", "refused")
    assert clinic.execute("SELECT count(*) FROM prescriptions WHERE consultation_id = ?", approved)[0][0] == 1


def test_a_clients_assertion_works_once(battery: Battery) -> None:
    with running(battery.clinic, "consultations") as service:
        form = {"grant_type": "client_credentials", **_proof(battery)}
        url = f"{service.url}/oauth/token"
        assert httpx.post(url, data=form, timeout=CALL_TIMEOUT).status_code == 200
        log = AuditReader(battery.clinic, "consultations")
        assert httpx.post(url, data=form, timeout=CALL_TIMEOUT).status_code == 401
        assert log.phases() == [GATE]
        assert log.events()[0]["reason"] == "replayed"
