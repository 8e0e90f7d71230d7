"""What a server's calls are worth when the world under them fails: the experiments, and what they count.

Each puts lots on the pharmacy's shelf, one a call, and looks afterwards at what callers were told, what is
on the shelf, and what is on the record.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import httpx
from clinic_mcp.audit.findings import Verdict
from sqlalchemy import make_url

from support.clinic import Clinic
from support.cut_line import Cut, line
from support.databases import place_of
from support.faulty_disk import FaultyDisk, Kind
from support.servers import Process, headers, post_call, request, serving
from support.signed import report
from support.waiting import eventually

CALLERS = 8
BACK_WITHIN = 15.0


@dataclass
class Tally:
    """What came of one kind of fault.

    Args:
        fault: Which.
        tried: How often it was made.
        survived: How often the service answered again afterwards and the log was whole or in doubt.
        acknowledged: Calls whose callers were told that they are done.
        lost: Of these, those that left no row or no event.
        in_doubt: Calls with an intent and no outcome, each named by `audit verify` or closed as unknown at a start.
        duplicated: Lots that are on the shelf twice.
        unseen: Rows whose call has no intent and outcome on the record.
    """

    fault: str
    tried: int = 0
    survived: int = 0
    acknowledged: int = 0
    lost: int = 0
    in_doubt: int = 0
    duplicated: int = 0
    unseen: int = 0

    @property
    def row(self) -> tuple[object, ...]:
        return tuple(vars(self).values())

    @property
    def kept(self) -> bool:
        """Whether every promise was."""
        return self.survived == self.tried and not (self.lost or self.duplicated or self.unseen)


@dataclass
class Shelf:
    """A clinic whose shelf is being filled, and what the callers were told."""

    clinic: Clinic
    tally: Tally
    acknowledged: set[str] = field(default_factory=set)
    _lots: Iterator[int] = field(default_factory=count)

    @property
    def token(self) -> str:
        return self.clinic.tokens.person("pharm-rossi", "pharmacy")

    def next_lot(self) -> str:
        return f"LOT-{next(self._lots)}"

    def receive(self, url: str, lot: str) -> str:
        """The code of a delivery's answer: `ok`, or why not."""
        try:
            status, body = post_call(f"{url}/mcp", "receive_stock", delivery(lot), self.token)
        except httpx.HTTPError as exc:
            return type(exc).__name__
        result = body.get("result") if status == 200 else None
        if result is None:
            return str(body.get("error", status))
        if result.get("isError"):
            return str(result["structuredContent"]["error"]["code"])
        self.acknowledged.add(lot)
        return "ok"

    def settle(self) -> None:
        """Compare what was told with the shelf and the record, once nothing runs any more."""
        rows = self.clinic.execute("SELECT lot, call_id FROM stock_entries WHERE lot LIKE 'LOT-%'")
        lots = [row["lot"] for row in rows]
        phases: dict[str, set[str]] = {}
        for row in self.clinic.execute("SELECT call_id, phase FROM audit_events WHERE tool = 'receive_stock'"):
            phases.setdefault(row["call_id"], set()).add(row["phase"])
        explained = [row for row in rows if phases.get(row["call_id"]) == {"intent", "outcome"}]
        unknown = self.clinic.execute("SELECT count(*) FROM audit_events WHERE code = 'call.unknown'")[0][0]
        self.tally.acknowledged = len(self.acknowledged)
        self.tally.lost = len(self.acknowledged - set(lots))
        self.tally.duplicated = len(lots) - len(set(lots))
        self.tally.unseen = len(rows) - len(explained)
        self.tally.in_doubt = unknown + sum(found == {"intent"} for found in phases.values())


def delivery(lot: str) -> dict[str, Any]:
    return {"medication_name": "Paracetamol 500mg", "lot": lot, "quantity": 1, "expires": "2099-01-31"}


def whole(clinic: Clinic) -> bool:
    """Whether the log is whole, or in doubt and says of what."""
    return report(clinic).verdict in (Verdict.WHOLE, Verdict.IN_DOUBT)


def kill_under_load(clinic: Clinic, kills: int, seed: int = 4) -> Iterator[Tally]:
    """`kill -9` at a random moment of eight callers' work, again and again; the tally after each.

    Args:
        clinic: A clinic of its own.
        kills: How many.
        seed: Of the random moments.
    """
    chance = random.Random(seed)  # noqa: S311 - moments, not secrets
    shelf = Shelf(clinic, Tally("kill -9 under load"))
    for _ in range(kills):
        with serving(clinic, "pharmacy") as server, _callers(shelf, server):
            before = len(shelf.acknowledged)
            eventually(lambda at=before: len(shelf.acknowledged) > at, 20)  # type: ignore[misc]
            threading.Event().wait(chance.uniform(0, 0.25))
            server.kill()
        shelf.tally.tried += 1
        shelf.settle()
        shelf.tally.survived += whole(clinic)
        yield shelf.tally
    with serving(clinic, "pharmacy") as server:  # the last start closes what the last kill left
        assert shelf.receive(server.url, shelf.next_lot()) == "ok"
    shelf.settle()
    yield shelf.tally


@contextmanager
def _callers(shelf: Shelf, server: Process) -> Iterator[None]:
    stop = threading.Event()

    def call() -> None:
        while not stop.is_set() and server.child.poll() is None:
            shelf.receive(server.url, shelf.next_lot())

    threads = [threading.Thread(target=call) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)


def disk_fails(clinic: Clinic, kind: Kind, boundaries: Sequence[int] | None = None) -> Tally:
    """SQLite's disk fails at each write and each sync of a call, one after the other.

    Args:
        clinic: A clinic of its own, on SQLite.
        kind: How.
        boundaries: At which operations, from 0; every one of a call's where none are named.
    """
    shelf = Shelf(clinic, Tally(f"disk: {kind.name.lower().replace('_', ' ')}"))
    disk = FaultyDisk(clinic.home, str(clinic.file))
    todo = list(boundaries) if boundaries is not None else None
    while todo is None or todo:
        with serving(clinic, "pharmacy", **disk.environment) as server:
            assert shelf.receive(server.url, shelf.next_lot()) == "ok"
            if todo is None:
                before = disk.count
                assert shelf.receive(server.url, shelf.next_lot()) == "ok"
                todo = list(range(disk.count - before))
            while todo:
                _fail_once(shelf, server, disk, kind, todo.pop(0))
                if server.child.poll() is not None:
                    break
        shelf.settle()
    with serving(clinic, "pharmacy") as server:
        assert shelf.receive(server.url, shelf.next_lot()) == "ok"
    shelf.settle()
    return shelf.tally


def _fail_once(shelf: Shelf, server: Process, disk: FaultyDisk, kind: Kind, at: int) -> None:
    """One call with a fault in it; where the process lives, the same call again once the disk is mended."""
    lot = shelf.next_lot()
    disk.fail(kind, after=at)
    told = shelf.receive(server.url, lot)
    disk.mend()
    shelf.tally.tried += 1
    if kind <= Kind.DIE_WITHIN:
        eventually(lambda: server.child.poll() is not None or told == "ok", 10)
        shelf.tally.survived += whole(shelf.clinic)
        return
    assert told in ("ok", "audit_unavailable", "unavailable"), told
    started = time.monotonic()
    eventually(lambda: shelf.receive(server.url, lot) == "ok", BACK_WITHIN)
    shelf.tally.survived += time.monotonic() - started < 5 and whole(shelf.clinic)


def commits_fail(clinic: Clinic, cut: Cut, *, kill: bool) -> Tally:
    """The line to PostgreSQL is cut at each commit of a call, before it or before its answer.

    Args:
        clinic: A clinic of its own, on PostgreSQL.
        cut: On which side of the commit.
        kill: Whether the server is killed at that moment too.
    """
    shelf = Shelf(clinic, Tally(f"{'killed' if kill else 'cut off'} {cut.name.lower()} a commit"))
    with line(place_of(clinic.home).port) as wire:
        url = make_url(clinic.environment_of("pharmacy")["CLINIC_DATABASE_URL"]).set(port=wire.port)
        through = {"CLINIC_DATABASE_URL": url.render_as_string(hide_password=False)}
        todo: list[int] | None = None
        while todo is None or todo:
            with serving(clinic, "pharmacy", **through) as server:
                assert shelf.receive(server.url, shelf.next_lot()) == "ok"
                if todo is None:
                    before = wire.commits
                    assert shelf.receive(server.url, shelf.next_lot()) == "ok"
                    todo = list(range(wire.commits - before))
                lot, at = shelf.next_lot(), todo.pop(0)
                wire.cut(cut, after=at, do=server.kill if kill else lambda: None)
                shelf.receive(server.url, lot)
                shelf.tally.tried += 1
                if not kill:
                    eventually(lambda again=lot: shelf.receive(server.url, again) == "ok", BACK_WITHIN)  # type: ignore[misc]
            if kill:
                with serving(clinic, "pharmacy") as server:
                    eventually(lambda again=lot: shelf.receive(server.url, again) == "ok", BACK_WITHIN)  # type: ignore[misc]
            shelf.tally.survived += whole(clinic)
            shelf.settle()
    return shelf.tally


def read_once(server: Process, token: str) -> bool:
    """Whether a read is answered."""
    body = request("check_pharmacy_inventory", {"medication_name": "Paracetamol"})
    answer = httpx.post(f"{server.url}/mcp", json=body, headers=headers(token), timeout=20)
    return answer.status_code == 200 and not answer.json()["result"].get("isError")
