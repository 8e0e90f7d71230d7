"""The world fails under a server: at every write and sync of SQLite's disk, at every commit PostgreSQL is sent, and by
`kill -9` at any moment. Nothing acknowledged is lost, nothing happens twice, and nothing without a record.

`bench/faults.py` does the same for longer and prints the table.
"""

from __future__ import annotations

import pytest
from support.clinic import Clinic
from support.cut_line import Cut
from support.databases import POSTGRESQL
from support.faults import Tally, commits_fail, disk_fails, kill_under_load
from support.faulty_disk import Kind

KILLS = 20
on_sqlite = pytest.mark.sqlite("it is SQLite's disk that fails")
on_postgresql = pytest.mark.skipif(not POSTGRESQL, reason="about the line to PostgreSQL")


def assert_kept(tally: Tally, at_least: int = 1) -> None:
    assert tally.tried >= at_least
    assert tally.kept, tally
    assert tally.acknowledged > 0


def test_killed_twenty_times_under_load_it_loses_nothing(clinic: Clinic) -> None:
    *_, tally = kill_under_load(clinic, KILLS)
    assert_kept(tally, KILLS)


@on_sqlite
@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.name.lower())
def test_a_disk_that_fails_at_any_write_or_sync_of_a_call_loses_nothing(clinic: Clinic, kind: Kind) -> None:
    # The long run (bench/faults.py) dies within each; dying before each is done here.
    some = (0, 2, 5, 8) if kind is Kind.DIE_WITHIN else None
    assert_kept(disk_fails(clinic, kind, some), 4)


@on_postgresql
@pytest.mark.parametrize("kill", [False, True], ids=["cut", "killed"])
@pytest.mark.parametrize("cut", Cut, ids=lambda cut: cut.name.lower())
def test_a_line_cut_at_any_commit_of_a_call_loses_nothing(clinic: Clinic, cut: Cut, kill: bool) -> None:
    assert_kept(commits_fail(clinic, cut, kill=kill), 2)
