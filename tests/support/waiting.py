"""Waiting for something outside the test, with a bound."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(look: Callable[[], T], within: float = 10.0, every: float = 0.02) -> T:
    """Look until what is seen is true, or fail."""
    deadline = time.monotonic() + within
    pause = threading.Event()
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within} s; last seen: {seen!r}")
        pause.wait(every)
