"""A store that hangs: it neither takes what it is given nor says no."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from support.clinic import Clinic


@contextmanager
def stalled(clinic: Clinic) -> Iterator[None]:
    """On SQLite the write lock is held; on PostgreSQL the servers' backends are stopped in their tracks."""
    if not clinic.url:
        with clinic.write_lock():
            yield
        return
    found = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    backends = [row[0] for row in clinic.execute(found)]
    for pid in backends:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in backends:
            os.kill(pid, signal.SIGCONT)
