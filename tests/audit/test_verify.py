"""`audit verify` against somebody with the file and a SQL prompt."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clinic_mcp.audit import keys
from clinic_mcp.audit.event import GENESIS, canonical, project, uuid7
from clinic_mcp.audit.findings import Report, Verdict
from clinic_mcp.audit.verify import verify
from support.attacks import Event, altered, drop_triggers, events, paths, rewrite
from support.calls import EXPECTED, NOTES, PRESCRIPTION
from support.clinic import OPERATOR, Clinic
from support.servers import connected


@pytest.fixture(scope="module")
def told(module_clinic: Clinic) -> Clinic:
    """A clinic with every kind of event on record, every chain followed by a later start of its server."""
    clinic = module_clinic
    session = clinic.consult(notes=NOTES)
    for server in ("patient-records", "prescriptions"):
        agent = "intake_agent" if server == "patient-records" else "prescription_agent"
        token = clinic.tokens.grant(session, agent, audience=server)
        with connected(clinic, server, "stdio") as caller:
            for tool, row in EXPECTED.items():
                if row.server == server:
                    arguments = row.own(clinic, session)
                    assert caller.call(tool, arguments, row.right(clinic, session)).code == "ok"
                    assert caller.call(tool, arguments, None).code == "unauthenticated"
            if server == "patient-records":
                assert caller.call("get_patient_record", {"patient_id": "P002"}, token).code == "refused"
                assert caller.call("get_patient_record", {"patient_id": "junk"}, token).code == "invalid_arguments"
            else:
                other = {"session_id": session, "prescription": f"{PRESCRIPTION} twice"}
                assert caller.call("record_prescription", other, token).code == "conflict"
    with clinic.desk() as desk:
        desk.close(OPERATOR, session)
    for server in ("patient-records", "prescriptions"):
        clinic.run("serve", server)  # its first event names the last one before
    clinic.consult()
    clinic.run("audit", "list")
    clinic.run("audit", "verify")
    return clinic


@pytest.fixture
def copied(told: Clinic, tmp_path: Path) -> Clinic:
    shutil.copytree(told.home, tmp_path / "home")
    return Clinic(tmp_path / "home")


@pytest.fixture
def prompt(copied: Clinic) -> Iterator[sqlite3.Connection]:
    """A SQL prompt whose user dropped the triggers first."""
    with copied.sql() as connection:
        drop_triggers(connection)
        yield connection


def report(clinic: Clinic) -> Report:
    pinned = list(keys.pinned(clinic.settings.keys / keys.PUBLIC))
    with clinic.database() as database, database.read() as connection:
        return verify(connection, pinned)


def followed(connection: sqlite3.Connection) -> list[tuple[int, Event]]:
    """The events another event of their server follows. The last of each is the tree's to guard."""
    found = events(connection)
    last = {event["writer"]["server"]: row_id for row_id, event in found}
    return [(row_id, event) for row_id, event in found if row_id not in last.values()]


def pick(connection: sqlite3.Connection, **wanted: str) -> tuple[int, Event]:
    """The first followed event whose top-level fields are these."""
    return next(
        (row_id, event)
        for row_id, event in followed(connection)
        if all(event.get(name) == value for name, value in wanted.items())
    )


def delete(connection: sqlite3.Connection, row_id: int) -> None:
    connection.execute("DELETE FROM audit_events WHERE id = ?", (row_id,))


def test_a_log_nobody_touched_is_whole(copied: Clinic) -> None:
    found = report(copied)
    assert (found.verdict, found.problem, found.in_doubt) == (Verdict.WHOLE, None, [])
    assert found.events > 20
    assert found.writers >= 6


def test_the_command_says_so_and_exits_0(copied: Clinic) -> None:
    shown = copied.json("audit", "verify")
    assert shown["verdict"] == "whole"


def test_the_command_names_the_altered_event_and_exits_1(copied: Clinic, prompt: sqlite3.Connection) -> None:
    row_id, event = pick(prompt, phase="decision")
    prompt.execute("UPDATE audit_events SET decision = 'allow' WHERE id = ?", (row_id,))
    shown = copied.json("audit", "verify", code=1)
    assert shown["verdict"] == "altered"
    assert shown["event_id"] == event["event_id"]
    assert event["event_id"] in shown["problem"]


@pytest.mark.parametrize(
    "column",
    "clinic_id call_id phase code recorded server boot_id principal agent consultation tool decision policies outcome"
    " event_id patient".split(),
)
def test_editing_only_a_column_is_seen(copied: Clinic, prompt: sqlite3.Connection, column: str) -> None:
    row_id, event = pick(prompt, phase="intent")
    prompt.execute(f"UPDATE audit_events SET {column} = 'x' WHERE id = ?", (row_id,))  # noqa: S608
    found = report(copied)
    assert found.verdict is Verdict.ALTERED
    assert found.event_id in (event["event_id"], "x")


def test_a_null_column_is_seen(copied: Clinic, prompt: sqlite3.Connection) -> None:
    row_id, event = pick(prompt, phase="intent")
    prompt.execute("UPDATE audit_events SET agent = NULL WHERE id = ?", (row_id,))
    assert report(copied).event_id == event["event_id"]


@pytest.mark.parametrize("leaf", [b"", b"{}", b"[]", b"null", b"\xff", b'{"a":1.5}', b'{"v":1,"v":1}'], ids=repr)
def test_bytes_that_are_no_event_are_seen(copied: Clinic, prompt: sqlite3.Connection, leaf: bytes) -> None:
    row_id, event = pick(prompt, phase="intent")
    prompt.execute("UPDATE audit_events SET leaf = ? WHERE id = ?", (leaf, row_id))
    found = report(copied)
    assert found.verdict is Verdict.ALTERED
    assert found.event_id == event["event_id"]


def test_the_same_event_in_other_bytes_is_seen(copied: Clinic, prompt: sqlite3.Connection) -> None:
    row_id, event = pick(prompt, phase="intent")
    prompt.execute("UPDATE audit_events SET leaf = ? WHERE id = ?", (json.dumps(event).encode(), row_id))
    assert report(copied).event_id == event["event_id"]


def test_any_field_of_any_followed_event_altered_well_is_seen_and_named(
    copied: Clinic, prompt: sqlite3.Connection
) -> None:
    """Bytes canonical, columns following: only the chain shows it. Every field of every event, one at a time."""
    silent: list[str] = []
    misnamed: list[str] = []
    for row_id, event in followed(prompt):
        for path in paths(event)[:: 4 if copied.url else 1]:  # a check is slower on PostgreSQL
            prompt.execute("BEGIN")
            try:
                changed = altered(event, path)
                rewrite(prompt, row_id, lambda _old, new=changed: new)  # type: ignore[misc]
                prompt.execute("COMMIT")
            except (sqlite3.IntegrityError, KeyError, TypeError, ValueError, AttributeError):
                prompt.execute("ROLLBACK")
                continue
            found = report(copied)
            where = f"{event['phase']} {event['code']} {'.'.join(map(str, path))}: {found.problem}"
            if found.verdict is not Verdict.ALTERED:
                silent.append(where)
            # A changed place in the chain or an own id leaves two suspects; any other change has one.
            elif path[0] not in ("writer", "event_id") and event["event_id"] not in (found.problem or ""):
                misnamed.append(where)
            rewrite(prompt, row_id, lambda _old, old=event: old)  # type: ignore[misc]
    assert report(copied).verdict is Verdict.WHOLE, "the test put everything back"
    assert not silent
    assert not misnamed, f"{len(misnamed)} alterations name another event, e.g. {misnamed[0]}"


def test_the_last_event_of_a_chain_altered_well_is_seen_once_it_is_sequenced(copied: Clinic) -> None:
    copied.run("audit", "sequence")
    with copied.sql() as prompt:
        drop_triggers(prompt)
        row_id, event = [one for one in events(prompt) if one[1]["writer"]["server"] == "patient-records"][-1]
        rewrite(prompt, row_id, lambda event: {**event, "recorded": "2020-01-01T00:00:00.000Z"})
    found = report(copied)
    assert (found.verdict, found.event_id) == (Verdict.ALTERED, event["event_id"])


def test_a_refusal_turned_into_a_permission_is_seen(copied: Clinic, prompt: sqlite3.Connection) -> None:
    row_id, _event = pick(prompt, phase="decision", code="call.refused")

    def allow(event: Event) -> Event:
        return {
            **event,
            "phase": "intent",
            "code": "call.allowed",
            "decision": {**event["decision"], "effect": "allow"},
        }

    rewrite(prompt, row_id, allow)
    assert report(copied).verdict is Verdict.ALTERED


def test_an_event_deleted_from_the_middle_is_seen(copied: Clinic, prompt: sqlite3.Connection) -> None:
    for row_id, _event in followed(prompt):
        prompt.execute("BEGIN")
        rows = prompt.execute("SELECT * FROM audit_events WHERE id = ?", (row_id,)).fetchall()
        delete(prompt, row_id)
        prompt.execute("COMMIT")
        assert report(copied).verdict is Verdict.ALTERED, row_id
        marks = ", ".join("?" * len(rows[0]))
        prompt.execute(f"INSERT INTO audit_events VALUES ({marks})", tuple(rows[0]))  # noqa: S608
    assert report(copied).verdict is Verdict.WHOLE


def test_a_deletion_with_the_chain_renumbered_is_seen(copied: Clinic, prompt: sqlite3.Connection) -> None:
    row_id, event = pick(prompt, phase="decision")
    delete(prompt, row_id)
    for other, later in events(prompt):
        mine = later["writer"]
        if mine["boot_id"] == event["writer"]["boot_id"] and mine["seq"] > event["writer"]["seq"]:
            rewrite(prompt, other, lambda old: {**old, "writer": {**old["writer"], "seq": old["writer"]["seq"] - 1}})
    assert report(copied).verdict is Verdict.ALTERED


def test_an_intent_deleted_is_seen(copied: Clinic, prompt: sqlite3.Connection) -> None:
    row_id, event = pick(prompt, phase="intent")
    delete(prompt, row_id)
    found = report(copied)
    assert found.verdict is Verdict.ALTERED
    assert event["event_id"] != found.event_id


def test_two_events_swapped_are_seen(copied: Clinic, prompt: sqlite3.Connection) -> None:
    _row, decision = pick(prompt, phase="decision")
    boot = decision["writer"]["boot_id"]
    first, second = [row_id for row_id, event in events(prompt) if event["writer"]["boot_id"] == boot][1:3]
    prompt.execute("UPDATE audit_events SET id = -1 WHERE id = ?", (first,))
    prompt.execute("UPDATE audit_events SET id = ? WHERE id = ?", (first, second))
    prompt.execute("UPDATE audit_events SET id = ? WHERE id = -1", (second,))
    assert report(copied).verdict is Verdict.ALTERED


def test_an_event_put_in_twice_is_seen(copied: Clinic, prompt: sqlite3.Connection) -> None:
    row_id, event = pick(prompt, phase="intent")
    fresh = {**event, "event_id": "e" * 36, "call_id": "c" * 36}
    row = dict(prompt.execute("SELECT * FROM audit_events WHERE id = ?", (row_id,)).fetchone())
    columns = {**row, **project(fresh, canonical(fresh)), "writer_seq": 999}
    del columns["id"]
    marks = ", ".join(f":{name}" for name in columns)
    prompt.execute(f"INSERT INTO audit_events ({', '.join(columns)}) VALUES ({marks})", columns)  # noqa: S608
    assert report(copied).verdict is Verdict.ALTERED


def test_a_forged_start_beside_a_server_s_chain_is_seen(copied: Clinic, prompt: sqlite3.Connection) -> None:
    """A new writer that continues from nothing, to hide what came before it."""
    _row_id, event = pick(prompt, phase="intent")
    forged = {**event, "event_id": uuid7(), "call_id": uuid7(), "phase": "lifecycle"}
    forged["writer"] = {**event["writer"], "boot_id": uuid7(), "seq": 0, "prev": GENESIS}
    columns = project(forged, canonical(forged))
    marks = ", ".join(f":{name}" for name in columns)
    prompt.execute(f"INSERT INTO audit_events ({', '.join(columns)}) VALUES ({marks})", columns)  # noqa: S608
    assert report(copied).verdict is Verdict.ALTERED


def _forget_policy(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM audit_policy_texts WHERE rowid = 1")


def _edit_policy(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE audit_policy_texts SET text = text || '// allowed' WHERE rowid = 1")


def _index_nobody(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO audit_event_patients VALUES ('P003', ?)", ("0" * 36,))


def _index_more(connection: sqlite3.Connection) -> None:
    _row_id, event = pick(connection, phase="intent")
    connection.execute("INSERT INTO audit_event_patients VALUES ('P003', ?)", (event["event_id"],))


@pytest.mark.parametrize("attack", [_forget_policy, _edit_policy, _index_nobody, _index_more])
def test_what_stands_beside_the_events_is_checked_too(
    copied: Clinic, prompt: sqlite3.Connection, attack: Callable[[sqlite3.Connection], None]
) -> None:
    attack(prompt)
    assert report(copied).verdict is Verdict.ALTERED
    assert copied.run("audit", "verify", code=1).returncode == 1


def cut_after(connection: sqlite3.Connection, tool: str) -> Event:
    """Remove what patient-records wrote after its last intent of a tool; that intent."""
    mine = [one for one in events(connection) if one[1]["writer"]["server"] == "patient-records"]
    row_id, event = [one for one in mine if one[1]["phase"] == "intent" and one[1]["call"]["tool"] == tool][-1]
    for other, _later in mine:
        if other > row_id:
            delete(connection, other)
    return event


def test_an_intent_whose_outcome_is_missing_at_the_end_is_in_doubt(copied: Clinic, prompt: sqlite3.Connection) -> None:
    """The end of a chain may be what a killed process never wrote: in doubt, exit code 3, not altered."""
    event = cut_after(prompt, "find_patients")
    prompt.execute("DELETE FROM emergency_access")
    prompt.execute("DELETE FROM review_items")
    shown = copied.json("audit", "verify", code=3)
    assert shown["verdict"] == "in_doubt"
    assert event["call_id"] in shown["in_doubt"]


def test_an_intent_whose_row_is_there_and_whose_outcome_is_not_was_altered(
    copied: Clinic, prompt: sqlite3.Connection
) -> None:
    """A row and its call's outcome are committed together."""
    cut_after(prompt, "request_emergency_access")
    shown = copied.json("audit", "verify", code=1)
    assert "emergency_access" in shown["problem"]


def test_an_outcome_deleted_from_the_middle_is_altered_and_not_merely_in_doubt(
    copied: Clinic, prompt: sqlite3.Connection
) -> None:
    row_id, _event = pick(prompt, phase="outcome")
    delete(prompt, row_id)
    assert report(copied).verdict is Verdict.ALTERED


def test_looking_is_recorded_and_names_who_looked(copied: Clinic) -> None:
    copied.run("audit", "list", "--patient", "P001")
    with copied.sql() as connection:
        _row, event = events(connection)[-1]
    assert (event["phase"], event["code"]) == ("audit_read", "audit.list")
    assert event["principal"]["type"] == "Operator"
    assert event["asked"]["patient"] == "P001"


def test_verify_of_a_log_that_cannot_be_read_is_exit_4(copied: Clinic, prompt: sqlite3.Connection) -> None:
    prompt.execute("ALTER TABLE audit_events RENAME TO gone")
    done = copied.run("audit", "verify", code=4)
    assert "Traceback" not in done.stderr
    done = copied.run("audit", "verify", code=4, CLINIC_HOME=str(copied.home / "nowhere"))
    assert "clinic-mcp init" in done.stderr
