"""Who is signed in. Sessions live in this process's memory: a restart signs everybody out."""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

IDLE = 30 * 60.0
"""Seconds without a request after which a session ends."""
MOST = 200
"""Sessions kept at once; the one that was idle longest makes room."""


@dataclass
class Session:
    """One sign-in.

    Args:
        token: The access token, checked again at every request; it never leaves this process.
        expires: When it does, in seconds since the epoch.
        seen: When it was last used, on the store's clock.
        form: What every form of this session must carry, so that another site's form is told apart.
    """

    token: str = field(repr=False)
    expires: int
    seen: float
    form: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    def wrote(self, value: str) -> bool:
        """Whether a form came from a page of this session."""
        return hmac.compare_digest(self.form.encode(), value.encode("utf-8", "replace"))


class Sessions:
    """The sessions of this process.

    Args:
        clock: Seconds that only go forward.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[str, Session] = {}

    def begin(self, token: str, expires: int) -> str:
        """Open a session under a new random id.

        Args:
            token: The verified access token.
            expires: When it expires, in seconds since the epoch.
        """
        name = secrets.token_urlsafe(32)
        with self._lock:
            self._forget()
            while len(self._open) >= MOST:
                del self._open[min(self._open, key=lambda one: self._open[one].seen)]
            self._open[name] = Session(token, expires, self._clock())
        return name

    def find(self, name: str | None) -> Session | None:
        """A session that is open and was used lately; this is a use of it."""
        with self._lock:
            self._forget()
            session = self._open.get(name or "")
            if session is not None:
                session.seen = self._clock()
            return session

    def end(self, name: str | None) -> None:
        """Close a session."""
        with self._lock:
            self._open.pop(name or "", None)

    def _forget(self) -> None:
        idle_since, moment = self._clock() - IDLE, time.time()
        for name in [one for one, it in self._open.items() if it.seen < idle_since or it.expires <= moment]:
            del self._open[name]
