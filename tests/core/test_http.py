"""What stands in front of MCP on HTTP: the bearer gate, strict bodies, bounds, addresses."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any

import httpx
import pytest
from clinic_mcp.core.http import MAX_DEPTH, BadBodyError, strict_json
from hypothesis import given, settings
from hypothesis import strategies as st
from support.calls import GATE
from support.clinic import Clinic
from support.log import AuditReader
from support.servers import Process, free_port, headers, request, running, serving

SEARCH = request("search_knowledge_base", {"query": "fever"})


@pytest.fixture(scope="module")
def server(module_clinic: Clinic) -> Iterator[Process]:
    with serving(module_clinic, "knowledge-base") as process:
        yield process


@pytest.fixture(scope="module")
def token(module_clinic: Clinic) -> str:
    return module_clinic.tokens.person("dr-osei", "knowledge-base")


def post(server: Process, body: bytes | str | dict[str, Any], token: str | None, **extra: str) -> httpx.Response:
    raw = json.dumps(body) if isinstance(body, dict) else body
    return httpx.post(f"{server.url}/mcp", content=raw, headers={**headers(token), **extra}, timeout=20)


def test_a_call_without_a_handshake_is_answered(server: Process, token: str) -> None:
    answer = post(server, SEARCH, token)
    assert answer.status_code == 200
    assert answer.json()["result"]["structuredContent"]["result"][0]["topic"] == "Fever"


@pytest.mark.parametrize(
    ("authorization", "reason"),
    [
        ([], "none"),
        (["Basic ZHI6cHc="], "malformed"),
        (["Bearer"], "malformed"),
        (["Bearer hunter2"], "malformed"),
        (["Bearer {token}", "Bearer {token}"], "malformed"),
        (["{token}"], "malformed"),
    ],
    ids=str,
)
def test_a_request_without_a_valid_bearer_is_401_and_on_the_record(
    server: Process, module_clinic: Clinic, token: str, authorization: list[str], reason: str
) -> None:
    log = AuditReader(module_clinic, "knowledge-base")
    lines = [("Authorization", value.format(token=token)) for value in authorization]
    answer = httpx.post(f"{server.url}/mcp", json=SEARCH, headers=[*headers(None).items(), *lines], timeout=20)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.json()["error"] == "invalid_token"
    assert log.phases() == [GATE]
    event = log.events()[0]
    assert event["reason"] == reason
    assert event["network"] == {"transport": "http", "peer": "127.0.0.1"}


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "OPTIONS"])
@pytest.mark.parametrize("path", ["/mcp", "/", "/mcp/../mcp", "/sse", "/healthz/../mcp"])
def test_no_method_and_no_path_passes_the_gate_without_a_token(server: Process, method: str, path: str) -> None:
    assert httpx.request(method, f"{server.url}{path}", timeout=20).status_code == 401


def test_a_token_in_the_query_or_a_cookie_identifies_nobody(server: Process, token: str) -> None:
    answer = httpx.post(
        f"{server.url}/mcp?access_token={token}",
        json=SEARCH,
        headers={**headers(None), "Cookie": f"Authorization=Bearer {token}"},
        timeout=20,
    )
    assert answer.status_code == 401


def test_plain_headers_and_unsigned_meta_identify_nobody(server: Process, module_clinic: Clinic) -> None:
    body = request("search_knowledge_base", {"query": "fever"}, meta={"clinic-mcp/grant": "x", "principal": "dr-osei"})
    assert post(server, body, None, **{"X-User": "dr-osei", "X-Agent": "intake_agent"}).status_code == 401


def test_the_health_page_says_ok_and_nothing_else(server: Process) -> None:
    answer = httpx.get(f"{server.url}/healthz", timeout=20)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


DEEP = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":' + '{"a":' * 40 + "1" + "}" * 41
CALL = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"search_knowledge_base","arguments":%s}}'


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (CALL % '{"query":"fever","query":"chest"}', "repeats a key"),
        (CALL[:-1] % '{"query":"fever"}' + ',"method":"tools/list"}', "repeats a key"),
        (CALL % '{"query":NaN}', "number JSON does not have"),
        (CALL % '{"query":-Infinity}', "number JSON does not have"),
        (DEEP, "nests too deep"),
        ("[" * 100_000, "nests too deep"),
        ('{"a":1', "not JSON"),
        ("", "not JSON"),
        ((CALL % '{"query":"caf\xe9"}').encode("latin-1"), "not JSON"),
        (b"\xff\xfe" + "{}".encode("utf-16-le"), "not JSON"),
        (CALL % '{"query":1' + "0" * 5_000 + "}}}", "not JSON"),
    ],
    ids=[
        "key twice",
        "method twice",
        "NaN",
        "Infinity",
        "deep",
        "very deep",
        "cut",
        "empty",
        "latin-1",
        "utf-16",
        "int",
    ],
)
def test_a_body_that_is_not_strict_json_is_refused(server: Process, token: str, body: str | bytes, says: str) -> None:
    answer = post(server, body, token)
    assert answer.status_code == 400
    assert says in answer.json()["message"]


def test_a_body_beyond_the_limit_is_413(server: Process, token: str) -> None:
    assert post(server, CALL % json.dumps({"query": "x" * 300_000}), token).status_code == 413

    def chunks() -> Iterator[bytes]:
        for _ in range(40):
            yield b" " * 10_000

    answer = httpx.post(f"{server.url}/mcp", content=chunks(), headers=headers(token), timeout=20)
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "extra",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:8101"},
        {"Host": "127.0.0.1.evil.example:80"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1.evil.example"},
    ],
    ids=str,
)
def test_a_strange_host_or_origin_is_refused(server: Process, token: str, extra: dict[str, str]) -> None:
    answer = post(server, SEARCH, token, **extra)
    assert answer.status_code in (400, 403, 421)
    assert "result" not in answer.text


def test_a_local_origin_is_let_through(server: Process, token: str) -> None:
    assert post(server, SEARCH, token, Origin="http://localhost:3000").status_code == 200


def test_a_client_that_never_finishes_its_body_does_not_hold_the_others_up(server: Process, token: str) -> None:
    lines = [f"{name}: {value}" for name, value in headers(token).items()]
    head = "\r\n".join(["POST /mcp HTTP/1.1", "Host: 127.0.0.1:1", "Content-Length: 100", *lines, "", "{"])
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as slow:
        slow.sendall(head.encode())
        assert post(server, SEARCH, token).status_code == 200
        slow.settimeout(20)
        assert b" 408 " in slow.recv(200)


def test_beyond_its_concurrency_the_server_says_503_and_recovers(clinic: Clinic) -> None:
    token = clinic.tokens.person("dr-osei", "knowledge-base")
    with serving(clinic, "knowledge-base", CLINIC_CONCURRENCY="3") as server, ThreadPoolExecutor(4) as pool:
        with clinic.write_lock():
            waiting = [pool.submit(post, server, SEARCH, token) for _ in range(4)]
            (busy,) = wait(waiting, timeout=4, return_when=FIRST_COMPLETED).done
            assert httpx.get(f"{server.url}/healthz", timeout=5).status_code == 200
        assert busy.result().status_code == 503
        assert busy.result().headers["Retry-After"]
        assert busy.result().json()["error"] == "busy"
        assert sorted(future.result(20).status_code for future in waiting) == [200, 200, 200, 503]
        assert post(server, SEARCH, token).status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])  # noqa: S104 - that it is refused
@pytest.mark.parametrize("transport", ["http", "sse"])
def test_an_address_beyond_loopback_is_refused_without_allowed_hosts(clinic: Clinic, host: str, transport: str) -> None:
    done = clinic.run("serve", "pharmacy", "--transport", transport, "--host", host, "--port", str(free_port()), code=4)
    assert "CLINIC_ALLOWED_HOSTS" in done.stderr
    assert "Traceback" not in done.stderr


def test_with_allowed_hosts_only_those_names_are_answered(clinic: Clinic) -> None:
    token = clinic.tokens.person("dr-osei", "knowledge-base")
    allowed = json.dumps(["clinic.example:443"])
    arguments = ("serve", "knowledge-base", "--transport", "http", "--host", "0.0.0.0")  # noqa: S104
    with running(clinic, *arguments, CLINIC_ALLOWED_HOSTS=allowed) as server:
        assert post(server, SEARCH, token, Host="clinic.example:443").status_code == 200
        assert post(server, SEARCH, token, Host="evil.example").status_code != 200
        assert post(server, SEARCH, None, Host="clinic.example:443").status_code == 401


@pytest.mark.parametrize("command", [("serve", "pharmacy", "--transport", "http"), ("consultations",)])
def test_a_port_in_use_is_one_sentence_and_exit_code_4(clinic: Clinic, command: tuple[str, ...]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = clinic.run(*command, "--port", str(port), code=4)
    assert str(port) in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_an_sse_session_belongs_to_its_client_and_guessing_one_is_refused(clinic: Clinic) -> None:
    token = clinic.tokens.person("dr-osei", "knowledge-base")
    other = clinic.tokens.person("nurse-adeyemi", "knowledge-base")
    with serving(clinic, "knowledge-base", "sse") as server, httpx.Client(timeout=20) as client:
        assert client.get(f"{server.url}/sse").status_code == 401
        with client.stream("GET", f"{server.url}/sse", headers=headers(token)) as stream:
            assert stream.status_code == 200
            events = stream.iter_lines()
            endpoint = next(line for line in events if line.startswith("data:"))[5:].strip()
            for stranger, status in ((None, {401}), (other, {403, 404})):
                answer = client.post(f"{server.url}{endpoint}", json=SEARCH, headers=headers(stranger))
                assert answer.status_code in status
            unknown = f"{server.url}/messages/?session_id={'0' * 32}"
            assert client.post(unknown, json=SEARCH, headers=headers(token)).status_code in (400, 404)


# the parser alone

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(VALUES)
def test_strict_json_reads_what_json_writes(value: Any) -> None:
    assert strict_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize("depth", [MAX_DEPTH, MAX_DEPTH + 1])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_depth_is_bounded_exactly(depth: int, opening: str, closing: str) -> None:
    body = (opening * depth + "1" + closing * depth).encode()
    if depth <= MAX_DEPTH:
        strict_json(body)
    else:
        with pytest.raises(BadBodyError):
            strict_json(body)


def test_brackets_inside_a_string_are_not_depth() -> None:
    assert strict_json(json.dumps({"q": '["\\' * 100}).encode())


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_json_or_refused(body: bytes) -> None:
    with suppress(BadBodyError):
        json.dumps(strict_json(body))  # what came through is JSON: nothing else was raised


def test_a_long_body_is_measured_in_linear_time() -> None:
    started = time.monotonic()
    with pytest.raises(BadBodyError):
        strict_json(b'{"a":"' + b"[" * 200_000 + b"\\" * 50_001)
    assert time.monotonic() - started < 5
