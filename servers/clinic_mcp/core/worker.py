"""The one thread that performs calls, as many together as have come in meanwhile.

One thread, because threads that take turns on Python's lock at every SQL statement cost more than they gain; together,
because calls that share a transaction share its commits and its wait for the disk.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")

BATCH = 16
"""Calls performed together at most: a bound on how long the first waits for the last."""


@dataclass(frozen=True)
class _Ticket(Generic[ItemT]):
    item: ItemT
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[None]


class Worker(Generic[ItemT]):
    """Runs a function over batches of items in a thread of its own.

    Args:
        perform: The function; it must not raise, and leaves what came of an item in the item.
        name: The thread's name.
    """

    def __init__(self, perform: Callable[[Sequence[ItemT]], None], name: str) -> None:
        self._perform = perform
        self._queue: queue.SimpleQueue[_Ticket[ItemT] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, item: ItemT) -> asyncio.Future[None]:
        """Have an item performed. The future is done when it is; whoever waits for it shields it, because cancelling
        a wait does not stop the work."""
        loop = asyncio.get_running_loop()
        ticket = _Ticket(item, loop, loop.create_future())
        self._queue.put(ticket)
        return ticket.done

    def close(self) -> None:
        """Finish what is queued, then end the thread."""
        self._queue.put(None)
        self._thread.join(timeout=2)

    def _run(self) -> None:
        while True:
            first = self._queue.get()
            if first is None:
                return
            batch, last = self._gather(first)
            self._perform([ticket.item for ticket in batch])
            for loop in {ticket.loop for ticket in batch}:
                self._announce(loop, [ticket.done for ticket in batch if ticket.loop is loop])
            if last:
                return

    def _gather(self, first: _Ticket[ItemT]) -> tuple[list[_Ticket[ItemT]], bool]:
        batch = [first]
        while len(batch) < BATCH:
            try:
                ticket = self._queue.get_nowait()
            except queue.Empty:
                break
            if ticket is None:
                return batch, True
            batch.append(ticket)
        return batch, False

    @staticmethod
    def _announce(loop: asyncio.AbstractEventLoop, done: list[asyncio.Future[None]]) -> None:
        def tell() -> None:
            for future in done:
                if not future.done():
                    future.set_result(None)

        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(tell)
