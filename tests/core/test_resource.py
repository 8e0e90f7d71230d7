"""OAuth resource servers: what they say of themselves (RFC 9728), whom they take, and how they refuse (RFC 6750)."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from clinic_mcp.core.errors import Misconfigured
from clinic_mcp.core.providers import Provider
from clinic_mcp.core.resource import Resource, check_public, resource_url
from clinic_mcp.core.settings import Settings
from mcp.shared.auth import ProtectedResourceMetadata
from pydantic import ValidationError
from support.calls import GATE
from support.clinic import Clinic
from support.issuer import Issuer, issuing, write_providers
from support.log import AuditReader
from support.servers import Process, connected, free_port, headers, post_call, request, running, serving
from support.waiting import eventually

WELL_KNOWN = "/.well-known/oauth-protected-resource"
SEARCH = ("search_knowledge_base", {"query": "fever"})


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with issuing() as opened:
        yield opened


@pytest.fixture(scope="module")
def providers(module_clinic: Clinic, issuer: Issuer) -> str:
    entries = [issuer.entry(scopes=["clinic"]), issuer.entry(issuer="https://idp.example/", scopes=["a:b"])]
    return str(write_providers(module_clinic.home / "providers.toml", *entries))


@pytest.fixture(scope="module", params=["http", "sse"])
def server(module_clinic: Clinic, providers: str, request: pytest.FixtureRequest) -> Iterator[tuple[Process, str]]:
    """A server, and the path of its endpoint."""
    with serving(module_clinic, "knowledge-base", request.param, CLINIC_PROVIDERS=providers) as process:
        yield process, {"http": "/mcp", "sse": "/sse"}[request.param]


# RFC 9728


def test_the_metadata_is_there_for_anybody_at_both_addresses(server: tuple[Process, str], issuer: Issuer) -> None:
    process, path = server
    for where in (WELL_KNOWN, WELL_KNOWN + path):
        answer = httpx.get(f"{process.url}{where}", timeout=20)
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.json() == {
            "resource": f"{process.url}{path}",
            "authorization_servers": [issuer.url, "https://idp.example/"],
            "bearer_methods_supported": ["header"],
            "resource_name": "Knowledge base",
            "scopes_supported": ["a:b", "clinic"],
        }
        read = ProtectedResourceMetadata.model_validate_json(answer.content)
        assert [str(one) for one in read.authorization_servers] == [issuer.url, "https://idp.example/"]


def test_nothing_else_there_is_open(server: tuple[Process, str]) -> None:
    process, path = server
    for where in (WELL_KNOWN + "/elsewhere", WELL_KNOWN + path + "/", "/.well-known/openid-configuration", path):
        assert httpx.get(f"{process.url}{where}", timeout=20).status_code == 401
    for method in ("POST", "PUT", "DELETE"):
        assert httpx.request(method, f"{process.url}{WELL_KNOWN}", timeout=20).status_code == 405
    strange = httpx.get(f"{process.url}{WELL_KNOWN}", headers={"Host": "evil.example"}, timeout=20)
    assert strange.status_code in (400, 403, 421)


def test_a_refusal_says_where_the_metadata_is(server: tuple[Process, str], module_clinic: Clinic) -> None:
    process, path = server
    log = AuditReader(module_clinic, "knowledge-base")
    answer = httpx.post(f"{process.url}{path}", json={}, timeout=20)
    assert answer.status_code == 401
    challenge = answer.headers["WWW-Authenticate"]
    assert challenge.startswith('Bearer error="invalid_token", ')
    (where,) = re.findall(r'resource_metadata="([^"]+)"', challenge)
    assert where == f"{process.url}{WELL_KNOWN}{path}"
    assert httpx.get(where, timeout=20).json()["resource"] == f"{process.url}{path}"
    assert log.phases() == [GATE], "the request is on the record, the metadata is not"


def test_without_a_provider_there_is_no_metadata(clinic: Clinic) -> None:
    with serving(clinic, "knowledge-base") as process:
        log = AuditReader(clinic)
        for where in (WELL_KNOWN, WELL_KNOWN + "/mcp"):
            assert httpx.get(f"{process.url}{where}", timeout=20).status_code == 404
        assert log.events() == []
        assert "resource_metadata" not in httpx.get(f"{process.url}/mcp", timeout=20).headers["WWW-Authenticate"]


# tokens of a provider


def test_a_providers_token_calls_a_tool_as_the_person_it_names(
    server: tuple[Process, str], module_clinic: Clinic, issuer: Issuer
) -> None:
    process, path = server
    url = f"{process.url}{path}"
    log = AuditReader(module_clinic, "knowledge-base")
    if path == "/sse":
        with httpx.stream("GET", url, headers=headers(issuer.token(url)), timeout=20) as stream:
            assert stream.status_code == 200
    else:
        status, body = post_call(url, *SEARCH, issuer.token(url))
        assert (status, body["result"]["isError"]) == (200, False)
        intent, outcome = log.events()
        assert intent["principal"]["id"] == outcome["principal"]["id"] == "dr-osei"
    other = {"/sse": "/mcp", "/mcp": "/sse"}[path]
    for audience in (f"{process.url}{other}", "knowledge-base", process.url):
        assert httpx.get(url, headers=headers(issuer.token(audience)), timeout=20).status_code == 401


def test_on_sse_a_session_belongs_to_the_person_not_to_the_client_they_share(
    module_clinic: Clinic, providers: str, issuer: Issuer
) -> None:
    """A provider issues tokens to one client for many people: one's answers must not go to another's stream."""
    with (
        serving(module_clinic, "knowledge-base", "sse", CLINIC_PROVIDERS=providers) as process,
        httpx.Client(timeout=20) as client,
    ):
        mine = issuer.token(f"{process.url}/sse")
        hers = issuer.token(f"{process.url}/sse", "nurse-adeyemi", groups=["nurses"])
        with client.stream("GET", f"{process.url}/sse", headers=headers(mine)) as stream:
            assert stream.status_code == 200
            events = stream.iter_lines()
            endpoint = next(line for line in events if line.startswith("data:"))[5:].strip()
            foreign = client.post(f"{process.url}{endpoint}", json=request(*SEARCH), headers=headers(hers))
            assert foreign.status_code in (403, 404)
            again = issuer.token(f"{process.url}/sse")
            assert (
                client.post(f"{process.url}{endpoint}", json=request(*SEARCH), headers=headers(again)).status_code
                == 202
            )


def test_a_missing_scope_is_403_and_says_which(
    server: tuple[Process, str], module_clinic: Clinic, issuer: Issuer
) -> None:
    process, path = server
    log = AuditReader(module_clinic, "knowledge-base")
    token = issuer.token(f"{process.url}{path}", scope="openid")
    answer = httpx.post(f"{process.url}{path}", json=request(*SEARCH), headers=headers(token), timeout=20)
    assert (answer.status_code, answer.json()["error"]) == (403, "insufficient_scope")
    challenge = answer.headers["WWW-Authenticate"]
    assert challenge.startswith('Bearer error="insufficient_scope", ')
    assert 'scope="clinic"' in challenge
    assert 'resource_metadata="' in challenge
    assert [(event["phase"], event["reason"]) for event in log.events()] == [("unauthenticated", "insufficient-scope")]


def test_on_stdio_a_providers_token_counts_from_the_environment_and_from_meta(
    module_clinic: Clinic, providers: str, issuer: Issuer
) -> None:
    public = "https://clinic.example/knowledge-base/mcp"
    own = {"CLINIC_PROVIDERS": providers, "CLINIC_PUBLIC_URLS": json.dumps({"knowledge-base": public})}
    with connected(module_clinic, "knowledge-base", "stdio", CLINIC_TOKEN=issuer.token(public), **own) as caller:
        assert caller.call(*SEARCH, None).code == "ok"
        assert caller.call(*SEARCH, issuer.token(public, "nurse-adeyemi", groups=["nurses"])).code == "ok"
        for wrong in (issuer.token(public, scope="openid"), issuer.token("http://127.0.0.1:8102/mcp")):
            assert caller.call(*SEARCH, wrong).code == "unauthenticated"


def test_the_consultations_service_takes_a_providers_token_too(
    module_clinic: Clinic, providers: str, issuer: Issuer
) -> None:
    session = module_clinic.consult()
    with running(module_clinic, "consultations", CLINIC_PROVIDERS=providers) as service:

        def show(**changes: Any) -> httpx.Response:
            sent = {"Authorization": f"Bearer {issuer.token(service.url, **changes)}"}
            return httpx.get(f"{service.url}/consultations/{session}", headers=sent, timeout=20)

        assert show().json()["patient_id"] == "P001"
        assert show(aud="consultations").status_code == 401
        assert show(scope="openid").status_code == 403
        assert show(person="auditor-tan", groups=["audit"]).status_code == 403, "who takes no part"
        patient = show(groups=["patients"], patient_id="P001")
        assert (patient.status_code, patient.json()["error"]) == (403, "refused")
        metadata = httpx.get(f"{service.url}{WELL_KNOWN}", timeout=20).json()
        assert (metadata["resource"], metadata["resource_name"]) == (service.url, "Consultations")
        refused = httpx.get(f"{service.url}/consultations/{session}", timeout=20)
        assert f'resource_metadata="{service.url}{WELL_KNOWN}"' in refused.headers["WWW-Authenticate"]


def test_a_patient_who_signed_in_reads_their_own_record(module_clinic: Clinic, providers: str, issuer: Issuer) -> None:
    with serving(module_clinic, "patient-records", CLINIC_PROVIDERS=providers) as process:
        token = issuer.token(f"{process.url}/mcp", "u-17", groups=["patients"], patient_id="P001")

        def read(patient: str) -> bool:
            status, body = post_call(f"{process.url}/mcp", "get_patient_record", {"patient_id": patient}, token)
            assert status == 200
            return not body["result"]["isError"]

        assert read("P001")
        assert not read("P002")


# a provider that is slow or away, while a server runs


def test_a_slow_provider_holds_nobody_up_but_those_who_wait_for_it(clinic: Clinic) -> None:
    with issuing() as issuer:
        path = write_providers(clinic.home / "providers.toml", issuer.entry())
        issuer.answer = "slow"
        own = clinic.tokens.person("dr-osei", "knowledge-base")
        with (
            serving(clinic, "knowledge-base", CLINIC_PROVIDERS=str(path)) as process,
            ThreadPoolExecutor(12) as pool,
        ):
            url = f"{process.url}/mcp"
            waiting = [pool.submit(post_call, url, *SEARCH, issuer.token(url)) for _ in range(12)]
            eventually(lambda: issuer.requests)
            assert post_call(url, *SEARCH, own)[0] == 200, "a grant of the clinic's own asks no provider"
            assert httpx.get(f"{process.url}/healthz", timeout=5).status_code == 200
            assert not any(future.done() for future in waiting)
            issuer.let_go.set()
            assert [future.result(20)[0] for future in waiting] == [200] * 12
        assert issuer.requests == ["/keys"]


def test_a_server_goes_on_with_the_last_keys_over_a_restart_while_the_provider_is_away(clinic: Clinic) -> None:
    with issuing() as issuer:
        path = write_providers(clinic.home / "providers.toml", issuer.entry())
        port = free_port()
        token = issuer.token(f"http://127.0.0.1:{port}/mcp")
        arguments = ("serve", "knowledge-base", "--transport", "http")
        for step in ("provider there", "provider away"):
            with running(clinic, *arguments, port=port, CLINIC_PROVIDERS=str(path)) as process:
                assert post_call(f"{process.url}/mcp", *SEARCH, token)[0] == 200, step
                assert "Alice" not in process.lines()
                assert token not in process.lines()
            issuer.stop()


# addresses


def test_the_identifier_is_the_public_url_or_the_address_bound() -> None:
    public = Settings(public_urls={"pharmacy": "https://clinic.example/pharmacy/mcp"})
    assert resource_url(public, "pharmacy", "/mcp", port=1) == "https://clinic.example/pharmacy/mcp"
    assert resource_url(public, "prescriptions", "/sse", port=9) == "http://127.0.0.1:9/sse"
    assert resource_url(public, "patient-records", "/mcp") == "http://127.0.0.1:8101/mcp"


@pytest.mark.parametrize(
    ("url", "metadata"),
    [
        ("https://clinic.example/records/mcp", f"https://clinic.example{WELL_KNOWN}/records/mcp"),
        ("https://clinic.example:8443/mcp", f"https://clinic.example:8443{WELL_KNOWN}/mcp"),
        ("https://clinic.example/", f"https://clinic.example{WELL_KNOWN}"),
        ("https://clinic.example", f"https://clinic.example{WELL_KNOWN}"),
    ],
)
def test_the_well_known_part_goes_between_host_and_path(url: str, metadata: str, issuer: Issuer) -> None:
    resource = Resource(url, "x", "/mcp", (Provider(**issuer.entry()),))
    assert resource.metadata_url == metadata
    assert metadata.removeprefix("https://clinic.example").removeprefix(":8443") in resource.metadata_paths
    assert resource.metadata["resource"] == url


@pytest.mark.parametrize(
    "urls",
    [
        {"pharmacy": "http://clinic.example/mcp"},
        {"pharmacy": "clinic.example/mcp"},
        {"pharmacy": "https://u:p@clinic.example/mcp"},
        {"pharmacy": "https://clinic.example/mcp#x"},
        {"pharmacy": 'https://clinic.example/m"cp'},
        {"pharmacies": "https://clinic.example/mcp"},
        {"pharmacy": 7},
    ],
    ids=str,
)
def test_a_public_url_that_cannot_be_one_is_refused(urls: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings(public_urls=urls)


def test_a_server_that_others_reach_needs_a_public_url_to_take_providers_tokens(clinic: Clinic, issuer: Issuer) -> None:
    path = write_providers(clinic.home / "providers.toml", issuer.entry())
    with pytest.raises(Misconfigured):
        check_public(Settings(home=clinic.home, providers=path), "pharmacy", "0.0.0.0")  # noqa: S104 - that it is refused
    allowed = {"CLINIC_PROVIDERS": str(path), "CLINIC_ALLOWED_HOSTS": '["clinic.example"]'}
    arguments = ("serve", "pharmacy", "--transport", "http", "--host", "0.0.0.0", "--port", str(free_port()))  # noqa: S104
    done = clinic.run(*arguments, code=4, **allowed)
    assert "CLINIC_PUBLIC_URLS" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_port_in_use_leaves_no_trace_on_the_record(clinic: Clinic) -> None:
    log = AuditReader(clinic)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        clinic.run("serve", "pharmacy", "--transport", "http", "--port", str(port), code=4)
    assert log.events() == []
