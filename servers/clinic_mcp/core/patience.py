"""How long a process waits for its store before it tells its callers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar, TypeVarTuple

import anyio
import anyio.to_thread

ResultT = TypeVar("ResultT")
ArgumentTs = TypeVarTuple("ArgumentTs")

DEFAULT = 10.0
"""Seconds, where no setting says otherwise."""


class Patience:
    """Knows since when one thread has been waiting for the store; others ask whether that is too long.

    A driver that waits for a server which neither answers nor closes the connection cannot be interrupted: its thread
    goes on waiting, and whoever would queue behind it is told at once.

    Args:
        seconds: How long is too long.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._since: float | None = None

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around whatever asks the store for something."""
        self._since = time.monotonic()
        try:
            yield
        finally:
            self._since = None

    @property
    def over(self) -> bool:
        """Whether the store has been silent for too long."""
        since = self._since
        return since is not None and time.monotonic() - since > self.seconds


async def within(seconds: float, work: Callable[[*ArgumentTs], ResultT], *arguments: *ArgumentTs) -> ResultT:
    """Run something that asks the store in a thread, and leave it to itself when it takes too long.

    Raises:
        TimeoutError: It does; whether it is done in the end nobody knows.
    """
    with anyio.fail_after(seconds):
        return await anyio.to_thread.run_sync(work, *arguments, abandon_on_cancel=True)
