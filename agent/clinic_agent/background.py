"""One event loop on a thread of its own, where every MCP connection lives.

A connection belongs to the loop it was opened on, while a graph may run on any loop or on none. Work is handed
over, never run on the caller's loop, so a synchronous call made from a running loop's thread cannot deadlock.
"""

import asyncio
import concurrent.futures
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class BackgroundLoop:
    """An event loop that runs on a daemon thread until it is stopped."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="clinic-agent-connections", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def submit(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Start the work on the loop and return its future."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def wait(self, work: Coroutine[Any, Any, T], timeout: float) -> T:
        """Run the work and block this thread until it is done, at most `timeout` seconds.

        Raises:
            RuntimeError: called on the loop's own thread, where waiting would never end.
            TimeoutError: the work took longer; it is cancelled.
        """
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("a tool cannot be called synchronously from the connections' own thread")
        future = self.submit(work)
        try:
            return future.result(timeout)
        except concurrent.futures.TimeoutError:
            future.cancel()
            raise

    async def wrap(self, work: Coroutine[Any, Any, T]) -> T:
        """Run the work and await it from whichever loop the caller runs on."""
        return await asyncio.wrap_future(self.submit(work))

    def stop(self, timeout: float = 5.0) -> None:
        """End the loop and its thread, waiting at most `timeout` seconds."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout)
        if not self._thread.is_alive():
            self._loop.close()
