"""Is the log whole? A thread checks it: all of it once a day, else what came since the last checkpoint found good."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import structlog
from sqlalchemy import Table
from sqlalchemy.exc import SQLAlchemyError

from clinic_mcp.audit import checkpoint, keys, tree
from clinic_mcp.audit.checkpoint import Signed, origin_of
from clinic_mcp.audit.findings import Report, Verdict
from clinic_mcp.audit.note import Verifier
from clinic_mcp.audit.verify import verify
from clinic_mcp.audit.witness import Outside, outside
from clinic_mcp.core.clinic import now
from clinic_mcp.core.db import Database, cause
from clinic_mcp.core.errors import ClinicError, Misconfigured
from clinic_mcp.core.settings import REVIEW, Settings

EVERY = 60.0
"""Seconds between two checks at least."""
WHOLE_EVERY = 24 * 60 * 60.0
"""Seconds after which everything is read again, what was found good before too."""
SHARE = 20
"""A check that took long is repeated after that many times as long: it may take a twentieth of a core."""


@dataclass(frozen=True)
class Integrity:
    """What the last check found.

    Args:
        verdict: `whole`, `altered`, `truncated`, `in_doubt`, `cannot_check`; none before the first one is through.
        checked: When it ended, ISO 8601 in UTC.
        problem: What is wrong, in a sentence.
        event_id: Which event it is about.
        covered: Events under the newest signed checkpoint.
        uncovered: Events after it.
        checkpoint: When that checkpoint was signed, ISO 8601 in UTC.
        root: Its root, in base64.
        witnessed: Checkpoints of the witness file that agree; none where there is no witness.
        whole_since: When the whole log was last read, ISO 8601 in UTC.
        running: Whether a check is under way.
        read: Events the check under way has read so far.
    """

    verdict: str | None = None
    checked: str | None = None
    problem: str | None = None
    event_id: str | None = None
    covered: int = 0
    uncovered: int = 0
    checkpoint: str | None = None
    root: str | None = None
    witnessed: int | None = None
    whole_since: str | None = None
    running: bool = False
    read: int = 0


class Checker:
    """Checks the log from time to time, in a thread of its own.

    Args:
        settings: Where the public keys and the witness are.
        database: The clinic's database.
        written: The tables the servers' tools write.
        every: Seconds between two checks at least.
    """

    def __init__(
        self, settings: Settings, database: Database, written: Sequence[Table], *, every: float = EVERY
    ) -> None:
        self._settings = settings
        self._database = database
        self._written = written
        self._every = every
        self._good: Signed | None = None
        self._whole = False
        self._read_whole = 0.0
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._lines = structlog.get_logger().bind(part=REVIEW)
        self.found = Integrity()
        self._thread = threading.Thread(target=self._run, name="integrity", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def check_now(self) -> None:
        """Read the whole log again, soon."""
        self._whole = True
        self._wake.set()

    def close(self) -> None:
        """Stop after the check in hand, or leave it."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=2)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            began = time.monotonic()
            self._check()
            self._wake.wait(max(self._every, SHARE * (time.monotonic() - began)))

    def _check(self) -> None:
        if self._whole or time.monotonic() - self._read_whole >= WHOLE_EVERY:
            self._good, self._whole = None, False
        before = self.found
        self.found = replace(before, running=True, read=0)
        try:
            found = self._look()
        except ClinicError as exc:
            found = Integrity("cannot_check", now(), exc.message, whole_since=before.whole_since)
        except SQLAlchemyError as exc:
            problem = f"The database cannot be read ({cause(exc)})."
            found = Integrity("cannot_check", now(), problem, whole_since=before.whole_since)
        except Exception as exc:  # noqa: BLE001 - the thread must outlive whatever a damaged log makes of a check
            self._lines.error("integrity.failed", error=type(exc).__name__)
            problem = "The check failed. `clinic-mcp audit verify` may say more."
            found = Integrity("cannot_check", now(), problem, whole_since=before.whole_since)
        if found.verdict not in ("whole", before.verdict):
            self._lines.warning("integrity.changed", verdict=found.verdict, event_id=found.event_id)
        self.found = found

    def _look(self) -> Integrity:
        pinned, since = list(keys.pinned(self._settings.keys / keys.PUBLIC)), self._good
        witness = self._witness(pinned)
        with self._database.read() as connection:
            newest = tree.latest_checkpoint(connection)
            report = verify(
                connection, pinned, outside=witness or (), since=since, effects=self._written, progress=self._progress
            )
        if report.verdict is Verdict.WHOLE:
            self._good = None if newest is None else checkpoint.parse(newest.note)
            self._read_whole = time.monotonic() if since is None else self._read_whole
        elif report.verdict is not Verdict.IN_DOUBT:
            self._good = None  # the next check reads everything, to name it again or to see it mended
        return self._told(report, newest, witness, full=since is None)

    def _told(self, report: Report, newest: object, witness: list[Outside] | None, *, full: bool) -> Integrity:
        ended = now()
        return Integrity(
            verdict=report.verdict.name.lower(),
            checked=ended,
            problem=report.problem,
            event_id=report.event_id,
            covered=report.covered,
            uncovered=report.uncovered,
            checkpoint=getattr(newest, "recorded", None),
            root=getattr(newest, "root", None),
            witnessed=None if witness is None else report.witnessed,
            whole_since=ended if full else self.found.whole_since,
        )

    def _witness(self, pinned: list[Verifier]) -> list[Outside] | None:
        """The checkpoints kept outside, where the operator named a file and it can be read now."""
        path: Path | None = self._settings.witness
        if path is None or not path.exists():
            return None
        try:
            return outside(path, pinned, origin_of(self._settings.id))
        except Misconfigured as exc:
            self._lines.warning("integrity.no_witness", reason=exc.message)
            return None

    def _progress(self, count: int) -> None:
        self.found = replace(self.found, read=count)
