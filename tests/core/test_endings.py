"""Every tool × every way a call can end: exactly the promised events, and no effect but where it was promised.

The tools, the guard, the database, the log and the protocol are real; where a tool must fail, hang or be given up on,
its own work is replaced for the test. A tool without a row in `support.calls.EXPECTED` fails here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import anyio
import anyio.to_thread
import pytest
from clinic_mcp.core.app import Application
from clinic_mcp.core.disk import Disk
from clinic_mcp.core.tool import ServerTools, Work
from clinic_mcp.registry import SERVERS
from mcp import Client
from mcp_types import CallToolResult
from support.broken_log import mend_log, stop_log
from support.calls import DONE, EXPECTED, INTENT, NOTES, REFUSED, STRANGER, Expectation, add_visiting_agent
from support.clinic import OPERATOR, Clinic
from support.log import AuditReader
from support.servers import GRANT_META
from support.waiting import eventually

FAILED, UNKNOWN = ("outcome", "call.error"), ("outcome", "call.unknown")
PATIENCE = 0.4
"""Seconds a call may take, where it is to take too long."""


class World:
    """The clinic of this module, and an application for each server; tools are the server's own copies."""

    def __init__(self, clinic: Clinic, stack: ExitStack) -> None:
        self.clinic = clinic
        self._stack = stack
        self._opened: dict[tuple[str, bool], Application] = {}

    def application(self, server: str, *, hasty: bool) -> Application:
        """The server; a hasty one has no time for a tool that hangs."""
        at = (server, hasty)
        if at not in self._opened:
            made = SERVERS[server]()
            copied = ServerTools(made.name, title=made.title, instructions=made.instructions, writes=made.writes)
            copied.tools.update(made.tools)
            limit = {"tool_timeout": PATIENCE} if hasty else {}
            settings = self.clinic.settings.model_copy(update=limit)
            opened = Application(copied, settings, "stdio")
            self._stack.callback(opened.close)
            self._opened[at] = opened
        return self._opened[at]


@pytest.fixture(scope="module")
def world(module_clinic: Clinic) -> Iterator[World]:
    with ExitStack() as stack:
        add_visiting_agent(module_clinic)
        yield World(module_clinic, stack)


@dataclass
class Attempt:
    """One call: what is called, with what, and what came back."""

    world: World
    tool: str
    row: Expectation
    session: str
    token: str | None
    arguments: dict[str, Any]
    opened: Application
    answer: CallToolResult | None = None

    @property
    def clinic(self) -> Clinic:
        return self.world.clinic

    def ask(self, name: str | None = None) -> None:
        """Call it, and wait for the answer."""

        async def talk() -> None:
            meta = {GRANT_META: self.token} if self.token else {}
            with anyio.fail_after(20):
                async with Client(self.opened.server) as client:
                    self.answer = await client.call_tool(name or self.tool, self.arguments, meta=meta)

        anyio.run(talk)

    def replaced(self, run: Callable[[Work, Any], Any]) -> None:
        tools = self.opened.guard.server.tools
        tools[self.tool] = replace(tools[self.tool], run=run)

    def restore(self) -> None:
        self.opened.guard.server.tools[self.tool] = SERVERS[self.row.server]().tools[self.tool]

    @property
    def code(self) -> str:
        assert self.answer is not None
        if not self.answer.is_error:
            return "ok"
        assert self.answer.structured_content
        return str(self.answer.structured_content["error"]["code"])


@dataclass(frozen=True)
class Ending:
    """A way a call can end.

    Args:
        make: Brings it about.
        code: What the caller is told; none where nobody waits for it.
        events: What is on the record, in order.
        hasty: Whether the server has no time.
    """

    make: Callable[[Attempt], None]
    code: str | None
    events: tuple[tuple[str, str], ...]
    hasty: bool = False


def right(attempt: Attempt) -> None:
    attempt.ask()


def by_default(attempt: Attempt) -> None:
    attempt.token = attempt.row.wrong(attempt.clinic, attempt.session)
    attempt.ask()


def by_a_policy(attempt: Attempt) -> None:
    """An agent's consultation is closed; a person's call comes from an agent."""
    if attempt.row.person is None:
        with attempt.clinic.desk() as desk:
            desk.close(OPERATOR, attempt.session)
    else:
        attempt.token = attempt.clinic.tokens.grant(attempt.session, "intake_agent", audience=attempt.row.server)
    attempt.ask()


def with_an_argument_nobody_declared(attempt: Attempt) -> None:
    attempt.arguments = {**attempt.arguments, "clinic_id": "elsewhere"}
    attempt.ask()


def with_arguments_of_the_wrong_type(attempt: Attempt) -> None:
    attempt.arguments = {name: [None] for name in attempt.arguments} or {"surplus": 1}
    attempt.ask()


def of_a_tool_nobody_has(attempt: Attempt) -> None:
    attempt.ask(f"{attempt.tool}_twice")


def without_a_credential(attempt: Attempt) -> None:
    attempt.token = None
    attempt.ask()


def with_a_forged_credential(attempt: Attempt) -> None:
    claims = attempt.clinic.tokens.claims(attempt.session, "intake_agent", "P001", attempt.row.server)
    attempt.token = attempt.clinic.tokens.forged(claims)
    attempt.ask()


def with_an_exception(attempt: Attempt) -> None:
    def broken(_work: Work, _arguments: Any) -> Any:
        raise ValueError("Alice Thompson, 1985-03-12")

    attempt.replaced(broken)
    attempt.ask()


def too_late(attempt: Attempt) -> None:
    go_on = threading.Event()

    def slow(_work: Work, _arguments: Any) -> Any:
        assert go_on.wait(20)
        return {}

    attempt.replaced(slow)
    try:
        attempt.ask()
    finally:
        go_on.set()


def cancelled(attempt: Attempt) -> None:
    running, go_on = threading.Event(), threading.Event()

    def slow(_work: Work, _arguments: Any) -> Any:
        running.set()
        assert go_on.wait(20)
        return {}

    async def talk() -> None:
        with anyio.fail_after(20):
            async with Client(attempt.opened.server) as client, anyio.create_task_group() as group:

                async def one() -> None:
                    await client.call_tool(attempt.tool, attempt.arguments, meta={GRANT_META: attempt.token})

                group.start_soon(one)
                await anyio.to_thread.run_sync(running.wait, 10)
                group.cancel_scope.cancel()

    attempt.replaced(slow)
    try:
        anyio.run(talk)
    finally:
        go_on.set()


def with_a_log_that_takes_nothing(attempt: Attempt) -> None:
    stop_log(attempt.clinic, "NEW.phase <> 'lifecycle'")
    try:
        attempt.ask()
    finally:
        mend_log(attempt.clinic)


def with_a_log_that_takes_no_outcome(attempt: Attempt) -> None:
    stop_log(attempt.clinic, "NEW.phase = 'outcome'")
    try:
        attempt.ask()
    finally:
        mend_log(attempt.clinic)
    assert attempt.opened.guard.settle(), "the next call does this"


def with_a_full_disk(attempt: Attempt) -> None:
    log = attempt.opened.log
    kept, log.disk = log.disk, Disk(attempt.clinic.home, (10**9,) * 3)
    try:
        attempt.ask()
    finally:
        log.disk = kept


ENDINGS: dict[str, Ending] = {
    "allowed": Ending(right, "ok", (INTENT, DONE)),
    "denied by default": Ending(by_default, "refused", (REFUSED,)),
    "denied by a policy": Ending(by_a_policy, "refused", (REFUSED,)),
    "undeclared argument": Ending(
        with_an_argument_nobody_declared, "invalid_arguments", (("decision", "call.invalid_arguments"),)
    ),
    "wrong types": Ending(
        with_arguments_of_the_wrong_type, "invalid_arguments", (("decision", "call.invalid_arguments"),)
    ),
    "unknown tool": Ending(of_a_tool_nobody_has, "unknown_tool", (("decision", "call.unknown_tool"),)),
    "no credential": Ending(without_a_credential, "unauthenticated", (STRANGER,)),
    "forged credential": Ending(with_a_forged_credential, "unauthenticated", (STRANGER,)),
    "exception": Ending(with_an_exception, "internal", (INTENT, FAILED)),
    "timeout": Ending(too_late, "timeout", (INTENT, FAILED), hasty=True),
    "cancelled": Ending(cancelled, None, (INTENT, FAILED)),
    "no intent recorded": Ending(with_a_log_that_takes_nothing, "audit_unavailable", ()),
    "no outcome recorded": Ending(with_a_log_that_takes_no_outcome, "audit_unavailable", (INTENT, UNKNOWN)),
    "disk full": Ending(with_a_full_disk, "audit_unavailable", ()),
}


def test_every_tool_has_a_row() -> None:
    assert set(EXPECTED) == {tool for load in SERVERS.values() for tool in load().tools}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("tool", EXPECTED)
def test_a_call_leaves_exactly_the_promised_events(world: World, tool: str, ending: str) -> None:
    row, promised, clinic = EXPECTED[tool], ENDINGS[ending], world.clinic
    session = clinic.consult(notes=NOTES)
    arguments, token = row.own(clinic, session), row.right(clinic, session)
    opened = world.application(row.server, hasty=promised.hasty)
    attempt = Attempt(world, tool, row, session, token, arguments, opened)
    before = written(clinic, row)
    log = AuditReader(clinic, row.server)
    try:
        promised.make(attempt)
    finally:
        attempt.restore()
    if promised.code is not None:
        assert attempt.code == promised.code
    eventually(lambda: len(log.events()) >= len(promised.events))
    events = log.events()
    assert tuple((event["phase"], event["code"]) for event in events) == promised.events
    assert len({event["call_id"] for event in events}) <= 1
    for event in events:
        assert "Alice" not in str(event)
        assert event["call"].get("tool") == (None if ending == "unknown tool" else tool)
        if "decision" in event:
            assert event["decision"]["effect"] == ("allow" if event["phase"] == "intent" else "deny")
            assert event["decision"]["policies"]
    if ending != "allowed":
        assert written(clinic, row) == before, "an effect without an outcome"


def written(clinic: Clinic, row: Expectation) -> int:
    if row.writes is None:
        return 0
    return int(clinic.execute(f"SELECT count(*) FROM {row.writes}")[0][0])  # noqa: S608
