"""Ports nobody uses: below those that connections are given, and each test process in a range of its own."""

from __future__ import annotations

import os
import random
import socket

RANGE = 4_000
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 5
_FIRST = 10_000 + RANGE * _WORKER  # connections are given ports from 32,768 on, by Linux' default
_last = random.randrange(RANGE)  # noqa: S311 - where to begin looking


def free_port() -> int:
    """A port nobody uses now, and no other test will be given soon."""
    return free_block(1)


def free_block(count: int) -> int:
    """The first of so many neighbouring ports nobody uses now."""
    global _last  # noqa: PLW0603 - a port is given once in a process
    for _ in range(RANGE):
        _last = (_last + 1) % (RANGE - count)
        first = _FIRST + _last
        if all(_is_free(first + at) for at in range(count)):
            _last += count - 1
            return first
    raise AssertionError(f"no {count} free ports in a row")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
