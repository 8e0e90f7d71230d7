"""What a provider can answer when a code is redeemed, and what of it signs nobody in."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
from clinic_mcp.audit.review.openid import LASTS, MOST, OpenId
from clinic_mcp.core.errors import Misconfigured, Unauthenticated, Unavailable
from clinic_mcp.core.providers import load_providers
from clinic_mcp.core.settings import Settings
from support.issuer import Issuer, issuing, write_providers

PAGE = "http://127.0.0.1:8110/"
CLIENT = "clinic review"


class Endpoint:
    """A token endpoint that answers what a test tells it to."""

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer
        self.nonce = ""
        self.changes: dict[str, Any] = {}
        self.answer = "tokens"
        self.form: dict[str, str] = {}
        self.headers: dict[str, str] = {}

    def identity(self) -> str:
        now = int(time.time())
        claims = {"iss": self.issuer.url, "aud": CLIENT, "sub": "auditor-tan", "iat": now, "exp": now + 60}
        made = {**claims, "nonce": self.nonce, **self.changes}
        return self.issuer.key.sign({name: value for name, value in made.items() if value is not ...}, typ="JWT")

    def respond(self) -> tuple[int, bytes]:
        if self.answer == "refused":
            return 400, b'{"error": "invalid_grant"}'
        if self.answer == "redirect":
            return 302, b""
        if self.answer == "not json":
            return 200, b"<html>"
        if self.answer == "a list":
            return 200, b"[]"
        if self.answer == "huge":
            return 200, json.dumps({"access_token": "x" * 100_000}).encode()
        issued = {"access_token": "the token", "token_type": "Bearer", "id_token": self.identity()}
        if self.answer == "no id token":
            del issued["id_token"]
        if self.answer == "an id token of somebody else":
            issued["id_token"] = issued["id_token"][:-8] + "AAAAAAAA"
        return 200, json.dumps(issued).encode()


@contextmanager
def redeeming(issuer: Issuer) -> Iterator[tuple[Endpoint, str]]:
    endpoint = Endpoint(issuer)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            endpoint.form = {name: values[0] for name, values in parse_qs(body).items()}
            endpoint.headers = dict(self.headers)
            status, answer = endpoint.respond()
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.send_header("Location", f"{issuer.url}/elsewhere")
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield endpoint, f"http://127.0.0.1:{server.server_address[1]}/token"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def provider() -> Iterator[tuple[Issuer, Endpoint, str]]:
    with issuing() as issuer, redeeming(issuer) as (endpoint, url):
        yield issuer, endpoint, url


class Page:
    """The page's side, at a time of the test's choosing."""

    def __init__(self, folder: Path, issuer: Issuer, url: str, **sign_in: Any) -> None:
        self.moment = 0.0
        entry = {
            "client_id": CLIENT,
            "authorization_endpoint": f"{issuer.url}/auth?tenant=1",
            "token_endpoint": url,
            **sign_in,
        }
        file = write_providers(folder / "providers.toml", issuer.entry(review=entry))
        settings = Settings(home=folder)
        settings.keys.mkdir(exist_ok=True)
        providers = load_providers(file, own_issuer=settings.issuer)
        self.openid = OpenId(settings, providers, PAGE, clock=lambda: self.moment)

    def begin(self) -> tuple[dict[str, str], str]:
        where, browser = self.openid.begin(0)
        return dict(httpx.URL(where).params), browser


def test_what_it_redeems_is_the_access_token(tmp_path: Path, provider: tuple[Issuer, Endpoint, str]) -> None:
    issuer, endpoint, url = provider
    endpoint.answer, endpoint.changes = "tokens", {}
    page = Page(tmp_path, issuer, url)
    asked, browser = page.begin()
    assert asked["tenant"] == "1"
    endpoint.nonce = asked["nonce"]
    assert page.openid.finish({"state": asked["state"], "code": "c"}, browser) == "the token"
    assert endpoint.form["client_id"] == CLIENT
    assert endpoint.form["redirect_uri"] == f"{PAGE}login/openid/callback"
    assert len(endpoint.form["code_verifier"]) >= 43
    assert "Authorization" not in endpoint.headers


def test_a_secret_goes_into_the_header_alone(tmp_path: Path, provider: tuple[Issuer, Endpoint, str]) -> None:
    issuer, endpoint, url = provider
    endpoint.answer, endpoint.changes = "tokens", {}
    (tmp_path / "secret").write_text("p:w&d\n")
    page = Page(tmp_path, issuer, url, client_secret_file=str(tmp_path / "secret"))
    asked, browser = page.begin()
    endpoint.nonce = asked["nonce"]
    page.openid.finish({"state": asked["state"], "code": "c"}, browser)
    assert base64.b64decode(endpoint.headers["Authorization"].removeprefix("Basic ")) == b"clinic+review:p%3Aw%26d"
    assert "client_secret" not in endpoint.form
    assert "p:w&d" not in repr(page.openid.offers)


@pytest.mark.parametrize(
    ("answer", "changes", "reason"),
    [
        ("refused", {}, "code-refused"),
        ("redirect", {}, "code-refused"),
        ("not json", {}, "code-refused"),
        ("a list", {}, "code-refused"),
        ("no id token", {}, "no-token"),
        ("an id token of somebody else", {}, "bad-signature"),
        ("tokens", {"nonce": "another"}, "wrong-nonce"),
        ("tokens", {"nonce": ...}, "missing-claim"),
        ("tokens", {"aud": "another"}, "wrong-audience"),
        ("tokens", {"aud": [CLIENT, "another"]}, "wrong-audience"),
        ("tokens", {"iss": "https://evil.example"}, "wrong-issuer"),
        ("tokens", {"iat": 1, "exp": 2}, "expired"),
    ],
)
def test_an_answer_that_does_not_hold_signs_nobody_in(
    answer: str, changes: dict[str, Any], reason: str, tmp_path: Path, provider: tuple[Issuer, Endpoint, str]
) -> None:
    issuer, endpoint, url = provider
    page = Page(tmp_path, issuer, url)
    asked, browser = page.begin()
    endpoint.answer, endpoint.changes, endpoint.nonce = answer, changes, asked["nonce"]
    with pytest.raises(Unauthenticated) as refusal:
        page.openid.finish({"state": asked["state"], "code": "c"}, browser)
    assert refusal.value.reason == reason


def test_a_provider_that_floods_or_is_gone_is_unavailable(
    tmp_path: Path, provider: tuple[Issuer, Endpoint, str]
) -> None:
    issuer, endpoint, url = provider
    endpoint.answer = "huge"
    for place in (url, "http://127.0.0.1:9/token"):
        page = Page(tmp_path, issuer, place)
        asked, browser = page.begin()
        with pytest.raises(Unavailable):
            page.openid.finish({"state": asked["state"], "code": "c"}, browser)


def test_a_sign_in_takes_ten_minutes_at_most_and_many_make_room(
    tmp_path: Path, provider: tuple[Issuer, Endpoint, str]
) -> None:
    issuer, endpoint, url = provider
    endpoint.answer = "refused"
    page = Page(tmp_path, issuer, url)
    asked, browser = page.begin()
    page.moment = LASTS
    with pytest.raises(Unauthenticated) as refusal:
        page.openid.finish({"state": asked["state"], "code": "c"}, browser)
    assert refusal.value.reason == "unknown-state"
    begun = [page.begin() for _ in range(MOST + 1)]
    reasons = []
    for asked, browser in (begun[0], begun[-1]):
        with pytest.raises(Unauthenticated) as refusal:
            page.openid.finish({"state": asked["state"], "code": "c"}, browser)
        reasons.append(refusal.value.reason)
    assert reasons == ["unknown-state", "code-refused"]


@pytest.mark.parametrize(
    "sign_in",
    [
        {"token_endpoint": "http://idp.example/token"},
        {"scopes": ["email"]},
        {"client_id": ""},
        {"client_secret": "in the file"},
    ],
)
def test_a_sign_in_that_cannot_be_used_is_refused_at_the_start(
    sign_in: dict[str, Any], tmp_path: Path, provider: tuple[Issuer, Endpoint, str]
) -> None:
    issuer, _, url = provider
    with pytest.raises(Misconfigured, match="provider 1, review"):
        Page(tmp_path, issuer, url, **sign_in)


def test_a_secret_that_cannot_be_read_is_refused_at_the_start(
    tmp_path: Path, provider: tuple[Issuer, Endpoint, str]
) -> None:
    issuer, _, url = provider
    (tmp_path / "empty").write_text("\n")
    for name in ("empty", "gone"):
        with pytest.raises(Misconfigured, match="secret"):
            Page(tmp_path, issuer, url, client_secret_file=str(tmp_path / name))
