"""Real server processes over real transports, and one way to call a tool on each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import urllib.request
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import httpx2
from anyio.from_thread import BlockingPortal, start_blocking_portal
from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult

from support.clinic import COMMAND, Clinic
from support.ports import free_port
from support.waiting import eventually

CALL_TIMEOUT = 20.0
GRANT_META = "clinic-mcp/grant"


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False


@dataclass
class Process:
    """A running `clinic-mcp` that listens on a port."""

    port: int
    child: subprocess.Popen[bytes]
    errors: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kill(self) -> None:
        self.child.send_signal(signal.SIGKILL)
        self.child.wait(10)

    def stop(self, within: float = 10.0) -> int:
        self.child.terminate()
        return self.child.wait(within)

    def lines(self) -> str:
        return self.errors.read_text("utf-8", "replace")


@contextmanager
def running(clinic: Clinic, *arguments: str, port: int | None = None, **extra: str) -> Iterator[Process]:
    """A `clinic-mcp …` process that answers on `/healthz`; stopped at the end."""
    port = port or free_port()
    errors = clinic.home / f"stderr-{port}.log"
    with errors.open("ab") as sink:
        child = subprocess.Popen(
            [*COMMAND, *arguments, "--port", str(port)],
            env={**_environment(clinic, arguments), **extra},
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
        )
    process = Process(port, child, errors)
    try:
        eventually(lambda: answers(port) or child.poll() is not None, 30)
        assert child.poll() is None, f"{arguments} did not start: {process.lines()}"
        yield process
    finally:
        if child.poll() is None:
            child.terminate()
            try:
                child.wait(15)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait(10)


def _environment(clinic: Clinic, arguments: tuple[str, ...]) -> dict[str, str]:
    part = {"serve": arguments[1:2], "consultations": arguments[:1], "audit": arguments[1:2]}.get(arguments[0])
    return clinic.environment_of(part[0]) if part else clinic.environment


def serving(clinic: Clinic, server: str, transport: str = "http", **extra: str) -> Any:
    """One MCP server on `http` or `sse`."""
    return running(clinic, "serve", server, "--transport", transport, **extra)


class Bearer(httpx2.Auth):
    """Sends whatever token is the present one."""

    def __init__(self) -> None:
        self.token: str | None = None

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        if self.token is not None:
            request.headers["Authorization"] = f"Bearer {self.token}"
        yield request


@dataclass(frozen=True)
class Answer:
    """What a caller got: `ok`, the code of a refusal, or the HTTP status of a request the gate refused."""

    code: str
    content: Any
    text: str

    @property
    def words(self) -> tuple[str, str, str | None]:
        """What the model reads of a refusal, without the reference that tells calls apart."""
        error = self.content["error"]
        return error["code"], error["message"], error.get("advice")


class Caller:
    """A held connection to one server over one transport, callable from a synchronous test.

    Args:
        client: The connected MCP client.
        portal: The event loop it lives in.
        bearer: Where the HTTP transports take the token from; none on stdio.
        base: The server's URL; none on stdio.
    """

    def __init__(self, client: Client, portal: BlockingPortal, bearer: Bearer | None, base: str | None) -> None:
        self.client = client
        self.base = base
        self._portal = portal
        self._bearer = bearer

    def call(self, tool: str, arguments: dict[str, Any], token: str | None) -> Answer:
        """Call a tool with a credential, or without one."""
        if self._bearer is None:
            return _answer(self._call(tool, arguments, None if token is None else {GRANT_META: token}))
        self._bearer.token = token
        return _answer(self._call(tool, arguments, None))

    def knock(self, tool: str, arguments: dict[str, Any], token: str | None) -> Answer:
        """Call a tool with a credential that does not verify: on HTTP the gate answers, not MCP."""
        return self.call(tool, arguments, token) if self.base is None else self.post("/mcp", tool, arguments, token)

    def post(self, path: str, tool: str, arguments: dict[str, Any], token: str | None) -> Answer:
        """A plain HTTP request, without an MCP client."""
        status, body = post_call(f"{self.base}{path}", tool, arguments, token)
        return Answer(f"http-{status}", body, json.dumps(body))

    def list_tools(self) -> Any:
        return self._portal.call(self.client.list_tools).tools

    def _call(self, tool: str, arguments: dict[str, Any], meta: Any) -> CallToolResult:
        async def call() -> CallToolResult:
            return await self.client.call_tool(tool, arguments, read_timeout_seconds=CALL_TIMEOUT, meta=meta)

        return self._portal.call(call)


def _answer(result: CallToolResult) -> Answer:
    text = "".join(getattr(block, "text", "") for block in result.content)
    content = result.structured_content
    code = content["error"]["code"] if result.is_error and content else "error" if result.is_error else "ok"
    return Answer(code, content, text)


def request(tool: str, arguments: dict[str, Any], number: object = 1, meta: Any = None) -> dict[str, Any]:
    """A `tools/call` as JSON-RPC."""
    params: dict[str, Any] = {"name": tool, "arguments": arguments}
    if meta is not None:
        params["_meta"] = meta
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}


def headers(token: str | None) -> dict[str, str]:
    """What a plain HTTP client sends to a stateless server of revision 2025-11-25."""
    own = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2025-11-25",
    }
    return own if token is None else {**own, "Authorization": f"Bearer {token}"}


def post_call(url: str, tool: str, arguments: dict[str, Any], token: str | None) -> tuple[int, Any]:
    """One `tools/call` without an MCP client: status and body."""
    answer = httpx.post(url, json=request(tool, arguments), headers=headers(token), timeout=CALL_TIMEOUT)
    return answer.status_code, answer.json()


@contextmanager
def connected(clinic: Clinic, server: str, transport: str, **extra: str) -> Iterator[Caller]:
    """A server process and an MCP client connected to it."""
    with ExitStack() as stack:
        portal = stack.enter_context(start_blocking_portal())
        bearer: Bearer | None = None
        base: str | None = None
        if transport == "stdio":
            errors = stack.enter_context((clinic.home / f"stderr-stdio-{server}.log").open("a"))
            parameters = StdioServerParameters(
                command=COMMAND[0],
                args=[*COMMAND[1:], "serve", server, "--transport", "stdio"],
                env={**clinic.environment_of(server), **extra},
            )
            client = Client(stdio_client(parameters, errlog=errors))
        else:
            process = stack.enter_context(serving(clinic, server, transport, **extra))
            base = process.url
            bearer = Bearer()
            # An SSE session belongs to the client of its first token, here the agents' one.
            bearer.token = clinic.tokens.person("dr-osei", server, client_id="clinic-agent")
            if transport == "sse":
                client = Client(sse_client(f"{base}/sse", auth=bearer))
            else:
                http_client = httpx2.AsyncClient(auth=bearer, timeout=CALL_TIMEOUT)
                stack.enter_context(portal.wrap_async_context_manager(http_client))
                client = Client(streamable_http_client(f"{base}/mcp", http_client=http_client))
        stack.enter_context(portal.wrap_async_context_manager(client))
        yield Caller(client, portal, bearer, base)


class StdioPipe:
    """A stdio server spoken to line by line: for what no client of the SDK would send."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        self.child = child
        self._rest = b""

    def send(self, message: dict[str, Any]) -> None:
        assert self.child.stdin
        self.child.stdin.write(json.dumps(message).encode() + b"\n")
        self.child.stdin.flush()

    def receive(self, within: float = 15.0) -> dict[str, Any]:
        """The next message the server wrote."""
        while b"\n" not in self._rest:
            self._rest += eventually(self._read, within)
        line, _, self._rest = self._rest.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    def _read(self) -> bytes | None:
        assert self.child.stdout
        return os.read(self.child.stdout.fileno(), 65_536) if _readable(self.child.stdout.fileno()) else None

    def initialize(self) -> None:
        self.send(
            {
                "jsonrpc": "2.0",
                "id": "init",
                "method": "initialize",
                "params": {
                    "protocolVersion": "2025-11-25",
                    "capabilities": {},
                    "clientInfo": {"name": "pipe", "version": "1"},
                },
            }
        )
        assert "result" in self.receive()
        self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})


def _readable(descriptor: int) -> bool:
    import select

    return bool(select.select([descriptor], [], [], 0)[0])


@contextmanager
def piped(clinic: Clinic, server: str, **extra: str) -> Iterator[StdioPipe]:
    """A stdio server after its handshake, spoken to line by line."""
    with (clinic.home / f"stderr-pipe-{server}.log").open("ab") as errors:
        child = subprocess.Popen(
            [*COMMAND, "serve", server, "--transport", "stdio"],
            env={**clinic.environment_of(server), **extra},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
    with child:
        try:
            pipe = StdioPipe(child)
            pipe.initialize()
            yield pipe
        finally:
            if child.stdin:
                child.stdin.close()
            try:
                child.wait(15)
            except subprocess.TimeoutExpired:
                child.kill()
