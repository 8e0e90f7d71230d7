"""Detail: what a commitment is to, kept where the operator reads and erases it, and the servers only put it."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from clinic_mcp.audit.event import uuid7
from clinic_mcp.audit.findings import Verdict
from clinic_mcp.core.authorizer import authorizer
from clinic_mcp.core.clinic import timestamp
from clinic_mcp.core.grants import role
from support import databases
from support.aged import without_triggers
from support.calls import EXPECTED, NOTES
from support.clinic import COMMAND, Clinic
from support.servers import connected, headers, request, serving
from support.signed import report, sign
from support.waiting import eventually

KEEPING = {"CLINIC_AUDIT_DETAIL": "all"}
SECRET = "She told me about the spring of nineteen eighty-four"


def work(clinic: Clinic, session: str) -> None:
    """Every tool of two servers about one patient, with detail kept."""
    for server in ("patient-records", "prescriptions"):
        with connected(clinic, server, "stdio", **KEEPING) as caller:
            for tool, row in EXPECTED.items():
                if row.server == server and tool != "request_emergency_access":  # it is about another one
                    assert caller.call(tool, row.own(clinic, session), row.right(clinic, session)).code == "ok"


@pytest.fixture(scope="module")
def kept(module_clinic: Clinic) -> Clinic:
    clinic = module_clinic
    work(clinic, clinic.consult(notes=NOTES))
    sign(clinic)
    return clinic


@pytest.fixture
def copied(kept: Clinic, tmp_path: Path) -> Clinic:
    shutil.copytree(kept.home, tmp_path / "home")
    return Clinic(tmp_path / "home")


def bodies(clinic: Clinic) -> int:
    return int(clinic.execute("SELECT count(*) FROM audit_detail")[0][0])


def verified(clinic: Clinic) -> str | None:
    found = report(clinic, details=True)
    assert (found.verdict is Verdict.WHOLE) == (found.problem is None)
    return found.problem


def of(clinic: Clinic, phase: str, tool: str = "get_patient_record") -> str:
    rows = clinic.execute("SELECT event_id FROM audit_events WHERE phase = ? AND tool = ?", phase, tool)
    return str(rows[0]["event_id"])


def test_nothing_is_kept_unless_it_was_asked_for(clinic: Clinic) -> None:
    session = clinic.consult(notes=NOTES)
    row = EXPECTED["get_patient_record"]
    for setting, parts in (
        ({}, set()),
        ({"CLINIC_AUDIT_DETAIL": "arguments"}, {"arguments"}),
        (KEEPING, {"arguments", "result"}),
    ):
        clinic.execute("DELETE FROM audit_detail")
        with connected(clinic, "patient-records", "stdio", **setting) as caller:
            assert caller.call("get_patient_record", row.own(clinic, session), row.right(clinic, session)).code == "ok"
        assert {one["part"] for one in clinic.execute("SELECT part FROM audit_detail")} == parts


def test_an_unknown_setting_is_refused_by_its_name(clinic: Clinic) -> None:
    done = clinic.run("serve", "pharmacy", code=4, CLINIC_AUDIT_DETAIL="everything")
    assert "CLINIC_AUDIT_DETAIL" in done.stderr


def test_every_commitment_opens_to_what_was_asked_and_answered(kept: Clinic) -> None:
    assert verified(kept) is None
    events = kept.execute("SELECT leaf FROM audit_events WHERE code IN ('call.allowed', 'call.ok')")
    assert bodies(kept) == len(events) > 0
    (asked,) = kept.json("audit", "detail", of(kept, "intent"))
    assert asked["body"] == {"patient_id": "P001"}
    (answered,) = kept.json("audit", "detail", of(kept, "outcome"))
    assert answered["body"]["name"] == "Alice Thompson"
    assert (answered["part"], answered["holds"]) == ("result", True)


def test_looking_at_detail_is_on_record_with_the_patient(copied: Clinic) -> None:
    event_id = of(copied, "outcome")
    copied.run("audit", "detail", event_id)
    row = copied.execute("SELECT leaf, patient FROM audit_events WHERE code = 'audit.detail' ORDER BY id DESC")[0]
    event = json.loads(row["leaf"])
    assert (event["phase"], row["patient"], event["asked"]["event"]) == ("audit_read", "P001", event_id)
    assert "no such event" in copied.run("audit", "detail", uuid7(), code=4).stderr
    refusal = copied.run("audit", "list", "--json").stdout
    assert "Alice" not in refusal


@pytest.mark.parametrize(
    "change",
    ["body = salt", "salt = body", "recorded = 'x'", "part = 'result' || part", "event_id = 'x'"],
)
def test_detail_that_was_altered_is_named(copied: Clinic, change: str) -> None:
    event_id = of(copied, "intent")
    with without_triggers(copied) as prompt:
        prompt.execute(f"UPDATE audit_detail SET {change} WHERE event_id = ?", (event_id,))  # noqa: S608
    shown = copied.json("audit", "verify", code=1)
    assert "not what the event committed to" in shown["problem"] or "not in the log" in shown["problem"]
    if change != "event_id = 'x'":
        assert shown["event_id"] == event_id
        assert "Altered" in copied.run("audit", "detail", event_id, code=1).stderr


def test_detail_of_a_call_that_was_never_made_is_named(copied: Clinic) -> None:
    statement = "INSERT INTO audit_detail (event_id, part, salt, body, recorded) VALUES (?, 'result', ?, ?, '')"
    copied.execute(statement, uuid7(), b"x", b"{}")
    assert "which is not in the log" in str(verified(copied))


def test_a_server_puts_detail_and_can_neither_read_nor_change_it(copied: Clinic) -> None:
    put = "INSERT INTO audit_detail (event_id, part, salt, body, recorded) VALUES ('{}', 'result', 'x', 'x', '')"
    taken = of(copied, "outcome")
    for statement in (
        "SELECT body FROM audit_detail",
        "SELECT count(*) FROM audit_detail",
        "UPDATE audit_detail SET body = 'x'",
        "DELETE FROM audit_detail",
        put.format(taken),
        put.replace("INSERT", "INSERT OR REPLACE").format(taken),
    ):
        with pytest.raises(Exception, match=r"not authorized|prohibited|denied|append-only|unique|syntax"):
            as_a_server(copied, statement)
    as_a_server(copied, put.format(uuid7()))


def as_a_server(clinic: Clinic, statement: str) -> None:
    if databases.POSTGRESQL:
        with psycopg.connect(databases.url(clinic.home, role("pharmacy")), autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[call-overload]
        return
    with sqlite3.connect(clinic.file) as plain:
        plain.set_authorizer(authorizer("pharmacy"))
        plain.execute(statement)


def test_calls_at_the_same_time_each_keep_their_own(clinic: Clinic) -> None:
    token = clinic.tokens.grant(clinic.consult(), "intake_agent", audience="patient-records")
    with serving(clinic, "patient-records", **KEEPING) as server, ThreadPoolExecutor(8) as pool:

        def call(_number: int) -> int:
            asked = request("get_patient_record", {"patient_id": "P001"})
            return httpx.post(f"{server.url}/mcp", json=asked, headers=headers(token), timeout=20).status_code

        assert set(pool.map(call, range(80))) == {200}
    assert bodies(clinic) == 160
    assert verified(clinic) is None


# Erasure


def test_a_patient_s_detail_goes_and_the_log_stays(copied: Clinic) -> None:
    before = [tuple(row) for row in copied.execute("SELECT * FROM audit_events ORDER BY id")]
    there = bodies(copied)
    done = copied.json("audit", "erase", "P001", "--reason", "gdpr-17-1-b")
    assert (done["bodies"], done["flushed"]) == (there, True)
    assert bodies(copied) == 0
    assert [tuple(row) for row in copied.execute("SELECT * FROM audit_events ORDER BY id")][: len(before)] == before
    (row,) = copied.execute("SELECT leaf, patient FROM audit_events WHERE code = 'audit.erased'")
    event = json.loads(row["leaf"])
    assert event["erased"] == {"reason": "gdpr-17-1-b", "bodies": done["bodies"], "events": done["events"]}
    assert (row["patient"], event["principal"]["type"]) == ("P001", "Operator")
    assert verified(copied) is None
    assert copied.json("audit", "erase", "P001", "--reason", "gdpr-17-1-b")["bodies"] == 0
    assert "No detail is kept" in copied.run("audit", "detail", of(copied, "intent"), code=4).stderr


def test_another_patient_s_detail_stays(copied: Clinic) -> None:
    there = bodies(copied)
    assert copied.json("audit", "erase", "P003", "--reason", "gdpr-17-1-a")["bodies"] == 0
    assert bodies(copied) == there


def test_of_a_search_that_found_several_the_words_go_too(copied: Clinic) -> None:
    """The intent names nobody: only the answer says whom the words of the search were about."""
    with connected(copied, "patient-records", "stdio", **KEEPING) as caller:
        token = copied.tokens.person("dr-osei", "patient-records")
        found = caller.call("find_patients", EXPECTED["find_patients"].own(copied, ""), token)
        assert found.code == "ok", found
    intent = of(copied, "intent", "find_patients")
    outcome = copied.execute("SELECT leaf FROM audit_events WHERE phase = 'outcome' AND tool = 'find_patients'")[0]
    patient = json.loads(outcome["leaf"])["patients"][0]
    copied.run("audit", "erase", patient, "--reason", "gdpr-17-1-d")
    assert copied.execute("SELECT count(*) FROM audit_detail WHERE event_id = ?", intent)[0][0] == 0
    assert verified(copied) is None


def test_one_event_s_detail_goes_alone(copied: Clinic) -> None:
    there, event_id = bodies(copied), of(copied, "outcome")
    done = copied.json("audit", "erase", "P001", "--event", event_id, "--reason", "gdpr-17-1-d")
    assert (done["bodies"], bodies(copied)) == (1, there - 1)


def test_a_reason_is_one_of_the_article_s_letters(copied: Clinic) -> None:
    assert "gdpr-17-1-a" in copied.run("audit", "erase", "P001", "--reason", "she asked", code=2).stderr
    assert "Name a patient" in copied.run("audit", "erase", "--reason", "gdpr-17-1-a", code=2).stderr


@pytest.mark.sqlite("its bytes are in one file and its write-ahead log")
def test_the_bytes_are_gone_from_the_file(copied: Clinic) -> None:
    session = copied.consult(notes=NOTES)
    statement = "INSERT INTO audit_detail (event_id, part, salt, body, recorded) VALUES (?, 'result', ?, ?, ?)"
    event = of(copied, "intent")
    text = json.dumps({"said": SECRET}).encode()
    for size in (1, 300):  # in a page of the table, and on pages of its own
        copied.execute("DELETE FROM audit_detail WHERE event_id = ?", event)
        copied.execute(statement, event, b"x" * 16, text * size, "")
        assert session
        assert holds(copied, SECRET)
        assert copied.json("audit", "erase", "P001", "--reason", "gdpr-17-1-c")["flushed"] is True
        assert not holds(copied, SECRET)


def holds(clinic: Clinic, text: str) -> bool:
    return any(text.encode() in path.read_bytes() for path in clinic.home.glob("clinic.db*"))


KILLED = """
from clinic_mcp.audit.on_record import asking
from clinic_mcp.audit.retention import detail, erasure
import os, signal
real = detail.erase
def erase(*arguments):
    real(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
detail.erase = erase
with asking("audit") as desk:
    erasure.erase(desk, "P001", None, erasure.Reason.OBJECTED)
"""


def test_killed_between_erasing_and_recording_it_did_nothing(copied: Clinic) -> None:
    there = bodies(copied)
    done = subprocess.run([sys.executable, "-c", KILLED], env=copied.environment, timeout=30, check=False)
    assert done.returncode == -9
    eventually(lambda: bodies(copied) == there, 10)
    assert verified(copied) is None
    assert copied.json("audit", "erase", "P001", "--reason", "gdpr-17-1-c")["bodies"] == there


def test_killed_at_any_moment_what_went_is_on_record(copied: Clinic) -> None:
    """Bodies and event go and come together: there is no erasure without its event."""
    command = [*COMMAND, "audit", "erase", "P001", "--reason", "gdpr-17-1-c"]
    for pause in (0.2, 0.5, 0.8, 1.2):
        process = subprocess.Popen(command, env=copied.environment, stdout=subprocess.DEVNULL)
        try:
            process.wait(pause)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        recorded = copied.execute("SELECT count(*) FROM audit_events WHERE code = 'audit.erased'")[0][0]
        assert (bodies(copied) == 0) == (recorded > 0)
        assert verified(copied) is None


# Its own retention


def test_detail_goes_after_its_own_days(copied: Clinic) -> None:
    there = bodies(copied)
    assert copied.json("audit", "purge")["details_expired"] == 0
    long_ago = timestamp(datetime.now(UTC) - timedelta(days=91))
    before: Callable[[], Any] = lambda: copied.json("audit", "ropa")["f_time_limits"]["detail_overdue"]  # noqa: E731
    assert before() == 0
    with without_triggers(copied) as prompt:
        prompt.execute("UPDATE audit_detail SET recorded = ? WHERE part = 'arguments'", (long_ago,))
        (aged,) = prompt.execute("SELECT count(*) FROM audit_detail WHERE part = 'arguments'").fetchone()
    assert before() == aged
    assert copied.json("audit", "purge", "--dry-run")["details_expired"] == aged
    assert copied.json("audit", "purge")["details_expired"] == aged
    assert bodies(copied) == there - aged
    (row,) = copied.execute("SELECT leaf FROM audit_events WHERE code = 'audit.detail_expired'")
    assert json.loads(row["leaf"])["expired"]["bodies"] == aged
    assert verified(copied) is None
