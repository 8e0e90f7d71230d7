"""Every tool × every way to be right or wrong × transport: the answer, and exactly the promised audit events."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from clinic_mcp.registry import SERVERS
from support.calls import DONE, EXPECTED, GATE, INTENT, NOTES, REFUSED, STRANGER, Expectation, add_visiting_agent
from support.clinic import Clinic
from support.log import AuditReader, event_of
from support.servers import Caller, connected


class Desk:
    """The clinic and the connections of this module; servers start when first called."""

    def __init__(self, clinic: Clinic, stack: ExitStack) -> None:
        self.clinic = clinic
        self._stack = stack
        self._callers: dict[tuple[str, str], Caller] = {}

    def caller(self, server: str, transport: str) -> Caller:
        at = (server, transport)
        if at not in self._callers:
            self._callers[at] = self._stack.enter_context(connected(self.clinic, server, transport))
        return self._callers[at]


@pytest.fixture(scope="module")
def desk(module_clinic: Clinic) -> Iterator[Desk]:
    add_visiting_agent(module_clinic)
    with ExitStack() as stack:
        yield Desk(module_clinic, stack)


@dataclass(frozen=True)
class Wrong:
    """A credential that does not identify anybody: what the log says of it, and what HTTP's gate does.

    Args:
        token: Makes it, given the consultation, agent and server.
        reason: What the audit log names.
        at_gate: Whether the signature and claims alone show it; else the database does, behind the gate.
    """

    token: Callable[[Clinic, str, Expectation], str | None]
    reason: str
    at_gate: bool = True


def _grant(clinic: Clinic, session: str, row: Expectation, **changes: Any) -> str:
    return clinic.tokens.grant(session, row.agent, audience=row.server, **changes)


STRANGERS: dict[str, Wrong] = {
    "no credential": Wrong(lambda clinic, session, row: None, "none"),
    "an expired grant": Wrong(
        lambda clinic, session, row: _grant(
            clinic, session, row, iat=int(time.time()) - 1_000, exp=int(time.time()) - 100
        ),
        "expired",
    ),
    "a forged grant": Wrong(
        lambda clinic, session, row: clinic.tokens.forged(clinic.tokens.claims(session, row.agent, "P001", row.server)),
        "bad-signature",
    ),
    "a grant for another server": Wrong(
        lambda clinic, session, row: _grant(clinic, session, row, aud="somewhere-else"), "wrong-audience"
    ),
    "a grant about another patient than the consultation's": Wrong(
        lambda clinic, session, row: _grant(clinic, session, row, patient="P002"), "grant-does-not-match", False
    ),
    "a grant for a consultation nobody opened": Wrong(
        lambda clinic, session, row: _grant(clinic, "C-nobody", row), "grant-does-not-match", False
    ),
    "a grant for an agent nobody registered": Wrong(
        lambda clinic, session, row: clinic.tokens.grant(session, "ghost_agent", audience=row.server),
        "unknown-agent",
        False,
    ),
}

TRANSPORTS = ("stdio", "http")
ON_SSE = ("get_patient_record", "record_prescription")
TOOLS_ON = [(tool, transport) for tool in EXPECTED for transport in TRANSPORTS] + [(tool, "sse") for tool in ON_SSE]
each_tool = pytest.mark.parametrize(("tool", "transport"), TOOLS_ON)
AGENTS_TOOLS = [at for at in TOOLS_ON if EXPECTED[at[0]].person is None]
PEOPLES_TOOLS = [at for at in TOOLS_ON if EXPECTED[at[0]].person is not None]
each_tool_about_a_record = pytest.mark.parametrize(
    ("tool", "transport"), [at for at in TOOLS_ON if EXPECTED[at[0]].foreign is not None]
)
each_agents_tool = pytest.mark.parametrize(("tool", "transport"), AGENTS_TOOLS)
each_peoples_tool = pytest.mark.parametrize(("tool", "transport"), PEOPLES_TOOLS)


def test_the_table_has_a_row_for_every_tool_and_no_other() -> None:
    served = {tool: name for name, load in SERVERS.items() for tool in load().tools}
    assert {tool: row.server for tool, row in EXPECTED.items()} == served


@each_tool
def test_the_right_grant_is_answered_and_recorded_before_and_after(desk: Desk, tool: str, transport: str) -> None:
    row, clinic = EXPECTED[tool], desk.clinic
    caller = desk.caller(row.server, transport)
    session = clinic.consult(notes=NOTES)
    log = AuditReader(clinic, row.server)
    arguments = row.own(clinic, session)
    log.mark()
    answer = caller.call(tool, arguments, row.right(clinic, session))
    assert answer.code == "ok", answer.text
    assert log.phases() == [INTENT, DONE]
    intent, outcome = log.events()
    assert intent["call_id"] == outcome["call_id"]
    for event in (intent, outcome):
        assert event["call"]["tool"] == tool
        if row.person is None:
            assert event["agent"] == {"id": row.agent}
            assert event["session"]["consultation"] == session
        else:
            assert event["principal"]["id"] == row.person
            assert "agent" not in event
        assert event["network"]["transport"] == transport
    assert intent.get("patients", []) == ([row.about] if row.patients == "asked" else [])
    assert (row.about in outcome.get("patients", [])) is (row.patients is not None)
    assert intent["decision"]["effect"] == "allow"
    assert intent["decision"]["errors"] == 0
    assert len(intent["decision"]["policies"]) == 1
    assert outcome["outcome"] == {"status": "ok"}
    if row.writes is not None:
        written = clinic.execute(f"SELECT id FROM {row.writes} WHERE call_id = ?", intent["call_id"])  # noqa: S608
        assert [entry["id"] for entry in written] == [outcome["effect"]["row"]]


@each_tool_about_a_record
def test_somebody_elses_record_is_refused_in_the_same_words_whether_it_exists_or_not(
    desk: Desk, tool: str, transport: str
) -> None:
    row, clinic = EXPECTED[tool], desk.clinic
    assert row.foreign is not None
    caller = desk.caller(row.server, transport)
    session = clinic.consult(notes=NOTES)
    words: list[tuple[str, str, str | None]] = []
    texts: list[str] = []
    for arguments in row.foreign(clinic):
        log = AuditReader(clinic, row.server)
        answer = caller.call(tool, arguments, row.right(clinic, session))
        assert answer.code == "refused"
        assert log.phases() == [REFUSED]
        event = log.events()[0]
        assert row.deny in event["decision"]["policies"]
        assert event["decision"]["effect"] == "deny"
        assert event["call"]["tool"] == tool
        words.append(answer.words)
        texts.append(answer.text)
    assert words[0] == words[1]
    assert texts[0] == texts[1]


@each_agents_tool
def test_the_grant_of_another_session_reaches_only_that_session(desk: Desk, tool: str, transport: str) -> None:
    """Where the arguments name a record it is refused; where they name none, the call is that other session's."""
    row, clinic = EXPECTED[tool], desk.clinic
    caller = desk.caller(row.server, transport)
    mine, other = clinic.consult(notes=NOTES), clinic.consult("P002", notes=NOTES)
    token = clinic.tokens.grant(other, row.agent, "P002", audience=row.server)
    log = AuditReader(clinic, row.server)
    answer = caller.call(tool, row.own(clinic, mine), token)
    events = log.events()
    assert {event["session"]["consultation"] for event in events} == {other}
    if row.foreign is None:
        assert answer.code == "ok"
        assert log.phases() == [INTENT, DONE]
    else:
        assert answer.code == "refused"
        assert log.phases() == [REFUSED]
        assert row.deny in events[0]["decision"]["policies"]


@each_agents_tool
def test_a_closed_consultation_ends_its_grants(desk: Desk, tool: str, transport: str) -> None:
    row, clinic = EXPECTED[tool], desk.clinic
    caller = desk.caller(row.server, transport)
    session = clinic.consult(notes=NOTES, closed=True)
    log = AuditReader(clinic, row.server)
    answer = caller.call(tool, row.own(clinic, session), _grant(clinic, session, row))
    assert answer.code == "refused"
    assert "closed" in answer.text
    assert log.phases() == [REFUSED]
    assert "no-closed-consultation" in log.events()[0]["decision"]["policies"]


@each_tool
def test_the_wrong_agent_or_person_is_refused_by_default(desk: Desk, tool: str, transport: str) -> None:
    row, clinic = EXPECTED[tool], desk.clinic
    caller = desk.caller(row.server, transport)
    session = clinic.consult(notes=NOTES)
    arguments = row.own(clinic, session)
    log = AuditReader(clinic, row.server)
    answer = caller.call(tool, arguments, row.wrong(clinic, session))
    assert answer.code == "refused"
    assert log.phases() == [REFUSED]
    event = log.events()[0]
    assert event["decision"]["policies"] == ["default-deny"]
    assert (event["agent"] if row.person is None else event["principal"])["id"] == row.wrong_agent


@each_peoples_tool
def test_what_people_do_in_person_is_refused_to_every_agent(desk: Desk, tool: str, transport: str) -> None:
    row, clinic = EXPECTED[tool], desk.clinic
    caller = desk.caller(row.server, transport)
    session = clinic.consult(notes=NOTES)
    arguments = row.own(clinic, session)
    for agent in ("intake_agent", "prescription_agent"):
        log = AuditReader(clinic, row.server)
        answer = caller.call(tool, arguments, clinic.tokens.grant(session, agent, audience=row.server))
        assert answer.code == "refused"
        assert "with their own token" in answer.text
        assert log.phases() == [REFUSED]
        assert "no-agent-in-person" in log.events()[0]["decision"]["policies"]


@each_tool
@pytest.mark.parametrize("kind", STRANGERS)
def test_a_credential_that_identifies_nobody_is_refused_and_recorded(
    desk: Desk, tool: str, transport: str, kind: str
) -> None:
    row, wrong, clinic = EXPECTED[tool], STRANGERS[kind], desk.clinic
    caller = desk.caller(row.server, transport)
    session = clinic.consult(notes=NOTES)
    log = AuditReader(clinic, row.server)
    token, arguments = wrong.token(clinic, session, row), row.own(clinic, session)
    log.mark()
    if not wrong.at_gate:
        answer = caller.call(tool, arguments, token)
    elif transport == "sse":
        answer = caller.post("/messages/?session_id=00000000000000000000000000000000", tool, arguments, token)
    else:
        answer = caller.knock(tool, arguments, token)
    if wrong.at_gate and transport != "stdio":
        assert answer.code == "http-401"
        assert answer.content["error"] == "invalid_token"
        assert log.phases() == [GATE]
    else:
        assert answer.code == "unauthenticated"
        assert answer.words[2], "it says how to get a credential"
        assert log.phases() == [STRANGER]
        assert log.events()[0]["call"]["tool"] == tool
    event = event_of(log.events(), "unauthenticated")
    assert event["reason"] == wrong.reason
    assert "principal" not in event
    assert event["network"]["transport"] == transport


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("server", SERVERS)
def test_an_unknown_tool_and_a_bad_argument_are_refused_and_recorded(desk: Desk, server: str, transport: str) -> None:
    clinic = desk.clinic
    tool, row = next((tool, row) for tool, row in EXPECTED.items() if row.server == server)
    caller = desk.caller(server, transport)
    session = clinic.consult(notes=NOTES)
    token = _grant(clinic, session, row)
    log = AuditReader(clinic, server)
    assert caller.call("drop_everything", {}, token).code == "unknown_tool"
    assert log.phases() == [("decision", "call.unknown_tool")]
    assert "tool" not in log.events()[0]["call"], "a name the caller chose is not on the record"
    log.mark()
    arguments = row.own(clinic, session)
    log.mark()
    answer = caller.call(tool, {**arguments, "clinic_id": "elsewhere"}, token)
    assert answer.code == "invalid_arguments"
    assert "elsewhere" not in answer.text
    assert log.phases() == [("decision", "call.invalid_arguments")]
