"""The clinic every test of the servers starts from.

The agent's tests, which run in another environment, pass through here too: import the suite only inside a fixture.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.clinic import Clinic


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Clinic:
    """A clinic as `clinic-mcp init --demo` makes it. Nobody writes in it: it is copied."""
    from support.clinic import Clinic

    made = Clinic(tmp_path_factory.mktemp("template") / "home")
    made.run("init", "--demo")
    return made


@pytest.fixture(scope="session")
def new_clinic(template: Clinic, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Clinic]:
    """Makes a clinic of its own."""
    from support.clinic import Clinic

    def make() -> Clinic:
        home = tmp_path_factory.mktemp("clinic") / "home"
        shutil.copytree(template.home, home)
        return Clinic(home)

    return make


@pytest.fixture
def clinic(new_clinic: Callable[[], Clinic]) -> Clinic:
    """A clinic for one test."""
    return new_clinic()


@pytest.fixture(scope="module")
def module_clinic(new_clinic: Callable[[], Clinic]) -> Clinic:
    """A clinic for one module, for tests that run servers."""
    return new_clinic()
