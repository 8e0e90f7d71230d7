"""A clinic with a day behind it, for the commands that read the audit log."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.clinic import Clinic


@pytest.fixture(scope="session")
def day(new_clinic: Callable[[], Clinic]) -> Clinic:
    """A clinic after a day of calls. Tests only read it; reading adds events of its own."""
    from day import live

    clinic = new_clinic()
    live(clinic)
    return clinic


@pytest.fixture
def copied_day(day: Clinic, tmp_path: Path) -> Clinic:
    """A copy of that clinic, to be spoiled."""
    from support.clinic import Clinic

    home = tmp_path / "home"
    # Never by copying the open file: closing it would drop the locks this process holds on it.
    shutil.copytree(day.home, home, ignore=shutil.ignore_patterns("clinic.db*"))
    if not day.url:  # on PostgreSQL the copied folder gets a copied database by itself
        day.execute("VACUUM INTO ?", str(home / "clinic.db"))
    return Clinic(home)
