"""A bound on attempts to sign in: each failed one is an event, and nobody may fill the log with them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

WITHIN = 60.0
"""Seconds that attempts are counted over."""
OF_ONE_PEER = 20
OF_ALL = 200
"""Attempts within that time, of one address and of all together."""


class Attempts:
    """Counts attempts.

    Args:
        clock: Seconds that only go forward.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._made: deque[tuple[float, str]] = deque()

    def admit(self, peer: str) -> bool:
        """Whether an address may try once more; if so, that was an attempt."""
        with self._lock:
            moment = self._clock()
            while self._made and moment - self._made[0][0] >= WITHIN:
                self._made.popleft()
            if len(self._made) >= OF_ALL or sum(one == peer for _, one in self._made) >= OF_ONE_PEER:
                return False
            self._made.append((moment, peer))
            return True
