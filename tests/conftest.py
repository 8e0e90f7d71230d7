"""The clinic every test of the servers starts from.

The agent's tests, which run in another environment, pass through here too: import the suite only inside a fixture.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.clinic import Clinic


EVERYTHING = "CLINIC_TEST_EVERYTHING" in os.environ
SAME_ON_BOTH = (
    "core/test_cedar_types.py",
    "core/test_disk.py",
    "core/test_http.py",
    "core/test_keys_rotate.py",
    "core/test_reload.py",
    "core/test_resource.py",
    "core/test_telemetry.py",
    "e2e/servers/test_injection.py",
    "e2e/servers/test_openid_provider.py",
    "e2e/servers/test_same_id_race.py",
    "e2e/servers/test_token_battery.py",
    "e2e/servers/test_up.py",
    "policies/",
    "servers/test_clients.py",
)
"""About tokens, HTTP and policies, and long: on PostgreSQL only in `make test-everything`."""

POSTGRESQL = os.environ.get("CLINIC_TEST_DATABASE", "sqlite") == "postgresql"


def pytest_sessionstart() -> None:
    """One sentence where PostgreSQL's programs are missing, and not one for every test."""
    if POSTGRESQL:
        from support.postgres import NoPrograms, program

        try:
            program("initdb")
        except NoPrograms as missing:
            pytest.exit(str(missing), returncode=4)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On PostgreSQL every test that opens a clinic runs again; those that open none are the same on both.

    Tests of SQLite itself do not run there; each says why.
    """
    if not POSTGRESQL:
        return
    tests = Path(__file__).parent

    def again(item: pytest.Item) -> bool:
        known = item.path.relative_to(tests).as_posix().startswith(SAME_ON_BOTH)
        return "template" in getattr(item, "fixturenames", ()) and (EVERYTHING or not known)

    same = [item for item in items if not again(item)]
    items[:] = [item for item in items if again(item)]
    config.hook.pytest_deselected(items=same)
    for item in items:
        mark = item.get_closest_marker("sqlite")
        if mark is not None:
            item.add_marker(pytest.mark.skip(reason=f"about SQLite: {mark.args[0]}"))


@pytest.fixture(scope="session", autouse=True)
def _stop_postgresql() -> Iterator[None]:
    yield
    if "support.databases" in sys.modules:
        sys.modules["support.databases"].stop()


@pytest.fixture(autouse=True)
def _drop_databases() -> Iterator[None]:
    """A database made in a test goes with it; a hundred of them would be a gigabyte."""
    if not POSTGRESQL:
        yield
        return
    from support import databases

    before = databases.made()
    yield
    for home in databases.made() - before:
        databases.forget(home)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Clinic:
    """A clinic as `clinic-mcp init --demo` makes it. Nobody writes in it: it is copied."""
    from support.clinic import Clinic

    made = Clinic(tmp_path_factory.mktemp("template") / "home")
    made.run("init", "--demo")
    if POSTGRESQL:
        for statement in made.json("db", "grants"):  # and not --apply, which would be an event more than on SQLite
            made.execute(statement)
    return made


@pytest.fixture(scope="session")
def new_clinic(template: Clinic, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Clinic]:
    """Makes a clinic of its own."""
    from support.clinic import Clinic

    def make() -> Clinic:
        home = tmp_path_factory.mktemp("clinic") / "home"
        shutil.copytree(template.home, home)
        made = Clinic(home)
        _ = made.url  # now, so that the database lives as long as whoever asked for the clinic
        return made

    return make


@pytest.fixture
def clinic(new_clinic: Callable[[], Clinic]) -> Clinic:
    """A clinic for one test."""
    return new_clinic()


@pytest.fixture(scope="module")
def module_clinic(new_clinic: Callable[[], Clinic]) -> Clinic:
    """A clinic for one module, for tests that run servers."""
    return new_clinic()
