"""A verdict: given once, by somebody else, with its event in the same transaction; and what of it `verify` notices."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from html import unescape

import pytest
from support.audited_day import Day
from support.clinic import Clinic
from support.log import AuditReader
from support.review import auditor, reviewing
from support.servers import Process

WHY = "The ambulance's protocol was there"


@pytest.fixture
def page(day: Day) -> Iterator[Process]:
    with reviewing(day.clinic) as process:
        yield process


def verified(clinic: Clinic, code: int | None = 0) -> str:
    clinic.run("audit", "sequence")
    return str(clinic.json("audit", "verify", code=code or 0)["problem"])


def row(day: Day, item: str) -> tuple[object, ...]:
    found = day.clinic.execute("SELECT verdict, verdict_reason, reviewer_id FROM review_items WHERE id = ?", item)[0]
    return found["verdict"], found["verdict_reason"], found["reviewer_id"]


def test_an_auditor_judges_a_broken_glass_and_it_is_on_the_record(day: Day, page: Process) -> None:
    item, tan = day.item("break-glass"), auditor(page, day.clinic)
    log = AuditReader(day.clinic, "review")
    answer = tan.post(f"/queue/{item}", verdict="justified", reason=WHY)
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/queue/{item}")
    assert row(day, item) == ("justified", WHY, "auditor-tan")
    event = log.events()[-1]
    assert (event["phase"], event["code"], event["patients"]) == ("review", "review.verdict", ["P002"])
    assert (event["review"]["item"], event["review"]["verdict"]) == (item, "justified")
    assert event["principal"]["id"] == "auditor-tan"
    assert WHY not in str(event)
    said = tan.get(f"/queue/{item}").text
    assert "✔</span> justified" in said
    assert "Wei Ling Tan" in said
    assert "Give the verdict" not in said
    assert verified(day.clinic) == "None"


def test_a_verdict_is_given_once_whoever_comes_together(day: Day, page: Process) -> None:
    item = day.item("override")
    visitors = [auditor(page, day.clinic) for _ in range(4)]

    def judge(number: int) -> int:
        word = "justified" if number % 2 else "not_justified"
        return visitors[number].post(f"/queue/{item}", verdict=word, reason=f"{WHY} {number}").status_code

    with ThreadPoolExecutor(4) as pool:
        answers = sorted(pool.map(judge, range(4)))
    assert answers == [303, 409, 409, 409]
    assert day.clinic.execute("SELECT count(*) AS n FROM audit_events WHERE phase = 'review'")[0]["n"] == 1
    assert verified(day.clinic) == "None"


def test_nobody_judges_what_they_did_themselves(day: Day, page: Process) -> None:
    day.clinic.execute("UPDATE review_items SET person_id = 'auditor-tan' WHERE kind = 'override'")
    item, tan = day.item("override"), auditor(page, day.clinic)
    assert "another auditor judges it" in tan.get(f"/queue/{item}").text
    log = AuditReader(day.clinic, "review")
    assert tan.post(f"/queue/{item}", "/queue", verdict="justified", reason=WHY).status_code == 403
    assert row(day, item) == (None, None, None)
    event = log.events()[-1]
    assert (event["phase"], event["code"], event["decision"]["policies"]) == (
        "decision",
        "review.refused",
        ["own-case"],
    )


@pytest.mark.parametrize(
    ("verdict", "reason"),
    [("justified", " x "), ("justified", ""), ("perhaps", WHY), ("", WHY), ("justified", "x" * 1_001)],
)
def test_a_verdict_without_a_word_or_a_reason_is_none_and_what_was_written_stays(
    verdict: str, reason: str, day: Day, page: Process
) -> None:
    item, tan = day.item("break-glass"), auditor(page, day.clinic)
    answer = tan.post(f"/queue/{item}", verdict=verdict, reason=reason)
    assert answer.status_code == 400
    assert f">{reason}</textarea>" in unescape(answer.text)
    assert row(day, item) == (None, None, None)


def test_a_verdict_that_cannot_be_recorded_is_not_given(day: Day, page: Process) -> None:
    item, tan = day.item("break-glass"), auditor(page, day.clinic)
    form = tan.get(f"/queue/{item}").text.split('name="form" value="')[1].split('"')[0]
    with day.clinic.write_lock():
        answer = tan.http.post(f"/queue/{item}", data={"form": form, "verdict": "justified", "reason": WHY})
    assert answer.status_code == 503
    assert row(day, item) == (None, None, None)


def test_the_operator_judges_without_a_browser(day: Day) -> None:
    item, log = day.item("break-glass"), AuditReader(day.clinic, "audit")
    told = day.clinic.json("audit", "verdict", item, "not-justified", "--reason", WHY)
    assert told == {"item": item, "verdict": "not_justified"}
    assert row(day, item) == ("not_justified", WHY, None)
    (event,) = log.events()
    assert (event["code"], event["principal"]["type"]) == ("review.verdict", "Operator")
    again = day.clinic.run("audit", "verdict", item, "justified", "--reason", WHY, code=1)
    assert "has a verdict already" in again.stderr
    assert "no such item" in day.clinic.run("audit", "verdict", "V-0", "justified", "--reason", WHY, code=1).stderr
    assert verified(day.clinic) == "None"


ATTACKS = {
    "a verdict nobody gave": (
        False,
        "UPDATE review_items SET verdict = 'justified', reviewer_id = 'auditor-tan',"
        " reviewed_at = '2026-11-26T10:00:00.000Z' WHERE kind = 'break-glass'",
        "past the review",
    ),
    "another verdict": (
        True,
        "UPDATE review_items SET verdict = 'justified' WHERE kind = 'break-glass'",
        "was altered or removed",
    ),
    "no verdict any more": (
        True,
        "UPDATE review_items SET verdict = NULL WHERE kind = 'break-glass'",
        "was altered or removed",
    ),
    "another reviewer": (
        True,
        "UPDATE review_items SET reviewer_id = 'auditor-tan' WHERE kind = 'break-glass'",
        "was altered or removed",
    ),
    "another day": (
        True,
        "UPDATE review_items SET reviewed_at = '2020-01-01T00:00:00.000Z' WHERE kind = 'break-glass'",
        "was altered or removed",
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_verify_notices_a_verdict_that_no_event_explains(attack: str, day: Day) -> None:
    given, statement, wording = ATTACKS[attack]
    if given:
        day.clinic.run("audit", "verdict", day.item("break-glass"), "not-justified", "--reason", WHY)
    day.clinic.execute(statement)
    assert wording in verified(day.clinic, 1)
