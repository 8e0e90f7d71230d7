"""Who gets in, who is turned away, and what a session is worth to whoever steals or forges a part of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import httpx
import pytest
from clinic_mcp.audit.review.attempts import OF_ALL, OF_ONE_PEER, WITHIN, Attempts
from clinic_mcp.audit.review.sessions import IDLE, MOST, Sessions
from support.clinic import Clinic
from support.log import AuditReader
from support.review import Visitor, auditor, reviewing
from support.servers import Process

FOREVER = 2**40


@pytest.fixture(scope="module")
def page(module_clinic: Clinic) -> Iterator[Process]:
    with reviewing(module_clinic) as process:
        yield process


@pytest.fixture
def log(module_clinic: Clinic) -> AuditReader:
    return AuditReader(module_clinic, "review")


def test_an_auditor_signs_in_with_the_token_the_command_prints(
    page: Process, module_clinic: Clinic, log: AuditReader
) -> None:
    visitor = Visitor(page)
    token = module_clinic.run("token", "issue", "--as", "auditor-tan", "--server", "review").stdout.strip()
    entered = visitor.sign_in(token)
    assert entered.status_code == 200
    cookie = next(one for one in entered.headers.get_list("set-cookie") if one.startswith("clinic_review="))
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    assert token not in cookie
    assert visitor.get("/").status_code == 200
    assert log.phases() == [("audit_read", "review.signed_in"), ("audit_read", "review.overview")]


@pytest.mark.parametrize("person", ["dr-osei", "nurse-adeyemi", "admin-kaur", "pharm-rossi"])
def test_nobody_else_who_works_here_gets_in(
    person: str, page: Process, module_clinic: Clinic, log: AuditReader
) -> None:
    visitor = Visitor(page)
    answer = visitor.sign_in(module_clinic.tokens.person(person, "review"))
    assert answer.status_code == 403
    assert "do not permit you to read the audit log" in answer.text
    assert visitor.get("/").headers["Location"] == "/login"
    (event,) = log.events()
    assert (event["phase"], event["code"], event["principal"]["id"]) == ("decision", "call.refused", person)
    assert (event["decision"]["effect"], event["decision"]["policies"]) == ("deny", ["default-deny"])


def test_a_refusal_can_be_explained_and_replayed_like_any_other(page: Process, module_clinic: Clinic) -> None:
    Visitor(page).sign_in(module_clinic.tokens.person("dr-osei", "review"))
    event = module_clinic.execute("SELECT event_id FROM audit_events WHERE tool = 'read_audit_log' ORDER BY id DESC")[0]
    told = module_clinic.json("policy", "explain", "--event", event["event_id"])
    assert (told["decision"], told["tool"], told["policies"]) == ("deny", "read_audit_log", ["default-deny"])
    assert "Asked again" not in str(told["notes"])


BAD: dict[str, Callable[[Clinic], str]] = {
    "malformed": lambda _: "not a token",
    "wrong-audience": lambda clinic: clinic.tokens.person("auditor-tan", "pharmacy"),
    "bad-signature": lambda clinic: clinic.tokens.forged(
        clinic.tokens.claims("", "", "", "review", sub="auditor-tan", act=..., sid=..., patient=...)
    ),
    "expired": lambda clinic: clinic.tokens.person("auditor-tan", "review", iat=1, nbf=1, exp=900),
    "unknown-person": lambda clinic: clinic.tokens.person("auditor-nobody", "review"),
    "not-a-person": lambda clinic: clinic.tokens.grant(clinic.consult(), "intake_agent", audience="review"),
}


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_token_is_turned_away_and_on_the_record(
    reason: str, page: Process, module_clinic: Clinic, log: AuditReader
) -> None:
    token = BAD[reason](module_clinic)
    answer = Visitor(page).sign_in(token)
    assert answer.status_code == 401
    assert "is not valid here" in answer.text
    assert token not in answer.text
    (event,) = log.events()
    assert (event["phase"], event["reason"]) == ("unauthenticated", reason)


def test_an_address_that_somebody_only_claims_is_not_on_the_record(page: Process, log: AuditReader) -> None:
    visitor = Visitor(page)
    visitor.http.headers.update({"X-Forwarded-For": "203.0.113.9", "Forwarded": "for=203.0.113.9"})
    visitor.sign_in("nonsense")
    assert [event["network"]["peer"] for event in log.events()] == ["127.0.0.1"]


def test_a_deactivated_auditor_is_out_at_the_next_look(page: Process, module_clinic: Clinic, log: AuditReader) -> None:
    visitor = auditor(page, module_clinic)
    module_clinic.run("person", "deactivate", "auditor-tan")
    try:
        answer = visitor.get("/calls")
    finally:
        module_clinic.run("person", "activate", "auditor-tan")
    assert answer.status_code == 403
    assert "<table" not in answer.text
    assert log.phases()[-1] == ("decision", "call.refused")
    assert visitor.get("/calls").headers["Location"].startswith("/login"), "the session is gone"


def test_signing_out_ends_the_session_and_not_only_the_cookie(page: Process, module_clinic: Clinic) -> None:
    visitor = auditor(page, module_clinic)
    kept = dict(visitor.http.cookies)
    assert visitor.post("/logout", "/queue").status_code == 303
    stolen = httpx.get(f"{page.url}/", cookies=kept, follow_redirects=False)
    assert stolen.headers["Location"].startswith("/login")


def test_every_form_needs_what_its_own_page_put_into_it(page: Process, module_clinic: Clinic, log: AuditReader) -> None:
    visitor, other = auditor(page, module_clinic), auditor(page, module_clinic)
    theirs = re.search(r'name="form" value="([^"]+)"', other.get("/queue").text)
    assert theirs
    for value in ("", "x", "é", theirs[1]):
        for path in ("/logout", "/integrity", "/queue/V-0123456789abcdef"):
            answer = visitor.http.post(path, data={"form": value, "verdict": "justified", "reason": "it was so"})
            assert answer.status_code == 403, path
    assert visitor.http.post("/login", data={"form": "x", "token": "y"}).status_code == 403
    assert not [one for one in log.events() if one["phase"] != "audit_read"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_another_host_or_origin_is_refused_at_the_door(headers: dict[str, str], status: int, page: Process) -> None:
    assert httpx.post(f"{page.url}/login", headers=headers, data={}).status_code == status
    assert httpx.get(f"{page.url}/login", headers=headers).status_code == status


@pytest.mark.parametrize("path", ["/login", "/", "/nope", "/static/review.css", "/static/nope", "/healthz"])
def test_every_answer_carries_the_strict_headers(path: str, page: Process) -> None:
    headers = httpx.get(f"{page.url}{path}").headers
    policy = dict(one.split(" ", 1) for one in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert {value for name, value in policy.items() if name.endswith("-src") and name != "default-src"} == {"'self'"}
    assert policy["form-action"] == "'self'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    static = path.startswith("/static/")
    assert headers["Cache-Control"] == ("no-cache" if static else "no-store")
    assert ("set-cookie" in headers) == (path == "/login")


def test_no_page_has_a_script_or_a_style_of_its_own(page: Process, module_clinic: Clinic) -> None:
    visitor = auditor(page, module_clinic)
    for path in ("/login", "/", "/calls", "/callers", "/refusals", "/queue", "/integrity", "/patients/P001"):
        text = visitor.get(path).text
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:|https?://(?!www\.w3\.org)", text), path
        assert re.findall(r"<script[^>]*>", text) in ([], ['<script src="/static/htmx.min.js" defer>'])


def test_attempts_to_sign_in_are_bounded(new_clinic: Callable[[], Clinic]) -> None:
    clinic = new_clinic()
    with reviewing(clinic) as page:
        visitor = Visitor(page)
        statuses = [visitor.sign_in("nonsense").status_code for _ in range(OF_ONE_PEER + 1)]
        assert statuses == [401] * OF_ONE_PEER + [429]
        log = AuditReader(clinic, "review")
        assert visitor.sign_in("nonsense").status_code == 429
        assert log.events() == [], "what is not tried is not recorded"


def test_attempts_are_counted_by_address_and_over_a_minute() -> None:
    moment = [0.0]
    attempts = Attempts(clock=lambda: moment[0])
    assert [attempts.admit("a") for _ in range(OF_ONE_PEER + 1)][-2:] == [True, False]
    assert attempts.admit("b")
    moment[0] = WITHIN
    assert attempts.admit("a")
    assert sum(attempts.admit(str(number)) for number in range(2 * OF_ALL)) == OF_ALL - 1


def test_an_idle_session_ends_and_a_used_one_goes_on() -> None:
    moment = [0.0]
    sessions = Sessions(clock=lambda: moment[0])
    name = sessions.begin("token", FOREVER)
    for _ in range(3):
        moment[0] += IDLE - 1
        assert sessions.find(name) is not None
    moment[0] += IDLE + 1
    assert sessions.find(name) is None


def test_a_session_ends_with_its_token() -> None:
    sessions = Sessions()
    assert sessions.find(sessions.begin("token", 1)) is None
    assert sessions.find(None) is None


def test_sessions_are_bounded_and_the_idlest_makes_room() -> None:
    moment = [0.0]
    sessions = Sessions(clock=lambda: moment[0])
    names = []
    for _ in range(MOST + 1):
        moment[0] += 1
        names.append(sessions.begin("token", FOREVER))
    assert sessions.find(names[0]) is None
    assert sessions.find(names[1]) is not None


def test_the_token_is_in_no_line_of_the_process(page: Process, module_clinic: Clinic) -> None:
    token = module_clinic.tokens.person("auditor-tan", "review")
    Visitor(page).sign_in(token)
    assert token.split(".")[2] not in page.lines()
    assert token.split(".")[2] not in repr(Sessions().begin(token, FOREVER))


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"form=%ff&token=x", "application/x-www-form-urlencoded", 400),
        (b"a=1&" * 50, "application/x-www-form-urlencoded", 400),
        (b"x" * 300_000, "application/x-www-form-urlencoded", 413),
        (b"{}", "application/json", 415),
    ],
)
def test_what_is_no_form_gets_a_sentence(body: bytes, kind: str, status: int, page: Process) -> None:
    answer = httpx.post(f"{page.url}/login", content=body, headers={"Content-Type": kind})
    assert answer.status_code == status
    assert "Traceback" not in answer.text


def test_behind_tls_cookies_are_bound_to_the_host(new_clinic: Callable[[], Clinic]) -> None:
    clinic = new_clinic()
    public = {
        "CLINIC_PUBLIC_URLS": '{"review": "https://review.clinic.example/"}',
        "CLINIC_ALLOWED_HOSTS": '["review.clinic.example"]',
    }
    with reviewing(clinic, **public) as page:
        answer = httpx.get(f"{page.url}/login", headers={"Host": "review.clinic.example"})
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("__Host-")
        assert "Secure" in cookie
        assert answer.headers["Strict-Transport-Security"]


def test_a_public_url_with_a_path_is_refused_at_the_start(clinic: Clinic) -> None:
    refused = clinic.run(
        "audit", "review", "--port", "0", code=4, CLINIC_PUBLIC_URLS='{"review": "https://clinic.example/review"}'
    )
    assert "needs a host name of its own" in refused.stderr
