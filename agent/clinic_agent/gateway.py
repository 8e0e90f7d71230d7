"""Every tool call's way out of this process: the right grant, the held connection, one second try."""

import asyncio
import atexit
import threading
from typing import Any

import httpx
from mcp.types import CallToolResult

from clinic_agent.background import BackgroundLoop
from clinic_agent.connections import Connection, Lost
from clinic_agent.credentials import load_credential
from clinic_agent.errors import Unauthenticated, Unavailable
from clinic_agent.grants import Caller, Grants, token_url
from clinic_agent.settings import Settings, load_settings


class Gateway:
    """Calls tools for any consultation over one connection per server; lives on one event loop."""

    def __init__(self, settings: Settings) -> None:
        credential = load_credential(settings.agent_credential_path())
        self.settings = settings
        self._http = httpx.AsyncClient(timeout=httpx.Timeout(settings.call_timeout, connect=5.0))
        self._grants = Grants(credential, token_url(credential, settings.consultations_url), self._http)
        self._held: dict[str, Connection] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def call(self, server: str, tool: str, arguments: dict[str, Any], caller: Caller) -> CallToolResult:
        """Call one tool and return the server's answer, a refusal included.

        A grant that is not accepted is thrown away and asked for anew, once; a lost connection is opened anew, once.
        A repeated write is safe: the prescriptions server keeps one prescription per sign-off.

        Raises:
            AgentError: there is no answer; the message says why and what to do.
        """
        renewed = reconnected = False
        while True:
            grant = await self._grants.get(caller, server)
            connection: Connection | None = None
            try:
                connection = await self._connection(server, grant)
                result = await connection.call(tool, arguments, grant)
                if not _is_unauthenticated(result) or renewed:
                    return result
                self._grants.discard(caller, server, grant)
                renewed = True
            except Unauthenticated:
                self._grants.discard(caller, server, grant)
                if renewed:
                    raise Unauthenticated(f"The {server} server does not accept this agent's grant.") from None
                renewed = True
            except Lost as lost:
                self._forget(server, connection)
                if reconnected:
                    raise Unavailable(self._unreachable(server, lost)) from None
                reconnected = True

    async def _connection(self, server: str, grant: str) -> Connection:
        async with self._locks.setdefault(server, asyncio.Lock()):
            held = self._held.get(server)
            if held is not None and held.usable:
                return held
            connection = Connection(server, self.settings)
            await connection.open(grant)
            self._held[server] = connection
            return connection

    def _forget(self, server: str, connection: Connection | None) -> None:
        if connection is not None:
            connection.retire()
            if self._held.get(server) is connection:
                del self._held[server]

    def _unreachable(self, server: str, lost: Lost) -> str:
        if self.settings.servers == "stdio":
            return f"The {server} server could not be run ({lost.message}); try `clinic-mcp serve {server}` by hand."
        url = self.settings.url_of(server)
        return f"The {server} server at {url} cannot be reached ({lost.message}); start it with `clinic-mcp up`."

    async def close(self) -> None:
        """Close every connection."""
        held, self._held = list(self._held.values()), {}
        await asyncio.gather(*(connection.close() for connection in held))
        await self._http.aclose()


def _is_unauthenticated(result: CallToolResult) -> bool:
    error = (result.structuredContent or {}).get("error")
    return bool(result.isError) and isinstance(error, dict) and error.get("code") == "unauthenticated"


_guard = threading.Lock()
_open: tuple[BackgroundLoop, Gateway] | None = None


async def _make(settings: Settings) -> Gateway:
    return Gateway(settings)


def open_gateway() -> tuple[BackgroundLoop, Gateway]:
    """Return the process's gateway and its loop, made by the first call from the settings of that moment.

    Raises:
        SettingsProblem: a setting or the agent's credential is missing or wrong.
    """
    global _open
    with _guard:
        if _open is None:
            settings = load_settings()
            loop = BackgroundLoop()
            try:
                _open = loop, loop.wait(_make(settings), 10)
            except BaseException:
                loop.stop()
                raise
        return _open


def close_connections() -> None:
    """Close every connection of this process; the next call opens them anew and reads the settings again."""
    global _open
    with _guard:
        closing, _open = _open, None
    if closing is not None:
        loop, gateway = closing
        try:
            loop.wait(gateway.close(), 15)
        except (TimeoutError, RuntimeError):
            pass
        finally:
            loop.stop()


atexit.register(close_connections)
