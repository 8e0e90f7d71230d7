"""A small disk that really is full: calls are refused with the cause, nothing is lost, and room is all it takes."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import databases
from support.clinic import Clinic
from support.databases import POSTGRESQL
from support.faults import Shelf, Tally
from support.postgres import Cluster, cluster
from support.servers import serving
from support.waiting import eventually

BACK_WITHIN = 5.0
"""Seconds after there is room again until a call must be answered."""
NO_STEPS = {"CLINIC_DISK_WARN_MB": "0", "CLINIC_DISK_BULK_MB": "0", "CLINIC_DISK_STOP_MB": "0"}
STEPS = {"CLINIC_DISK_WARN_MB": "12", "CLINIC_DISK_BULK_MB": "8", "CLINIC_DISK_STOP_MB": "4"}
pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a small disk")


@contextmanager
def small_disk(at: Path, size_mb: int) -> Iterator[None]:
    """A tmpfs of a few megabytes."""
    at.mkdir(exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m,mode=777", "tmpfs", str(at)], check=False, timeout=10
    )
    if mounted.returncode != 0:
        pytest.skip("this machine lets nobody mount a disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(at)], check=True, timeout=10)


class Ballast:
    """Fills a disk and gives the room back."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / "ballast"

    def leave(self, megabytes: float) -> None:
        """Fill it but for so much."""
        found = os.statvfs(self._folder)
        size = found.f_bavail * found.f_frsize - int(megabytes * 1024 * 1024)
        with self._file.open("wb") as file:
            while size > 0:
                size -= file.write(bytes(min(size, 1 << 20)))

    def fill(self) -> None:
        try:
            with self._file.open("ab", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
        except OSError:
            return

    def give_back(self) -> None:
        self._file.unlink()


@pytest.mark.sqlite("the file is on the small disk")
@pytest.mark.parametrize("steps", [NO_STEPS, STEPS], ids=["full to the last byte", "stopped before"])
def test_a_full_disk_is_named_and_room_is_all_it_takes(clinic: Clinic, tmp_path: Path, steps: dict[str, str]) -> None:
    with small_disk(tmp_path / "disk", 24):
        home = tmp_path / "disk" / "home"
        shutil.copytree(clinic.home, home)
        small = Clinic(home)
        shelf, ballast = Shelf(small, Tally("disk full")), Ballast(home)
        with serving(small, "pharmacy", **steps) as server:
            assert shelf.receive(server.url, shelf.next_lot()) == "ok"
            ballast.leave(1 if steps is STEPS else 0.1)
            if steps is NO_STEPS:
                ballast.fill()
            eventually(lambda: shelf.receive(server.url, shelf.next_lot()) == "audit_unavailable", 30)
            assert server.child.poll() is None
            shelf.settle()
            ballast.give_back()
            started = time.monotonic()
            eventually(lambda: shelf.receive(server.url, shelf.next_lot()) == "ok", 15)
            assert time.monotonic() - started < BACK_WITHIN
        shelf.settle()
        assert (shelf.tally.lost, shelf.tally.duplicated, shelf.tally.unseen) == (0, 0, 0), shelf.tally
        assert small.run("audit", "verify", code=None).returncode in (0, 3)


@pytest.fixture
def on_small_disk(tmp_path: Path) -> Iterator[tuple[Clinic, Cluster, Path]]:
    with small_disk(tmp_path / "disk", 160), cluster(tmp_path / "disk") as made:
        home = tmp_path / "home"
        databases.place(home, made)
        clinic = Clinic(home)
        clinic.run("init", "--demo")
        clinic.run("db", "grants", "--apply")
        yield clinic, made, tmp_path / "disk"
        databases.forget(home)


@pytest.mark.skipif(not POSTGRESQL, reason="about PostgreSQL's disk")
def test_postgresql_s_full_disk_is_named_and_room_is_all_it_takes(on_small_disk: tuple[Clinic, Cluster, Path]) -> None:
    clinic, made, disk = on_small_disk
    shelf, ballast = Shelf(clinic, Tally("disk full")), Ballast(disk)
    with serving(clinic, "pharmacy") as server:
        assert shelf.receive(server.url, shelf.next_lot()) == "ok"
        ballast.fill()
        told: set[str] = set()

        def refused() -> bool:
            told.add(shelf.receive(server.url, shelf.next_lot()))
            return bool(told - {"ok"})

        eventually(refused, 60)
        assert told <= {"ok", "audit_unavailable", "unavailable"}
        ballast.give_back()
        made.start_again()  # a PostgreSQL that could not write its log stops, and somebody starts it
        started = time.monotonic()
        eventually(lambda: shelf.receive(server.url, shelf.next_lot()) == "ok", 20)
        assert time.monotonic() - started < BACK_WITHIN
    shelf.settle()
    assert (shelf.tally.lost, shelf.tally.duplicated, shelf.tally.unseen) == (0, 0, 0), shelf.tally
    assert clinic.run("audit", "verify", code=None).returncode in (0, 3)
