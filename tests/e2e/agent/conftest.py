"""A clinic of real processes: `clinic-mcp` from its own environment, the agent from this one."""

import os
from collections.abc import Callable, Iterator

import pytest

pytest.register_assert_rewrite("agent_e2e")

from agent_e2e.clinic import CLINIC_MCP, Clinic  # noqa: E402
from clinic_agent.gateway import close_connections  # noqa: E402


@pytest.fixture(scope="session")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinic]:
    """The clinic most tests share: each opens consultations of its own in it."""
    yield from _running(Clinic(tmp_path_factory.mktemp("clinic") / "home"))


@pytest.fixture(scope="session")
def other_clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinic]:
    """A clinic whose servers a test may stop and whose keys it may change; it is left running."""
    yield from _running(Clinic(tmp_path_factory.mktemp("other") / "home"))


def _running(clinic: Clinic) -> Iterator[Clinic]:
    assert CLINIC_MCP.is_file(), "the servers' environment is missing: `make setup` makes it"
    clinic.mcp("init", "--demo")
    try:
        clinic.up()
        yield clinic
    finally:
        clinic.stop()


@pytest.fixture(autouse=True)
def earlier_courses_are_over(request: pytest.FixtureRequest) -> None:
    """What earlier tests had prescribed has run its course: it would be a duplicate otherwise."""
    for name in ("clinic", "other_clinic"):
        if name in request.fixturenames:
            request.getfixturevalue(name).end_courses()


@pytest.fixture
def reach(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Point this process's own tools at a clinic, over http, sse or stdio."""
    for name in [name for name in os.environ if name.startswith(("CLINIC_", "AWS_", "OLLAMA_"))]:
        monkeypatch.delenv(name)

    def point(clinic: Clinic, transport: str = "http") -> None:
        variables = {**clinic.environment, **clinic.over(transport)}
        for name, value in variables.items():
            if name.startswith("CLINIC_"):
                monkeypatch.setenv(name, value)

    yield point
    close_connections()
