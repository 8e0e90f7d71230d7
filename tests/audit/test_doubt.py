"""Which calls are in doubt: found once, remembered on the log, and never missed for it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from clinic_mcp.audit.event import Draft, Phase, uuid7
from clinic_mcp.audit.log import AuditLog
from clinic_mcp.audit.questions import doubt
from clinic_mcp.audit.questions.doubt import Doubt, Settled, in_doubt, settled
from support.clinic import Clinic
from support.log import AuditReader
from support.written import answered, intent, outcome, writing

WHO = {"type": "Operator", "id": "test", "clinic": "main"}


@pytest.fixture(autouse=True)
def _small_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a log of some dozens of events were long."""
    monkeypatch.setattr(doubt, "WORTH", 10)
    monkeypatch.setattr(doubt, "LATE", 4)
    monkeypatch.setattr(doubt, "REMEMBERED", 3)


def look(log: AuditLog, limit: int = 50, before: int | None = None, *, mark: bool = True) -> Doubt:
    """Ask, and leave the mark as the command does."""
    with log.database.read() as connection:
        found = in_doubt(connection, limit=limit, before=before)
    if mark and found.mark is not None:
        log.append(found.mark.draft(WHO))
    return found


def opened(log: AuditLog, count: int = 1) -> list[str]:
    call_ids = [uuid7() for _ in range(count)]
    log.append(*(intent(call_id, "P001") for call_id in call_ids))
    return call_ids


def quiet(log: AuditLog, calls: int = 20) -> None:
    log.append(*(draft for _ in range(calls) for draft in answered("P002")))


def ids(found: Doubt) -> list[str]:
    return [call.call_id for call in found.page.calls]


def test_an_intent_without_an_outcome_is_in_doubt_until_it_has_one(clinic: Clinic) -> None:
    with writing(clinic) as log:
        assert (look(log).count, look(log).page.calls) == (0, [])
        (call_id,) = opened(log)
        found = look(log)
        assert (ids(found), found.count, found.page.calls[0].ended) == ([call_id], 1, "in doubt")
        log.append(outcome(call_id, "P001"))
        assert ids(look(log)) == []


def test_what_was_looked_through_is_not_read_again_and_what_was_open_is_not_forgotten(clinic: Clinic) -> None:
    with writing(clinic) as log:
        (old,) = opened(log)
        quiet(log)
        assert ids(look(log)) == [old]
        with log.database.read() as connection:
            mark = settled(connection)
        assert mark.through > 0
        assert len(mark.open) == 1
        (new,) = opened(log)
        quiet(log)
        assert ids(look(log)) == [new, old]
        log.append(outcome(old, "P001"))
        assert ids(look(log)) == [new]
        assert ids(look(log, mark=False)) == ids(look(log, mark=False)), "asking changes no answer"


def test_more_open_calls_than_a_mark_can_name_are_all_found(clinic: Clinic) -> None:
    with writing(clinic) as log:
        many: list[str] = []
        for _ in range(4):
            many += opened(log, 2)
            quiet(log)
        for _ in range(3):
            found = look(log)
            assert (ids(found), found.count) == (list(reversed(many)), 8)
        with log.database.read() as connection:
            assert len(settled(connection).open) <= 3
        for call_id in many[:6]:
            log.append(outcome(call_id, "P001"))
        assert ids(look(log)) == ids(look(log)) == [many[7], many[6]]


def test_calls_in_doubt_come_in_pages(clinic: Clinic) -> None:
    with writing(clinic) as log:
        many = opened(log, 7)
        quiet(log)
        paged: list[str] = []
        before: int | None = None
        for _ in range(4):
            found = look(log, 2, before)
            assert found.count == 7
            paged += ids(found)
            before = found.page.more
            if before is None:
                break
        assert paged == list(reversed(many))


def test_a_mark_is_put_on_the_log_only_when_it_saves_something(clinic: Clinic) -> None:
    with writing(clinic) as log:
        quiet(log)
        assert look(log).mark is not None
        assert look(log).mark is None
        reader = AuditReader(clinic)
        quiet(log, 1)
        assert look(log).mark is None
        assert [one["code"] for one in reader.events()] == ["call.allowed", "call.ok"]


def test_only_a_mark_is_taken_for_one(clinic: Clinic) -> None:
    with writing(clinic) as log:
        (call_id,) = opened(log)
        told: dict[str, Any] = {"principal": WHO, "settled": {"through": 10**6, "open": []}}
        log.append(Draft(Phase.ADMIN, doubt.SETTLED, uuid7(), told))
        assert ids(look(log)) == [call_id]
        with log.database.read() as connection:
            assert settled(connection) == Settled()


def test_the_command_leaves_the_question_and_the_mark_on_the_log(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    with writing(clinic) as log:
        (call_id,) = opened(log)
        quiet(log, doubt.WORTH)
    reader = AuditReader(clinic)
    shown = clinic.json("audit", "in-doubt")
    assert ([call["call_id"] for call in shown["calls"]], shown["count"], shown["more"]) == ([call_id], 1, None)
    codes = [one["code"] for one in reader.events()]
    assert codes == ["audit.in-doubt", "audit.settled"] if not clinic.url else codes[0] == "audit.in-doubt"
    assert json.loads(clinic.run("audit", "verify", "--json", code=3).stdout)["in_doubt"] == [call_id]
