"""On HTTP and SSE: the grant of each call becomes its bearer, and one failed call fails alone.

The MCP client sends every call of every consultation through one HTTP client. A call carries its grant in `_meta`;
`GrantAuth` moves it to the Authorization header. The client's transport ends the whole connection on any HTTP error,
so `PerCallTransport` keeps the error from it and hands it to the one call concerned.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Generator
from typing import Any

import httpx

from clinic_agent.errors import AgentError, Unauthenticated, Unavailable

GRANT_META = "clinic-mcp/grant"
CALL_META = "clinic-agent/call"
_CALL_EXTENSION = "clinic_agent_call"

Failures = dict[str, "asyncio.Future[AgentError]"]


class GrantAuth(httpx.Auth):
    """Lifts the grant out of a call's `_meta` into the Authorization header.

    Args:
        opening_grant: used for what carries none: the handshake and the event stream.
    """

    requires_request_body = True

    def __init__(self, opening_grant: str) -> None:
        self._opening_grant = opening_grant

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Yield the request as it goes out."""
        message = _json_object(request.content)
        params = message.get("params")
        meta = params.get("_meta") if isinstance(params, dict) else None
        if not isinstance(params, dict) or not isinstance(meta, dict) or GRANT_META not in meta:
            request.headers["Authorization"] = f"Bearer {self._opening_grant}"
            yield request
            return
        grant, call = meta.pop(GRANT_META), meta.pop(CALL_META, None)
        if not meta:
            del params["_meta"]
        headers = {name: value for name, value in request.headers.items() if name != "content-length"}
        yield httpx.Request(
            request.method,
            request.url,
            headers={**headers, "Authorization": f"Bearer {grant}"},
            content=json.dumps(message, separators=(",", ":")).encode(),
            extensions={**request.extensions, _CALL_EXTENSION: call},
        )


class PerCallTransport(httpx.AsyncBaseTransport):
    """Gives an HTTP failure to the call that met it, and to nobody else.

    Args:
        inner: the transport that does the sending.
        failures: the calls in flight, by their key.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport, failures: Failures) -> None:
        self._inner = inner
        self._failures = failures
        self.handshake_status = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; a failed call is answered 202, which the MCP client takes as nothing to read."""
        call = request.extensions.get(_CALL_EXTENSION)
        if not isinstance(call, str):
            response = await self._inner.handle_async_request(request)
            self.handshake_status = response.status_code
            return response
        try:
            response = await self._inner.handle_async_request(request)
        except httpx.TransportError as error:
            self.fail(call, Unavailable(f"the connection failed ({type(error).__name__})"))
            return httpx.Response(202)
        if response.status_code < 400:
            assert isinstance(response.stream, httpx.AsyncByteStream)
            watched = _WatchedStream(response.stream, self, call)
            return httpx.Response(
                response.status_code, headers=response.headers, stream=watched, extensions=response.extensions
            )
        await response.aclose()
        if response.status_code == 401:
            self.fail(call, Unauthenticated("the server did not accept the grant"))
        else:
            self.fail(call, Unavailable(f"the server answered with HTTP {response.status_code}"))
        return httpx.Response(202)

    def fail(self, call: str, error: AgentError) -> None:
        """Tell a call in flight what became of it."""
        failure = self._failures.get(call)
        if failure is not None and not failure.done():
            failure.set_result(error)

    async def aclose(self) -> None:
        """Close the connections underneath."""
        await self._inner.aclose()


class _WatchedStream(httpx.AsyncByteStream):
    """An answer's bytes; an answer that is cut off fails its call at once."""

    def __init__(self, inner: httpx.AsyncByteStream, transport: PerCallTransport, call: str) -> None:
        self._inner = inner
        self._transport = transport
        self._call = call

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._inner:
                yield chunk
        except httpx.TransportError as error:
            self._transport.fail(self._call, Unavailable(f"the answer was cut off ({type(error).__name__})"))
            raise

    async def aclose(self) -> None:
        await self._inner.aclose()


def _json_object(content: bytes) -> dict[str, Any]:
    try:
        message = json.loads(content)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}
