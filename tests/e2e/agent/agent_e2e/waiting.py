"""The one way these tests wait: look again until it is so, or fail."""

import time
from collections.abc import Callable


def eventually(is_so: Callable[[], bool], within: float, what: str) -> None:
    """Return as soon as `is_so()`; fail after `within` seconds."""
    deadline = time.monotonic() + within
    while not is_so():
        assert time.monotonic() < deadline, f"{what}: not within {within:g} seconds"
        time.sleep(0.05)
