"""One day at a clinic, spent once; each test that changes something has a copy."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest
from support.audited_day import Day, spend
from support.clinic import Clinic


@pytest.fixture(scope="session")
def spent(new_clinic: Callable[[], Clinic]) -> Day:
    """The day. Nobody writes in it: it is copied."""
    return spend(new_clinic())


@pytest.fixture(scope="session")
def new_day(spent: Day, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Day]:
    """Makes a copy of the day."""

    def make() -> Day:
        home = tmp_path_factory.mktemp("day") / "home"
        shutil.copytree(spent.clinic.home, home)
        copied = Clinic(home)
        _ = copied.url  # now, so that the database lives as long as whoever asked for the day
        return Day(copied, spent.session)

    return make


@pytest.fixture
def day(new_day: Callable[[], Day]) -> Day:
    """A day for one test."""
    return new_day()
