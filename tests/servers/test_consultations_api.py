"""The consultations service over HTTP: client authentication, token exchange, and who may do what."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from typing import Any

import httpx
import jwt
import pytest
from clinic_mcp.consultations.keys import new_key
from support.calls import NOTES
from support.clinic import Clinic
from support.log import AuditReader
from support.servers import Process, running

JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


class Api:
    """The service as a client sees it."""

    def __init__(self, clinic: Clinic, process: Process) -> None:
        self.clinic = clinic
        self.url = process.url
        self.http = httpx.Client(base_url=process.url, timeout=20)

    def credential(self, name: str) -> dict[str, Any]:
        read: dict[str, Any] = json.loads((self.clinic.home / "credentials" / f"{name}.json").read_text("utf-8"))
        return read

    def assertion(self, name: str, *, key: dict[str, str] | None = None, **changes: Any) -> str:
        credential = self.credential(name)
        now = int(time.time())
        claims = {
            "iss": name,
            "sub": name,
            "aud": credential["audience"],
            "iat": now,
            "exp": now + 60,
            "jti": secrets.token_hex(8),
            **changes,
        }
        claims = {name: value for name, value in claims.items() if value is not ...}
        own = key or credential["private_key"]
        return jwt.encode(claims, jwt.PyJWK(own, algorithm="EdDSA"), algorithm="EdDSA", headers={"kid": own["kid"]})

    def token(self, assertion: str, **form: str) -> httpx.Response:
        fields = {"client_assertion_type": JWT_BEARER, "client_assertion": assertion, **form}
        return self.http.post("/oauth/token", data=fields)

    def grant(self, session: str, agent: str, audience: str = "patient-records", **changes: str) -> httpx.Response:
        form = {
            "grant_type": EXCHANGE,
            "subject_token": session,
            "subject_token_type": "urn:clinic-mcp:token-type:consultation",
            "actor_token": agent,
            "actor_token_type": "urn:clinic-mcp:token-type:agent",
            "audience": audience,
            **changes,
        }
        return self.token(self.assertion("clinic-agent"), **form)

    def bearer(self, name: str) -> dict[str, str]:
        answer = self.token(self.assertion(name), grant_type="client_credentials", audience="consultations")
        assert answer.status_code == 200, answer.text
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}

    def post(self, path: str, who: str, **body: Any) -> httpx.Response:
        return self.http.post(path, json=body, headers=self.bearer(who))


@pytest.fixture(scope="module")
def api(module_clinic: Clinic) -> Iterator[Api]:
    with running(module_clinic, "consultations") as process:
        opened = Api(module_clinic, process)
        with opened.http:
            yield opened


# token exchange


def test_the_exchange_gives_a_grant_that_names_everything(api: Api) -> None:
    session = api.clinic.consult(notes=NOTES)
    log = AuditReader(api.clinic, "consultations")
    answer = api.grant(session, "prescription_agent", "prescriptions")
    assert answer.status_code == 200
    body = answer.json()
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 900)
    assert body["issued_token_type"] == "urn:ietf:params:oauth:token-type:jwt"
    assert answer.headers["Cache-Control"] == "no-store"
    claims = jwt.decode(body["access_token"], options={"verify_signature": False})
    assert {name: claims[name] for name in ("iss", "aud", "sub", "act", "sid", "patient", "clinic", "client_id")} == {
        "iss": "urn:clinic-mcp:issuer",
        "aud": "prescriptions",
        "sub": "dr-osei",
        "act": {"sub": "prescription_agent"},
        "sid": session,
        "patient": "P001",
        "clinic": "main",
        "client_id": "clinic-agent",
    }
    assert claims["exp"] - claims["iat"] == 900
    (event,) = log.events()
    assert (event["code"], event["session"]["jti"], event["patients"]) == ("grant.issued", claims["jti"], ["P001"])


def test_the_keys_it_publishes_verify_what_it_signs(api: Api) -> None:
    keys = api.http.get("/.well-known/jwks.json").json()
    assert all("d" not in key for key in keys["keys"])
    token = api.grant(api.clinic.consult(), "intake_agent").json()["access_token"]
    (key,) = keys["keys"]
    assert jwt.decode(token, jwt.PyJWK(key, algorithm="EdDSA"), algorithms=["EdDSA"], audience="patient-records")


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("unknown consultation", "invalid_grant"),
        ("closed consultation", "invalid_grant"),
        ("unknown agent", "invalid_grant"),
        ("before sign-off", "invalid_grant"),
        ("unknown server", "invalid_target"),
        ("the consultations service itself", "invalid_target"),
        ("a list of servers", "invalid_target"),
        ("wrong subject type", "invalid_request"),
        ("wrong actor type", "invalid_request"),
        ("wrong grant type", "invalid_request"),
    ],
)
def test_an_exchange_that_may_not_be_is_refused_and_recorded(api: Api, kind: str, error: str) -> None:
    session = api.clinic.consult(closed=kind == "closed consultation")
    log = AuditReader(api.clinic, "consultations")
    answer = {
        "unknown consultation": lambda: api.grant("C-nobody", "intake_agent"),
        "closed consultation": lambda: api.grant(session, "intake_agent"),
        "unknown agent": lambda: api.grant(session, "ghost_agent"),
        "before sign-off": lambda: api.grant(session, "prescription_agent"),
        "unknown server": lambda: api.grant(session, "intake_agent", "somewhere"),
        "the consultations service itself": lambda: api.grant(session, "intake_agent", "consultations"),
        "a list of servers": lambda: api.grant(session, "intake_agent", "patient-records pharmacy"),
        "wrong subject type": lambda: api.grant(session, "intake_agent", subject_token_type="x"),
        "wrong actor type": lambda: api.grant(session, "intake_agent", actor_token_type="x"),
        "wrong grant type": lambda: api.grant(session, "intake_agent", grant_type="password"),
    }[kind]()
    assert answer.status_code == 400
    assert answer.json()["error"] == error
    assert "access_token" not in answer.text
    if error != "invalid_request":
        assert log.phases() == [("decision", "grant.refused")]


def test_a_persons_client_may_act_as_no_agent(api: Api) -> None:
    session = api.clinic.consult()
    answer = api.token(
        api.assertion("dr-osei"),
        grant_type=EXCHANGE,
        subject_token=session,
        subject_token_type="urn:clinic-mcp:token-type:consultation",
        actor_token="intake_agent",
        actor_token_type="urn:clinic-mcp:token-type:agent",
        audience="patient-records",
    )
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


def test_the_agents_client_gets_no_token_for_a_server_without_a_grant(api: Api) -> None:
    answer = api.token(api.assertion("clinic-agent"), grant_type="client_credentials", audience="patient-records")
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_target")


# client authentication

WRONG: dict[str, dict[str, Any]] = {
    "expired": {"exp": int(time.time()) - 3_600, "iat": int(time.time()) - 3_660},
    "lives too long": {"exp": int(time.time()) + 3_600},
    "for another audience": {"aud": "urn:somebody"},
    "for a list of audiences": {"aud": ["urn:clinic-mcp:consultations"]},
    "issued by another": {"iss": "dr-osei"},
    "about another": {"sub": "dr-osei"},
    "about nobody": {"sub": "ghost"},
    "without a jti": {"jti": ...},
    "without an expiry": {"exp": ...},
    "from the future": {"iat": int(time.time()) + 3_600, "exp": int(time.time()) + 3_660},
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_assertion_authenticates_nobody(api: Api, kind: str) -> None:
    log = AuditReader(api.clinic, "consultations")
    answer = api.token(api.assertion("clinic-agent", **WRONG[kind]), grant_type="client_credentials")
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert log.phases() == [("unauthenticated", "http.unauthenticated")]


def test_an_assertion_signed_with_another_key_authenticates_nobody(api: Api) -> None:
    stranger = {**new_key(), "kid": api.credential("clinic-agent")["private_key"]["kid"]}
    for key in (stranger, api.credential("dr-osei")["private_key"]):
        answer = api.token(api.assertion("clinic-agent", key=key), grant_type="client_credentials")
        assert answer.status_code == 401


def test_an_assertion_works_once(api: Api) -> None:
    assertion = api.assertion("clinic-agent")
    assert api.token(assertion, grant_type="client_credentials").status_code == 200
    assert api.token(assertion, grant_type="client_credentials").status_code == 401


def test_an_assertion_works_once_even_over_a_restart(clinic: Clinic) -> None:
    """The supervisor starts a crashed service again: a stolen assertion must not come back to life with it."""
    with running(clinic, "consultations") as process:
        first = Api(clinic, process)
        assertion = first.assertion("clinic-agent")
        with first.http:
            assert first.token(assertion, grant_type="client_credentials").status_code == 200
        process.kill()
    with running(clinic, "consultations") as process:
        second = Api(clinic, process)
        with second.http:
            assert second.token(assertion, grant_type="client_credentials").status_code == 401


@pytest.mark.parametrize("form", [{}, {"client_assertion_type": JWT_BEARER}, {"client_assertion": "x"}], ids=str)
def test_no_assertion_authenticates_nobody(api: Api, form: dict[str, str]) -> None:
    answer = api.http.post("/oauth/token", data={"grant_type": "client_credentials", **form})
    assert answer.status_code == 401


@pytest.mark.parametrize(
    "body", [b"", b"\xff\xfe", b"{}", b"x" * 300_000, b"a=%ff&b=%00"], ids=lambda body: repr(body[:9])
)
def test_a_body_that_is_no_form_is_refused(api: Api, body: bytes) -> None:
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = api.http.post("/oauth/token", content=body, headers=kind)
    assert answer.status_code in (400, 401, 413)
    assert "Traceback" not in answer.text


# the API


def test_a_consultation_from_opening_to_closing(api: Api) -> None:
    opened = api.post("/consultations", "clinic-agent", patient_id="P001", symptoms="fever")
    assert opened.status_code == 201
    path = f"/consultations/{opened.json()['session_id']}"
    assert opened.json()["status"] == "intake"
    assert api.post(f"{path}/status", "clinic-agent", status="awaiting_doctor").status_code == 200
    asked = api.post(f"{path}/clarifications", "dr-osei", question="Since when?")
    assert (asked.status_code, asked.json()["status"]) == (201, "clarifying")
    answered = api.post(f"{path}/clarifications/answer", "clinic-agent", answer="Two days")
    assert (answered.status_code, answered.json()["status"]) == (200, "awaiting_doctor")
    signed = api.post(f"{path}/sign-off", "dr-osei", notes=NOTES)
    assert signed.status_code == 201
    again = api.post(f"{path}/sign-off", "dr-osei", notes=NOTES)
    assert (again.status_code, again.json()["sign_off_id"]) == (200, signed.json()["sign_off_id"])
    assert api.post(f"{path}/sign-off", "dr-osei", notes="other").status_code == 409
    shown = api.http.get(path, headers=api.bearer("clinic-agent")).json()
    assert (shown["status"], shown["open"], shown["signed_off_by"]) == ("prescribing", True, "dr-osei")
    assert shown["clarifications"] == [{"question": "Since when?", "answer": "Two days"}]
    closed = api.post(f"{path}/close", "clinic-agent")
    assert (closed.status_code, closed.json()["open"], closed.json()["status"]) == (200, False, "complete")
    assert api.post(f"{path}/status", "clinic-agent", status="emergency").status_code == 409


@pytest.mark.parametrize(
    ("who", "path", "body", "status"),
    [
        ("clinic-agent", "sign-off", {"notes": NOTES}, 403),
        ("clinic-agent", "clarifications", {"question": "?"}, 403),
        ("clinic-agent", "assign", {"clinician_id": "dr-lindqvist"}, 403),
        ("dr-osei", "assign", {"clinician_id": "dr-osei"}, 403),
        ("dr-lindqvist", "sign-off", {"notes": NOTES}, 403),
        ("nurse-adeyemi", "sign-off", {"notes": NOTES}, 403),
        ("clinic-agent", "status", {"status": "prescribing"}, 403),
        ("clinic-agent", "status", {"status": "complete"}, 403),
        ("dr-osei", "status", {"status": "prescribing"}, 403),
        ("clinic-agent", "status", {"status": "nonsense"}, 403),
        ("clinic-agent", "status", {}, 400),
        ("clinic-agent", "status", {"status": 5}, 400),
        ("dr-osei", "sign-off", {"notes": ""}, 400),
        ("dr-osei", "sign-off", {"notes": ["x"]}, 400),
        ("clinic-agent", "clarifications/answer", {"answer": "x"}, 409),
    ],
)
def test_who_may_not_do_what(api: Api, who: str, path: str, body: dict[str, Any], status: int) -> None:
    session = api.clinic.consult()
    answer = api.post(f"/consultations/{session}/{path}", who, **body)
    assert answer.status_code == status, answer.text
    assert set(answer.json()) >= {"error", "message"}
    with api.clinic.desk() as desk, desk.log.database.read() as connection:
        assert desk.show(connection, session)["status"] == "intake"


@pytest.mark.parametrize("session", ["C-nobody", "..%2f..", "%00", "x" * 300])
def test_a_consultation_nobody_opened_is_404(api: Api, session: str) -> None:
    assert api.http.get(f"/consultations/{session}", headers=api.bearer("dr-osei")).status_code == 404


@pytest.mark.parametrize("patient", ["P999", ""])
def test_no_consultation_about_nobody(api: Api, patient: str) -> None:
    assert api.post("/consultations", "clinic-agent", patient_id=patient, symptoms="x").status_code in (400, 403, 404)


@pytest.mark.parametrize("path", ["/consultations/C-1", "/consultations/C-1/sign-off"])
@pytest.mark.parametrize("kind", ["none", "server token", "grant", "forged", "auditor"])
def test_only_a_token_for_this_service_is_taken(api: Api, path: str, kind: str) -> None:
    minter = api.clinic.tokens
    token = {
        "none": None,
        "server token": minter.person("dr-osei", "patient-records"),
        "grant": minter.grant("C-1", "intake_agent", audience="consultations"),
        "forged": minter.forged(minter.claims("C-1", "intake_agent", "P001", "consultations")),
        "auditor": minter.person("auditor-tan", "consultations"),
    }[kind]
    sent = {} if token is None else {"Authorization": f"Bearer {token}"}
    method = "POST" if path.endswith("sign-off") else "GET"
    answer = api.http.request(method, path, json={"notes": NOTES} if method == "POST" else None, headers=sent)
    assert answer.status_code == (403 if kind in ("grant", "auditor") else 401)


@pytest.mark.parametrize(
    "body",
    [b"[]", b"5", b'{"notes":"a","notes":"b"}', b'{"notes":NaN}', b"\xff", b'{"a":' * 40, b'{"notes":"\\ud800"}'],
)
def test_a_body_that_is_not_strict_json_is_400(api: Api, body: bytes) -> None:
    session = api.clinic.consult()
    answer = api.http.post(f"/consultations/{session}/sign-off", content=body, headers=api.bearer("dr-osei"))
    assert answer.status_code == 400


def test_a_body_beyond_the_limit_is_413(api: Api) -> None:
    answer = api.http.post("/consultations", content=b" " * 300_000, headers=api.bearer("dr-osei"))
    assert answer.status_code == 413


@pytest.mark.parametrize("extra", [{"Host": "evil.example"}, {"Origin": "https://evil.example"}], ids=str)
def test_a_strange_host_or_origin_is_refused(api: Api, extra: dict[str, str]) -> None:
    """DNS rebinding reaches this service as it reaches the others: Host and Origin are checked on every one."""
    answer = api.http.get("/consultations/C-1", headers={**api.bearer("dr-osei"), **extra})
    assert answer.status_code in (400, 403, 421)
