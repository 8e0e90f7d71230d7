"""One held connection to each MCP server, shared by every consultation of the process."""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, TextIO

import httpx
from langchain_mcp_adapters.sessions import Connection as AdapterConnection
from langchain_mcp_adapters.sessions import create_session
from mcp import ClientSession, McpError, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.types import (
    CONNECTION_CLOSED,
    CallToolRequest,
    CallToolRequestParams,
    CallToolResult,
    ClientRequest,
    RequestParams,
)

from clinic_agent.bearer import CALL_META, GRANT_META, Failures, GrantAuth, PerCallTransport
from clinic_agent.errors import AgentError, Refused, Unauthenticated, Unavailable
from clinic_agent.settings import Settings

OPEN_LIMIT = 30.0
logger = logging.getLogger(__name__)


class Lost(AgentError):
    """The connection went away under a call, or could not be opened."""


class Connection:
    """One open connection to one server.

    Args:
        server: the server's name.
        settings: where it is and how long a call may take.
    """

    def __init__(self, server: str, settings: Settings) -> None:
        self._server = server
        self._settings = settings
        self._over_http = settings.servers == "http"
        self._failures: Failures = {}
        self._pending = 0
        self._retired = False
        self._closing = asyncio.Event()
        self._transport: PerCallTransport | None = None
        self._owner: asyncio.Task[None] | None = None
        self._session: ClientSession | None = None

    @property
    def usable(self) -> bool:
        """Whether a new call may go out on this connection."""
        return self._owner is not None and not self._owner.done() and not self._retired

    async def open(self, grant: str) -> None:
        """Connect and shake hands, the grant being the credential of the handshake.

        Raises:
            Unauthenticated: the server did not accept the grant.
            Lost: the server is not there, or did not answer in time.
        """
        ready: asyncio.Future[ClientSession] = asyncio.get_running_loop().create_future()
        self._owner = asyncio.create_task(self._own(grant, ready))
        try:
            done, _ = await asyncio.wait({ready}, timeout=OPEN_LIMIT)
        except asyncio.CancelledError:
            self._owner.cancel()
            raise
        if not done:
            self._owner.cancel()
            raise Lost(f"it did not answer within {OPEN_LIMIT:.0f} seconds")
        self._session = ready.result()

    async def _own(self, grant: str, ready: "asyncio.Future[ClientSession]") -> None:
        """Enter and leave the session in one task, as its cancel scopes demand; ends when the connection does."""
        try:
            async with self._connect(grant) as session:
                await session.initialize()
                ready.set_result(session)
                await self._closing.wait()
        except Exception as error:
            if ready.done():
                logger.debug("connection to %s ended: %s", self._server, type(error).__name__)
            elif self._transport is not None and self._transport.handshake_status == 401:
                ready.set_exception(Unauthenticated("the server did not accept the grant"))
            else:
                ready.set_exception(Lost(_first_line(error)))
        finally:
            if not ready.done():
                ready.cancel()

    @contextlib.asynccontextmanager
    async def _connect(self, grant: str) -> AsyncIterator[ClientSession]:
        if not self._over_http:
            async with self._spawn() as session:
                yield session
            return
        url = self._settings.url_of(self._server)
        parameters: AdapterConnection
        if url.rstrip("/").endswith("/sse"):
            parameters = {
                "transport": "sse",
                "url": url,
                "auth": GrantAuth(grant),
                "httpx_client_factory": self._http_client,
                "timeout": self._settings.call_timeout,
                "sse_read_timeout": 24 * 3600.0,
            }
        else:
            parameters = {
                "transport": "streamable_http",
                "url": url,
                "auth": GrantAuth(grant),
                "httpx_client_factory": self._http_client,
                "timeout": timedelta(seconds=self._settings.call_timeout),
                "terminate_on_close": True,
            }
        async with create_session(parameters) as session:
            yield session

    def _http_client(
        self,
        headers: dict[str, str] | None = None,
        timeout: httpx.Timeout | None = None,
        auth: httpx.Auth | None = None,
    ) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=100, max_keepalive_connections=20)
        self._transport = PerCallTransport(httpx.AsyncHTTPTransport(limits=limits), self._failures)
        return httpx.AsyncClient(headers=headers, timeout=timeout, auth=auth, transport=self._transport)

    @contextlib.asynccontextmanager
    async def _spawn(self) -> AsyncIterator[ClientSession]:
        command, arguments = self._settings.server_command(self._server)
        parameters = StdioServerParameters(command=command, args=arguments, env=self._settings.server_environment())
        with self._log() as log:
            start = log.tell()
            try:
                async with stdio_client(parameters, errlog=log) as (read, write), ClientSession(read, write) as session:
                    yield session
            except OSError as error:
                raise Lost(f"{command} could not be run: {error.strerror}") from None
            except BaseException as error:
                said = _last_line(log.name, start)
                if said and isinstance(error, Exception):
                    raise Lost(said) from None
                raise

    def _log(self) -> TextIO:
        folder = self._settings.home / "logs"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return (folder / f"{self._server}.log").open("a", encoding="utf-8")

    async def call(self, tool: str, arguments: dict[str, Any], grant: str) -> CallToolResult:
        """Call one tool under one grant.

        Raises:
            Unauthenticated: the server did not accept the grant.
            Lost: the connection ended before the answer came; the call may have been carried out.
            Refused: the server answered with a protocol error.
            Unavailable: no answer within the time a call may take.
        """
        assert self._session is not None
        assert self._owner is not None
        key = uuid.uuid4().hex
        failure: asyncio.Future[AgentError] = asyncio.get_running_loop().create_future()
        self._failures[key] = failure
        self._pending += 1
        meta = {GRANT_META: grant, CALL_META: key} if self._over_http else {GRANT_META: grant}
        answer = asyncio.create_task(_send(self._session, tool, arguments, meta))
        limit = self._settings.call_timeout
        try:
            waited: set[asyncio.Future[Any]] = {answer, failure, self._owner}
            done, _ = await asyncio.wait(waited, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            if answer in done:
                return self._result(answer)
            if failure in done:
                error = failure.result()
                raise error if isinstance(error, Unauthenticated) else Lost(error.message)
            if not done:
                self.retire()
                raise Unavailable(
                    f"The {self._server} server did not answer within {limit:g} seconds; asking again is safe."
                )
            raise Lost("the connection ended")
        finally:
            answer.cancel()
            del self._failures[key]
            self._pending -= 1
            if self._retired:
                self.retire()

    def _result(self, answer: "asyncio.Task[CallToolResult]") -> CallToolResult:
        try:
            return answer.result()
        except McpError as error:
            if error.error.code == CONNECTION_CLOSED:
                raise Lost("the connection was closed") from None
            raise Refused(f"The {self._server} server refused the request: {error.error.message}") from None
        except Exception as error:
            raise Lost(_first_line(error)) from None

    def retire(self) -> None:
        """Take no new calls, and close once the calls in flight have their answers."""
        self._retired = True
        if self._pending == 0:
            self._closing.set()

    async def close(self) -> None:
        """Close now and wait until the server's process or socket is gone."""
        self._retired = True
        self._closing.set()
        if self._owner is not None:
            await asyncio.wait({self._owner}, timeout=10)


async def _send(session: ClientSession, tool: str, arguments: dict[str, Any], meta: dict[str, Any]) -> CallToolResult:
    # Not session.call_tool(): that lists the tools first, and again under the grant that opened the connection.
    params = CallToolRequestParams(name=tool, arguments=arguments, _meta=RequestParams.Meta(**meta))
    request = ClientRequest(CallToolRequest(params=params))
    return await session.send_request(request, CallToolResult)


def _first_line(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, AgentError):
        return error.message
    if isinstance(error, httpx.ConnectError):
        return "nothing listens there"
    if isinstance(error, httpx.HTTPStatusError):
        return f"it answered with HTTP {error.response.status_code}"
    return (str(error) or type(error).__name__).splitlines()[0][:200]


def _last_line(path: str, start: int) -> str:
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as log:
        log.seek(start)
        lines = [line.strip() for line in log.read()[-4000:].splitlines() if line.strip()]
        return lines[-1][:300] if lines else ""
    return ""
