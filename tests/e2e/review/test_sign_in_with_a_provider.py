"""Signing in with a real OpenID provider: `oidc-provider` on Node, on loopback, as for the MCP servers."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from support.clinic import Clinic
from support.issuer import write_providers
from support.log import AuditReader
from support.ports import free_port
from support.review import Visitor
from support.servers import CALL_TIMEOUT, Process, running
from support.waiting import eventually

OIDC = Path(__file__).parents[2] / "oidc"
SECRET = "a secret of the test"

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")


@dataclass(frozen=True)
class Site:
    """A clinic, its review page, and the provider that signs everybody in as one person."""

    clinic: Clinic
    page: Process
    provider: str

    def round_trip(self, visitor: Visitor) -> str:
        """What a browser does from the link on the page until the provider sends it back: the address it is sent to."""
        where = str(visitor.get("/login/openid?provider=0").headers["Location"])
        assert where.startswith(f"{self.provider}/auth?")
        with httpx.Client(timeout=CALL_TIMEOUT) as browser:
            for _ in range(10):
                answer = browser.get(where)
                assert answer.status_code in (302, 303), answer.text
                where = str(answer.headers["Location"])
                if where.startswith(self.page.url):
                    return where.removeprefix(self.page.url)
                where = where if where.startswith("http") else self.provider + where
        raise AssertionError("the provider never sent the browser back")


@contextmanager
def site(clinic: Clinic, account: str, roles: str) -> Iterator[Site]:
    assert (OIDC / "node_modules").exists(), "the provider is not installed: run `make setup-dev`"
    port, own = free_port(), free_port()
    url, review = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{own}/"
    (clinic.home / "review.secret").write_text(f"{SECRET}\n")
    entry = {
        "issuer": url,
        "jwks_uri": f"{url}/jwks",
        "algorithm": "RS256",
        "nbf": "optional",
        "roles_claim": "groups",
        "roles": {"auditors": "auditor", "doctors": "physician"},
        "review": {
            "client_id": "clinic-review",
            "client_secret_file": str(clinic.home / "review.secret"),
            "authorization_endpoint": f"{url}/auth",
            "token_endpoint": f"{url}/token",
            "scopes": ["openid", "clinic"],
        },
    }
    providers = write_providers(clinic.home / "providers.toml", entry)
    environment = {"PATH": os.environ["PATH"], "PORT": str(port), "ACCOUNT": account, "ROLES": roles, "REVIEW": review}
    log = clinic.home / "provider.log"
    with log.open("wb") as sink:
        child = subprocess.Popen(["node", "provider.mjs"], cwd=OIDC, env=environment, stdout=sink, stderr=sink)
    try:
        eventually(lambda: b"listening" in log.read_bytes() or child.poll() is not None, 30)
        assert child.poll() is None, log.read_text("utf-8")
        with running(clinic, "audit", "review", port=own, CLINIC_PROVIDERS=str(providers)) as page:
            yield Site(clinic, page, url)
    finally:
        child.terminate()
        child.wait(10)


@pytest.fixture(scope="module")
def auditors(module_clinic: Clinic) -> Iterator[Site]:
    with site(module_clinic, "auditor-tan", "auditors") as made:
        yield made


def test_an_auditor_signs_in_with_the_clinics_provider(auditors: Site) -> None:
    visitor, log = Visitor(auditors.page), AuditReader(auditors.clinic, "review")
    assert "Sign in with 127.0.0.1:" in visitor.get("/login").text
    entered = visitor.get(auditors.round_trip(visitor))
    assert entered.status_code == 200, entered.text
    assert visitor.get("/").status_code == 200
    assert log.phases() == [("audit_read", "review.signed_in"), ("audit_read", "review.overview")]
    for event in log.events():
        assert (event["principal"]["id"], event["session"]["issuer"]) == ("auditor-tan", auditors.provider)
    assert SECRET not in auditors.page.lines()


def test_an_answer_counts_once_and_in_the_browser_that_asked(auditors: Site) -> None:
    visitor, other, log = Visitor(auditors.page), Visitor(auditors.page), AuditReader(auditors.clinic, "review")
    back = auditors.round_trip(visitor)
    assert other.get(back).status_code == 401, "another browser"
    assert visitor.get(back).status_code == 401, "the state has been used up"
    mine = auditors.round_trip(visitor)
    assert visitor.get(mine).status_code == 200
    assert visitor.get(mine).status_code == 401, "once"
    reasons = [event["reason"] for event in log.events() if event["phase"] == "unauthenticated"]
    assert reasons == ["other-browser", "unknown-state", "unknown-state"]


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("code=x&state=made-up", "unknown-state"),
        ("", "unknown-state"),
        ("error=access_denied&state={state}", "refused-by-provider"),
        ("code=made-up&state={state}", "code-refused"),
        ("code=x&state={state}&iss=https://evil.example", "wrong-issuer"),
    ],
)
def test_an_answer_the_provider_did_not_give_opens_nothing(query: str, reason: str, auditors: Site) -> None:
    visitor, log = Visitor(auditors.page), AuditReader(auditors.clinic, "review")
    start = httpx.URL(str(visitor.get("/login/openid?provider=0").headers["Location"]))
    answer = visitor.get(f"/login/openid/callback?{query.format(state=start.params['state'])}")
    assert answer.status_code == 401
    assert visitor.get("/").headers["Location"] == "/login"
    assert [event["reason"] for event in log.events()] == [reason]


def test_the_question_has_pkce_state_nonce_and_the_resource(auditors: Site) -> None:
    visitor = Visitor(auditors.page)
    first, second = (httpx.URL(str(visitor.get("/login/openid").headers["Location"])).params for _ in range(2))
    assert first["code_challenge_method"] == "S256"
    assert first["redirect_uri"] == f"{auditors.page.url}/login/openid/callback"
    assert first["resource"] == f"{auditors.page.url}/"
    for name in ("state", "nonce", "code_challenge"):
        assert len(first[name]) >= 43
        assert first[name] != second[name]
    assert visitor.get("/login/openid?provider=1").status_code == 404
    assert visitor.get("/login/openid?provider=https://evil.example").status_code == 404


def test_a_physician_whom_the_provider_vouches_for_is_not_let_in(new_clinic: Callable[[], Clinic]) -> None:
    clinic = new_clinic()
    with site(clinic, "dr-osei", "doctors") as made:
        visitor, log = Visitor(made.page), AuditReader(clinic, "review")
        answer = visitor.get(made.round_trip(visitor))
        assert answer.status_code == 403
        assert log.phases() == [("decision", "call.refused")]
