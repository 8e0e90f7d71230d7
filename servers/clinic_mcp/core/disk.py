"""Room on the disk the log is on, in three steps: warn, refuse bulk, refuse all. Nothing old is ever dropped for room.

The steps are auditd's (auditd.conf(5): space_left, admin_space_left, disk_full), with refusals for actions.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path

from sqlalchemy import make_url

from clinic_mcp.core.errors import AuditUnavailable
from clinic_mcp.core.settings import Settings

LOOK_EVERY = 1.0
"""Seconds a look at the disk counts for."""
WARN_EVERY = 60.0
"""Seconds between two warnings."""
_MB = 1024 * 1024


class Room(IntEnum):
    """How much is left."""

    ENOUGH = 0
    LITTLE = 1
    NOT_FOR_BULK = 2
    NONE = 3


class Disk:
    """Watches the free room of a file system.

    Args:
        folder: A folder of it; none means that nobody can tell, and there is always enough.
        steps: Megabytes below which each step begins: warn, refuse bulk, refuse all.
        warn: Called with the free megabytes, at most once a minute, while there is little.
        clock: Seconds that only go forward.
    """

    def __init__(
        self,
        folder: Path | None,
        steps: tuple[int, int, int],
        warn: Callable[[int], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._steps = steps
        self._warn = warn
        self._clock = clock
        self._looked = self._warned = float("-inf")
        self._room = Room.ENOUGH

    @classmethod
    def of(cls, settings: Settings, warn: Callable[[int], None]) -> Disk:
        """The disk the clinic's log is on: the SQLite file's, or the one in settings."""
        url = make_url(settings.url)
        file = url.database if url.get_backend_name() == "sqlite" else None
        folder = settings.disk_path or (Path(file).parent if file else None)
        return cls(folder, (settings.disk_warn_mb, settings.disk_bulk_mb, settings.disk_stop_mb), warn)

    def room(self) -> Room:
        """How much is left, as of the last second."""
        moment = self._clock()
        if self._folder is not None and moment - self._looked >= LOOK_EVERY:
            self._looked = moment
            self._room = self._look(self._folder, moment)
        return self._room

    def check(self, *, bulk: bool) -> None:
        """Refuse a call there is no room for.

        Args:
            bulk: Whether it may answer about many patients.

        Raises:
            AuditUnavailable: There is not.
        """
        room = self.room()
        if room is Room.NONE or (bulk and room is Room.NOT_FOR_BULK):
            what = "The audit log's disk is nearly full"
            raise AuditUnavailable(
                f"{what}: only calls about single records are answered."
                if room is Room.NOT_FOR_BULK
                else f"The call could not be recorded: the audit store is not available (disk full). {what}.",
                "Nothing was changed. Make room on the server's disk; the calls then work again by themselves.",
            )

    def _look(self, folder: Path, moment: float) -> Room:
        try:
            found = os.statvfs(folder)
        except OSError:
            return Room.ENOUGH  # the log itself will say what is wrong
        free = found.f_bavail * found.f_frsize // _MB
        room = Room(sum(free < step for step in self._steps))
        if room is not Room.ENOUGH and moment - self._warned >= WARN_EVERY:
            self._warned = moment
            self._warn(free)
        return room
