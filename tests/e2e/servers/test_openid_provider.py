"""With a real OpenID provider: `oidc-provider` on Node, on loopback. A client that knows nothing but a server's URL
finds it, signs in, and calls a tool; what else the provider issues is refused.

`make setup-dev` installs it into tests/oidc. A machine without Node skips this file.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import httpx2
import jwt
import pytest
from anyio.from_thread import start_blocking_portal
from mcp import Client
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from support.calls import DONE, GATE, INTENT
from support.clinic import Clinic
from support.issuer import write_providers
from support.log import AuditReader
from support.servers import CALL_TIMEOUT, Process, free_port, post_call, serving
from support.waiting import eventually

OIDC = Path(__file__).parents[2] / "oidc"
REDIRECT = "http://127.0.0.1:9/callback"
CALL = ("get_patient_record", {"patient_id": "P001"})

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")


@dataclass(frozen=True)
class Provider:
    """The running provider."""

    url: str

    def sign_in(self, start: str) -> dict[str, str]:
        """What a browser does: follow redirects, keep cookies, until the provider sends it back to the client."""
        where = start
        with httpx.Client(timeout=CALL_TIMEOUT, follow_redirects=False) as browser:
            for _ in range(10):
                answer = browser.get(where)
                assert answer.status_code in (302, 303), f"{answer.status_code} at {where}: {answer.text}"
                where = str(answer.headers["Location"])
                if where.startswith(REDIRECT):
                    return {name: values[0] for name, values in parse_qs(urlsplit(where).query).items()}
                where = where if where.startswith("http") else self.url + where
        raise AssertionError("the provider never sent the browser back")

    def tokens(self, resource: str | None, scope: str = "openid clinic") -> dict[str, Any]:
        """Access and ID token by the authorization code grant with PKCE."""
        verifier = secrets.token_urlsafe(48)
        digest = hashlib.sha256(verifier.encode()).digest()
        named = {} if resource is None else {"resource": resource}
        question = {
            "response_type": "code",
            "client_id": "clinic-portal",
            "redirect_uri": REDIRECT,
            "scope": scope,
            "state": "s",
            "nonce": "n",
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
            **named,
        }
        back = self.sign_in(str(httpx.URL(f"{self.url}/auth", params=question)))
        assert "code" in back, back
        form = {
            "grant_type": "authorization_code",
            "client_id": "clinic-portal",
            "redirect_uri": REDIRECT,
            "code": back["code"],
            "code_verifier": verifier,
            **named,
        }
        answer = httpx.post(f"{self.url}/token", data=form, timeout=CALL_TIMEOUT)
        assert answer.status_code == 200, answer.text
        issued: dict[str, Any] = answer.json()
        return issued


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    assert (OIDC / "node_modules").exists(), "the provider is not installed: run `make setup-dev`"
    port = free_port()
    log = tmp_path_factory.mktemp("oidc") / "provider.log"
    environment = {"PATH": os.environ["PATH"], "PORT": str(port), "ACCOUNT": "dr-osei", "ROLES": "doctors,everyone"}
    with log.open("wb") as sink:
        child = subprocess.Popen(["node", "provider.mjs"], cwd=OIDC, env=environment, stdout=sink, stderr=sink)
    try:
        eventually(lambda: b"listening" in log.read_bytes() or child.poll() is not None, 30)
        assert child.poll() is None, log.read_text("utf-8")
        yield Provider(f"http://127.0.0.1:{port}")
    finally:
        child.terminate()
        child.wait(10)


@pytest.fixture(scope="module")
def server(module_clinic: Clinic, provider: Provider) -> Iterator[Process]:
    entry = {
        "issuer": provider.url,
        "jwks_uri": f"{provider.url}/jwks",
        "algorithm": "RS256",
        "nbf": "optional",
        "roles_claim": "groups",
        "scopes": ["clinic"],
        "roles": {"doctors": "physician"},
    }
    path = write_providers(module_clinic.home / "providers.toml", entry)
    with serving(module_clinic, "patient-records", CLINIC_PROVIDERS=str(path)) as process:
        yield process


class Kept:
    """What an MCP client keeps of its sign-in."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


def test_a_client_that_knows_only_the_servers_url_finds_the_provider_signs_in_and_calls_a_tool(
    module_clinic: Clinic, provider: Provider, server: Process
) -> None:
    """The SDK's own client: 401, metadata (RFC 9728), registration, authorization code with `resource`, token, call."""
    kept, back = Kept(), list[dict[str, str]]()

    async def redirect(url: str) -> None:
        back.append(provider.sign_in(url))

    async def callback() -> AuthorizationCodeResult:
        return AuthorizationCodeResult(code=back[0]["code"], state=back[0]["state"], iss=back[0].get("iss"))

    metadata = OAuthClientMetadata.model_validate(
        {"redirect_uris": [REDIRECT], "client_name": "a test", "token_endpoint_auth_method": "none"}
    )
    auth = OAuthClientProvider(f"{server.url}/mcp", metadata, kept, redirect, callback)

    async def call() -> Any:
        async with (
            httpx2.AsyncClient(auth=auth, timeout=CALL_TIMEOUT) as http,
            Client(streamable_http_client(f"{server.url}/mcp", http_client=http)) as client,
        ):
            return await client.call_tool(*CALL, read_timeout_seconds=CALL_TIMEOUT)

    log = AuditReader(module_clinic, "patient-records")
    with start_blocking_portal() as portal:
        result = portal.call(call)
    assert not result.is_error, result
    assert result.structured_content["name"] == "Alice Thompson"
    assert kept.tokens is not None
    claims = jwt.decode(kept.tokens.access_token, options={"verify_signature": False})
    assert (claims["aud"], claims["iss"], claims["sub"]) == (f"{server.url}/mcp", provider.url, "dr-osei")
    assert log.phases() == [GATE, INTENT, DONE], "the first request had no token; it is on the record, too"
    for event in log.events()[1:]:
        assert event["principal"] == {"type": "Clinician", "id": "dr-osei", "roles": ["physician"], "clinic": "main"}
        assert event["session"]["jti"] == claims["jti"]


def test_its_access_token_for_this_server_is_taken_and_nothing_else_it_issues(
    module_clinic: Clinic, provider: Provider, server: Process
) -> None:
    url = f"{server.url}/mcp"
    issued = provider.tokens(url)
    header = jwt.get_unverified_header(issued["access_token"])
    assert (header["alg"], header["typ"]) == ("RS256", "at+jwt")
    status, body = post_call(url, *CALL, issued["access_token"])
    assert (status, body["result"]["isError"]) == (200, False)
    wrong = {
        "its ID token": (issued["id_token"], "wrong-type"),
        "a token for another resource": (provider.tokens("http://127.0.0.1:1/mcp")["access_token"], "wrong-audience"),
        "a token for the server's origin": (provider.tokens(server.url)["access_token"], "wrong-audience"),
        "an opaque token for no resource": (provider.tokens(None)["access_token"], "malformed"),
    }
    for kind, (token, reason) in wrong.items():
        log = AuditReader(module_clinic, "patient-records")
        assert post_call(url, *CALL, token)[0] == 401, kind
        assert log.phases() == [GATE]
        assert log.events()[0]["reason"] == reason, kind


def test_a_token_without_the_scope_is_403(provider: Provider, server: Process) -> None:
    url = f"{server.url}/mcp"
    token = provider.tokens(url, scope="openid")["access_token"]
    status, body = post_call(url, *CALL, token)
    assert (status, body["error"]) == (403, "insufficient_scope")


def test_the_roles_it_vouches_for_are_not_enough_without_the_clinics_own_word(
    module_clinic: Clinic, provider: Provider, server: Process
) -> None:
    url = f"{server.url}/mcp"
    token = provider.tokens(url)["access_token"]
    module_clinic.run("person", "deactivate", "dr-osei")
    try:
        body = post_call(url, *CALL, token)[1]
        assert body["result"]["structuredContent"]["error"]["code"] == "refused"
    finally:
        module_clinic.run("person", "activate", "dr-osei")
    assert json.dumps(post_call(url, *CALL, token)[1]).count("Alice Thompson")
