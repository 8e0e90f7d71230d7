"""Wires a server: settings, database, policies, audit log and guard, on the transport that was asked for."""

from __future__ import annotations

import signal
import socket
from typing import Any

import anyio
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp_types import CallToolRequestParams, CallToolResult, ListToolsResult, PaginatedRequestParams, ToolAnnotations
from mcp_types import Tool as McpTool
from starlette.types import ASGIApp

from clinic_mcp import __version__
from clinic_mcp.audit.event import Draft, Phase, Writer, uuid7
from clinic_mcp.audit.log import AuditLog
from clinic_mcp.audit.recovery import close_orphans
from clinic_mcp.core import log as logging
from clinic_mcp.core import telemetry
from clinic_mcp.core.cedar_types import input_type
from clinic_mcp.core.credentials import HttpCredentials, StdioCredentials
from clinic_mcp.core.db import Database
from clinic_mcp.core.disk import Disk
from clinic_mcp.core.errors import Misconfigured
from clinic_mcp.core.gate import BearerGate
from clinic_mcp.core.guard import Guard
from clinic_mcp.core.http import BODY_LIMIT, FrontDoor, transport_security
from clinic_mcp.core.issuers import Issuers
from clinic_mcp.core.record import Call
from clinic_mcp.core.reload import PoliciesInForce
from clinic_mcp.core.resource import Resource, ResourceMetadata, check_public, resource_url
from clinic_mcp.core.settings import SUITE, Settings
from clinic_mcp.core.tool import ServerTools

LOOPBACK = ("127.0.0.1", "localhost", "::1")
SHUTDOWN_GRACE = 3
"""Seconds a request in flight has to end once the process is told to stop."""


class Application:
    """One server, wired and ready for a transport.

    Args:
        tools: What the server offers.
        settings: The operator's settings.
        transport: `stdio`, `sse` or `http`.
        port: The port it is bound to; none means its default one.

    Raises:
        Misconfigured: A start-up check failed: policies, keys, providers, or a tool without an action.
        AuditUnavailable: The audit log cannot be written.
    """

    def __init__(self, tools: ServerTools, settings: Settings, transport: str, port: int | None = None) -> None:
        self.settings = settings
        self.transport = transport
        path = "/sse" if transport == "sse" else "/mcp"
        url = resource_url(settings, tools.name, path, port=port)
        self.issuers = Issuers(settings, frozenset({tools.name, SUITE}), url)
        self.resource = Resource(url, tools.title, path, self.issuers.providers)
        inputs = {name: input_type(tool.arguments) for name, tool in tools.tools.items()}
        self.policies = PoliciesInForce(settings.policies, inputs)
        self.database = Database(settings.url, part=tools.name)
        self.log = open_log(settings, self.database, tools.name)
        self.guard = Guard(
            tools,
            self.database,
            self.log,
            self.policies,
            clinic_id=settings.id,
            transport=transport,
            credentials=StdioCredentials(self.issuers, settings) if transport == "stdio" else HttpCredentials(),
            timeout=settings.tool_timeout,
        )
        close_orphans(self.log, tools.writes)
        self.policies.announce(self.log)
        self.server = _mcp_server(tools, self.guard)

    def asgi(self, host: str) -> ASGIApp:
        """The ASGI application for streamable HTTP (`/mcp`) or SSE (`/sse`), behind the bearer gate."""
        security = transport_security(self.settings.allowed_hosts)
        if self.transport == "http":
            # Stateful mode answers two requests with the same JSON-RPC id with each other's results (mcp 2.3.0).
            inner: ASGIApp = self.server.streamable_http_app(
                stateless_http=True,
                json_response=True,
                max_request_body_size=BODY_LIMIT,
                transport_security=security,
                host=host,
            )
        else:
            inner = _sse_app(self.server, security)
        gate = BearerGate(
            inner,
            issuers=self.issuers,
            record=self.record_stranger,
            metadata=self.resource.metadata_url,
            patience=self.settings.audit_timeout,
        )
        open_to_all = ResourceMetadata(gate, self.resource)
        return FrontDoor(open_to_all, hosts=self.settings.allowed_hosts, concurrency=self.settings.concurrency)

    def record_stranger(self, peer: str, reason: str) -> None:
        """Put an HTTP request without a valid token on the record."""
        record_stranger(self.log, self.transport, peer, reason)

    async def run_stdio(self) -> None:
        """Serve stdin and stdout until stdin ends."""
        from mcp.server.stdio import stdio_server

        async with stdio_server() as (read, write):
            await self.server.run(read, write, self.server.create_initialization_options())

    async def run_http(self, host: str, listener: socket.socket) -> None:
        """Serve HTTP on a bound socket until told to stop; a second signal is not needed."""
        await run_uvicorn(self.asgi(host), listener)

    def close(self) -> None:
        """End this process's part of the audit log and let go of the database."""
        try:
            self.policies.close()
            self.guard.worker.close()
            self.log.close(finished=self.guard.settle())
        finally:
            self.database.close()


def open_log(settings: Settings, database: Database, part: str) -> AuditLog:
    """The log of a part of the suite that answers others: it watches its disk, and its patience is in settings.

    Raises:
        AuditUnavailable: The log cannot be written.
    """
    lines = logging.logger(part)
    disk = Disk.of(settings, lambda free_mb: lines.warning("disk.nearly_full", free_mb=free_mb))
    writer = Writer(part, settings.id, f"clinic-mcp/{settings.id}")
    return AuditLog(database, writer, disk=disk, patience=settings.audit_timeout, details=settings.details)


def record_stranger(log: AuditLog, transport: str, peer: str, reason: str) -> None:
    """Put an HTTP request without a valid token on the record.

    Raises:
        AuditUnavailable: It cannot be.
    """
    body = {"reason": reason, "network": {"transport": transport, "peer": peer}}
    draft = Draft(Phase.UNAUTHENTICATED, "http.unauthenticated", uuid7(), body)
    log.append(draft)
    logging.logger(log.writer.server).info("call", event_id=draft.event_id, code=draft.code, reason=reason)


def serve(tools: ServerTools, settings: Settings, transport: str, host: str, port: int) -> None:
    """Run one server until it is told to stop.

    Raises:
        Misconfigured: A start-up check failed, or the address cannot be bound.
        AuditUnavailable: The audit log cannot be written.
    """
    logging.configure(settings.log_level)
    finish = telemetry.configure(settings, tools.name)
    try:
        if transport == "stdio":
            _run(Application(tools, settings, transport), None, host)
            return
        check_public(settings, tools.name, host)
        # Bound before anything else, because the port is part of what tokens for this server are called.
        with bind(host, port, settings) as listener:
            _run(Application(tools, settings, transport, listener.getsockname()[1]), listener, host)
    finally:
        finish()


def _run(application: Application, listener: socket.socket | None, host: str) -> None:
    application.policies.watch(application.log)
    try:
        if listener is None:
            anyio.run(application.run_stdio)
        else:
            anyio.run(application.run_http, host, listener)
    finally:
        application.close()


def bind(host: str, port: int, settings: Settings) -> socket.socket:
    """A listening socket, or a sentence that says why there is none.

    Raises:
        Misconfigured: The address is taken, not ours, or not loopback without allowed hosts.
    """
    if host not in LOOPBACK and not settings.allowed_hosts:
        raise Misconfigured(
            f"{host} is not a loopback address and CLINIC_ALLOWED_HOSTS is empty.",
            'Set it to the host names clients use, e.g. ["clinic.example:8101"], and put TLS in front.',
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named, because asyncio turns off delays (TCP_NODELAY) only where it reads TCP here.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as exc:
        listener.close()
        raise Misconfigured(
            f"Port {port} on {host} cannot be used ({exc.strerror}).",
            "Stop what uses it, or choose another port.",
        ) from exc
    return listener


async def run_uvicorn(app: ASGIApp, listener: socket.socket) -> None:
    """Serve an ASGI application on a socket until SIGTERM or SIGINT, then stop within the grace."""
    import uvicorn

    # uvicorn raises the signal again once it has stopped; the process still has to say on the record that it stops.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        proxy_headers=False,  # it would believe anybody on loopback; the log keeps the address it saw itself
        timeout_graceful_shutdown=SHUTDOWN_GRACE,
        lifespan="on",
    )
    await uvicorn.Server(config).serve(sockets=[listener])


def _mcp_server(tools: ServerTools, guard: Guard) -> Server[Any]:
    listed = [
        McpTool(
            name=tool.name,
            title=tool.title,
            description=tool.description,
            input_schema=tool.input_schema,
            output_schema=tool.output_schema,
            annotations=ToolAnnotations(title=tool.title, **tool.hints),
        )
        for tool in tools.tools.values()
    ]

    async def list_tools(ctx: ServerRequestContext[Any, Any], params: PaginatedRequestParams | None) -> ListToolsResult:
        visible = await guard.visible(ctx)
        return ListToolsResult(tools=[tool for tool in listed if tool.name in visible])

    async def call_tool(ctx: ServerRequestContext[Any, Any], params: CallToolRequestParams) -> CallToolResult:
        call: Call = ctx.lifespan_context
        return await guard.waiting.answer(call)

    server: Server[Any] = Server(
        tools.name,
        version=__version__,
        title=tools.title,
        instructions=tools.instructions,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )
    server.middleware[:] = [guard]  # in place of the SDK's own tracing, which repeats what callers write
    return server


def _sse_app(server: Server[Any], security: Any) -> ASGIApp:
    from mcp.server.sse import SseServerTransport
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Mount, Route

    transport = SseServerTransport("/messages/", security_settings=security, max_request_body_size=BODY_LIMIT)

    async def connect(request: Request) -> Response:
        async with transport.connect_sse(request.scope, request.receive, request._send) as (read, write):
            await server.run(read, write, server.create_initialization_options())
        return Response()

    return Starlette(
        routes=[Route("/sse", connect, methods=["GET"]), Mount("/messages/", app=transport.handle_post_message)]
    )
