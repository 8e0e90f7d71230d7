"""PostgreSQL goes away and comes back under load: calls are refused meanwhile, nobody restarts a server, nothing that
was acknowledged is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from support import databases
from support.clinic import Clinic
from support.postgres import Cluster, cluster
from support.servers import Process, post_call, serving
from support.waiting import eventually

OUTAGES = 5
BACK_WITHIN = 5.0
"""Seconds after PostgreSQL is back until a call must be answered again."""
CALLERS = 4


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    with cluster() as made:
        yield made


@pytest.fixture
def placed(own_cluster: Cluster, tmp_path: Path) -> Iterator[Clinic]:
    home = tmp_path / "home"
    databases.place(home, own_cluster)
    clinic = Clinic(home)
    clinic.run("init", "--demo")
    clinic.run("db", "grants", "--apply")
    yield clinic
    databases.forget(home)


class Load:
    """Callers that put one lot after another on the shelf, and remember what they were told."""

    def __init__(self, clinic: Clinic, server: Process) -> None:
        self._url = f"{server.url}/mcp"
        self._token = clinic.tokens.person("pharm-rossi", "pharmacy")
        self._stop = threading.Event()
        self._number = iter(range(1_000_000))
        self.answers: list[tuple[str, str]] = []
        self._threads = [threading.Thread(target=self._run) for _ in range(CALLERS)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _run(self) -> None:
        while not self._stop.wait(0.01):
            lot = f"LOT-{next(self._number)}"
            self.answers.append((lot, receive(self._url, self._token, lot)))

    def since(self, start: int, code: str) -> bool:
        return any(answer == code for _, answer in self.answers[start:])


def receive(url: str, token: str, lot: str) -> str:
    """The code of a delivery's answer: `ok`, or why not."""
    arguments = {"medication_name": "Paracetamol 500mg", "lot": lot, "quantity": 1, "expires": "2099-01-31"}
    try:
        status, body = post_call(url, "receive_stock", arguments, token)
    except httpx.HTTPError as exc:
        return type(exc).__name__
    result = body.get("result") if status == 200 else None
    if result is None:
        return str(body.get("error", status))
    return str(result["structuredContent"]["error"]["code"]) if result.get("isError") else "ok"


def test_postgresql_restarts_five_times_under_load(placed: Clinic, own_cluster: Cluster) -> None:
    with serving(placed, "pharmacy") as server, Load(placed, server) as load:
        eventually(lambda: load.since(0, "ok"))
        for outage in range(OUTAGES):
            before = len(load.answers)
            own_cluster.stop("immediate" if outage % 2 else "fast")
            eventually(lambda at=before: len({a for _, a in load.answers[at:] if a != "ok"}), 15)  # type: ignore[misc]
            own_cluster.start()
            back, started = len(load.answers), time.monotonic()
            eventually(lambda at=back: load.since(at, "ok"), 15)  # type: ignore[misc]
            assert time.monotonic() - started < BACK_WITHIN
        assert server.child.poll() is None, "nobody restarted it"
    codes = {code for _, code in load.answers}
    assert {"ok"} < codes <= {"ok", "unavailable", "audit_unavailable"}
    stored = {row["lot"] for row in placed.execute("SELECT lot FROM stock_entries")}
    assert {lot for lot, code in load.answers if code == "ok"} <= stored, "what was acknowledged is there"
    assert placed.run("audit", "verify", code=None).returncode in (0, 3)
