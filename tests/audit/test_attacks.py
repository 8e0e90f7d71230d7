"""Somebody with the database file, a SQL prompt and time: each attack has its exit code and its words."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from clinic_mcp.audit import checkpoint, keys, tree, witness
from clinic_mcp.audit.checkpoint import Checkpoint
from clinic_mcp.audit.event import uuid7
from clinic_mcp.audit.findings import Verdict
from clinic_mcp.audit.merkle import leaf_hash, root
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.attacks import Event, altered, drop_triggers, events, paths, rewrite
from support.clinic import Clinic
from support.databases import POSTGRESQL
from support.signed import regrow, report, sign, witness_of, work

Prompt = sqlite3.Connection


@pytest.fixture(scope="module")
def day(module_clinic: Clinic) -> Clinic:
    """Two checkpoints over calls of every kind, and events that came after them."""
    clinic = module_clinic
    work(clinic)
    sign(clinic)
    with sqlite3.connect(clinic.file) as source, sqlite3.connect(clinic.home.parent / "backup.db") as target:
        source.backup(target)
    work(clinic)
    clinic.run("audit", "list")
    sign(clinic)
    clinic.run("audit", "list")  # from here on under no checkpoint
    clinic.run("audit", "list")
    clinic.consult("P003")
    return clinic


@pytest.fixture
def copied(day: Clinic, tmp_path: Path) -> Clinic:
    shutil.copytree(day.home, tmp_path / "home")
    shutil.copy(witness_of(day), tmp_path / "home-witness.txt")
    return Clinic(tmp_path / "home")


@pytest.fixture
def prompt(copied: Clinic) -> Iterator[Prompt]:
    with copied.sql() as connection:
        drop_triggers(connection)
        yield connection


def sequenced(connection: Prompt, **wanted: str) -> list[tuple[int, Event]]:
    """The events under the last checkpoint whose fields are these."""
    placed = {row[0] for row in connection.execute("SELECT event FROM audit_leaves")}
    return [
        (row_id, event)
        for row_id, event in events(connection)
        if row_id in placed and all(event.get(name) == value for name, value in wanted.items())
    ]


def middle(connection: Prompt, **wanted: str) -> tuple[int, Event]:
    found = sequenced(connection, **wanted)
    return found[len(found) // 2]


def remove(connection: Prompt, row_id: int) -> None:
    connection.execute("DELETE FROM audit_events WHERE id = ?", (row_id,))


# Each attack returns the event it was done to, if verification can know which.


def edit_bytes(connection: Prompt) -> str:
    row_id, event = middle(connection, phase="outcome")
    rewrite(connection, row_id, lambda old: {**old, "result_count": 0})
    return str(event["event_id"])


def edit_bytes_and_leaf(connection: Prompt) -> None:
    """The last event of its server, so that no chain tells."""
    row_id, _event = sequenced(connection, code="server.stopped")[-1]
    rewrite(connection, row_id, lambda old: {**old, "recorded": "2020-01-01T00:00:00.000Z"})
    (leaf,) = connection.execute("SELECT leaf FROM audit_events WHERE id = ?", (row_id,)).fetchone()
    connection.execute("UPDATE audit_leaves SET hash = ? WHERE event = ?", (leaf_hash(leaf), row_id))


def edit_a_column(connection: Prompt) -> str:
    row_id, event = middle(connection, phase="decision")
    connection.execute("UPDATE audit_events SET decision = 'allow' WHERE id = ?", (row_id,))
    return str(event["event_id"])


def delete_from_the_middle(connection: Prompt) -> str:
    row_id, event = middle(connection)
    remove(connection, row_id)
    return str(event["event_id"])


def delete_the_last_sequenced(connection: Prompt) -> str:
    row_id, event = sequenced(connection)[-1]
    remove(connection, row_id)
    return str(event["event_id"])


def delete_a_tail_and_its_leaves(connection: Prompt) -> None:
    rows = sequenced(connection)
    first = rows[-3][0]
    connection.execute("DELETE FROM audit_events WHERE id >= ?", (first,))
    connection.execute("DELETE FROM audit_leaves WHERE event >= ?", (first,))


def delete_the_checkpoints(connection: Prompt) -> None:
    connection.execute("DELETE FROM audit_checkpoints")


def delete_the_tree(connection: Prompt) -> None:
    for table in ("audit_checkpoints", "audit_leaves", "audit_nodes"):
        connection.execute(f"DELETE FROM {table}")  # noqa: S608


def delete_an_unsequenced(connection: Prompt) -> None:
    """The first list's event; the second names it as the one before."""
    first = "SELECT min(id) FROM audit_events WHERE code = 'audit.list' AND id NOT IN (SELECT event FROM audit_leaves)"
    connection.execute(f"DELETE FROM audit_events WHERE id = ({first})")  # noqa: S608


def swap(connection: Prompt) -> str:
    rows = sequenced(connection, code="call.allowed")
    (first, event), (second, _other) = rows[0], rows[1]
    for source, target in ((first, -1), (second, first), (-1, second)):
        connection.execute("UPDATE audit_events SET id = ? WHERE id = ?", (target, source))
    return str(event["event_id"])


def put_in_earlier(connection: Prompt) -> None:
    _row, event = sequenced(connection, code="audit.list")[-1]
    forged = {**event, "event_id": uuid7(), "call_id": uuid7(), "recorded": "2020-01-01T00:00:00.000Z"}
    forged["writer"] = {**event["writer"], "boot_id": uuid7()}
    columns = {"id": 0, **_columns(forged)}
    marks = ", ".join(f":{name}" for name in columns)
    connection.execute(f"INSERT INTO audit_events ({', '.join(columns)}) VALUES ({marks})", columns)  # noqa: S608


def _columns(event: Event) -> dict[str, object]:
    from clinic_mcp.audit.event import canonical, project

    return project(event, canonical(event))


def back_date(connection: Prompt) -> str:
    row_id, event = middle(connection, phase="intent")
    rewrite(connection, row_id, lambda old: {**old, "recorded": "2020-01-01T00:00:00.000Z"})
    return str(event["event_id"])


def delete_an_outcome(connection: Prompt) -> str:
    row_id, event = middle(connection, code="call.ok")
    remove(connection, row_id)
    return str(event["event_id"])


def deny_into_allow(connection: Prompt) -> str:
    row_id, event = sequenced(connection, code="call.refused")[0]
    rewrite(connection, row_id, lambda old: {**old, "decision": {**old["decision"], "effect": "allow"}})
    return str(event["event_id"])


def forget_a_policy(connection: Prompt) -> None:
    _row, event = sequenced(connection, phase="intent")[0]
    connection.execute("DELETE FROM audit_policy_texts WHERE digest = ?", (event["decision"]["policy_set"],))


def forget_a_slice(connection: Prompt) -> None:
    _row, event = sequenced(connection, phase="intent")[0]
    connection.execute("DELETE FROM audit_slices WHERE digest = ?", (event["cedar"]["slice"],))


def alter_a_slice(connection: Prompt) -> None:
    _row, event = sequenced(connection, phase="intent")[0]
    connection.execute("UPDATE audit_slices SET text = text || ' ' WHERE digest = ?", (event["cedar"]["slice"],))


def delete_a_row(connection: Prompt) -> None:
    connection.execute("DELETE FROM prescriptions WHERE id = (SELECT min(id) FROM prescriptions)")


def add_a_row(connection: Prompt) -> None:
    _copy_prescription(connection, uuid7())


def add_a_row_of_another_call(connection: Prompt) -> None:
    (call_id,) = connection.execute("SELECT call_id FROM prescriptions").fetchone()
    _copy_prescription(connection, call_id)


def _copy_prescription(connection: Prompt, call_id: str) -> None:
    if not isinstance(connection, sqlite3.Connection):  # there whoever opens the file decides whether it is held to
        connection.execute("ALTER TABLE prescriptions DROP CONSTRAINT fk_prescriptions_sign_off_id_sign_offs")
    row = dict(connection.execute("SELECT * FROM prescriptions").fetchone())
    row |= {"id": "RX-forged", "sign_off_id": "forged", "call_id": call_id, "text": "Morphine 100mg"}
    marks = ", ".join(f":{name}" for name in row)
    connection.execute(f"INSERT INTO prescriptions ({', '.join(row)}) VALUES ({marks})", row)  # noqa: S608


def alter_a_node(connection: Prompt) -> None:
    connection.execute("UPDATE audit_nodes SET hash = ? WHERE level = 2 AND position = 1", (bytes(32),))


def delete_a_node(connection: Prompt) -> None:
    connection.execute("DELETE FROM audit_nodes WHERE level = 1 AND position = 3")


def alter_a_checkpoint_column(connection: Prompt) -> None:
    connection.execute("UPDATE audit_checkpoints SET size = size - 1 WHERE id = 2")


def alter_a_checkpoint_note(connection: Prompt) -> None:
    connection.execute("UPDATE audit_checkpoints SET note = replace(note, 'main\n', 'main\n1') WHERE id = 2")


def bytes_into_text(connection: Prompt) -> str:
    row_id, event = middle(connection)
    connection.execute("UPDATE audit_events SET leaf = CAST('x' || leaf AS TEXT) WHERE id = ?", (row_id,))
    return str(event["event_id"])


def a_hash_into_text(connection: Prompt) -> None:
    connection.execute("UPDATE audit_leaves SET hash = 'nothing' WHERE leaf_index = 9")


def a_node_into_a_number(connection: Prompt) -> None:
    connection.execute("UPDATE audit_nodes SET hash = 7 WHERE level = 1 AND position = 2")


def a_size_into_text(connection: Prompt) -> None:
    connection.execute("UPDATE audit_checkpoints SET size = 'many' WHERE id = 2")


def a_slice_into_bytes(connection: Prompt) -> None:
    connection.execute("UPDATE audit_slices SET text = x'00ff'")


EXAMPLES = 30 if POSTGRESQL else 150
"""A check is slower there, and the events are the same."""

STRANGE = [bytes_into_text, a_hash_into_text, a_node_into_a_number, a_size_into_text, a_slice_into_bytes]

ATTACKS: list[tuple[Callable[[Prompt], str | None], int, str]] = [
    (edit_bytes, 1, "its bytes are not those the tree has"),
    (edit_bytes_and_leaf, 1, "are not those that were signed in the checkpoint"),
    (edit_a_column, 1, "the column decision differs"),
    (delete_from_the_middle, 1, "is missing from the log: the tree has it"),
    (delete_the_last_sequenced, 2, "The log was truncated: its last 1 sequenced event(s)"),
    (delete_a_tail_and_its_leaves, 2, "truncated or rolled back: a checkpoint of"),
    (delete_the_checkpoints, 2, "its checkpoints are gone"),
    (delete_the_tree, 2, "its tree and its checkpoints are gone"),
    (delete_an_unsequenced, 1, "Events of audit are missing before"),
    (swap, 1, "is missing from the log"),
    (put_in_earlier, 1, "was put in later | starts a chain beside the one"),
    (back_date, 1, "its bytes are not those the tree has"),
    (delete_an_outcome, 1, "is missing from the log"),
    (deny_into_allow, 1, "its bytes are not those the tree has"),
    (forget_a_policy, 1, "The policy text behind event"),
    (forget_a_slice, 1, "The entity slice behind event"),
    (alter_a_slice, 1, "was altered"),
    (delete_a_row, 1, "of prescriptions is gone"),
    (add_a_row, 1, "of prescriptions was put in"),
    (add_a_row_of_another_call, 1, "of prescriptions was put in"),
    (alter_a_node, 1, "Node 2/1 of the tree was altered"),
    (delete_a_node, 1, "of the tree"),
    (alter_a_checkpoint_column, 1, "its columns differ from its note"),
    (alter_a_checkpoint_note, 1, "a signature on it is wrong"),
]


def test_a_log_nobody_touched_is_whole(copied: Clinic) -> None:
    shown = copied.json("audit", "verify")
    assert (shown["verdict"], shown["checkpoints"]) == ("whole", 3)
    assert shown["covered"] > 40
    assert shown["uncovered"] == 4, "two lists, a consultation, and this check itself"
    with_witness = json.loads(copied.run("audit", "verify", "--json", "--witness", str(witness_of(copied))).stdout)
    assert with_witness["witnessed"] == 2


@pytest.mark.parametrize(("attack", "code", "words"), ATTACKS, ids=lambda value: getattr(value, "__name__", None))
def test_an_attack_has_its_exit_code_and_its_words(
    copied: Clinic, prompt: Prompt, attack: Callable[[Prompt], str | None], code: int, words: str
) -> None:
    event_id = attack(prompt)
    shown = copied.json("audit", "verify", code=code)
    assert any(one in shown["problem"] for one in words.split(" | "))
    assert shown["verdict"] == Verdict(code).name.lower()
    if event_id is not None:
        assert shown["event_id"] == event_id
        assert event_id in shown["problem"]


@pytest.mark.sqlite("it keeps a value of any type in any column")
@pytest.mark.parametrize("attack", STRANGE, ids=lambda attack: attack.__name__)
def test_a_value_no_column_can_hold_is_an_alteration_and_no_traceback(
    copied: Clinic, prompt: Prompt, attack: Callable[[Prompt], str | None]
) -> None:
    drop_triggers(prompt)
    attack(prompt)
    done = copied.run("audit", "verify", "--json", code=1)
    assert "Traceback" not in done.stderr
    assert json.loads(done.stdout)["verdict"] == "altered"


def test_dropped_triggers_are_named(copied: Clinic, prompt: Prompt) -> None:
    shown = copied.json("audit", "verify", code=3)
    first = "audit_events_append_only" if copied.url else "audit_events_no_update"
    assert f"guard against changes was removed: {first}" in shown["problem"]


def test_the_last_unsequenced_event_can_go_and_the_report_says_so(copied: Clinic, prompt: Prompt) -> None:
    """What no later event follows and no checkpoint counts: a second's worth, and the report admits it."""
    (row_id,) = prompt.execute("SELECT max(id) FROM audit_events WHERE code = 'audit.list'").fetchone()
    assert prompt.execute("SELECT count(*) FROM audit_leaves WHERE event = ?", (row_id,)).fetchone()[0] == 0
    remove(prompt, row_id)
    assert report(copied).verdict is Verdict.WHOLE
    said = copied.run("audit", "verify", code=3).stderr
    assert "under no checkpoint yet: if the last of them had been removed, nothing would show it" in " ".join(
        said.split()
    )


# Rewriting everything


def rewritten(clinic: Clinic, prompt: Prompt) -> None:
    """An event is changed and the tree grown anew over it."""
    edit_bytes_and_leaf(prompt)
    regrow(clinic)


def resigned(clinic: Clinic, prompt: Prompt, folder: Path) -> None:
    """Every checkpoint is made again over the new tree with a key of the attacker's."""
    keys.ensure(folder, "clinic-mcp/main")
    key = keys.read(folder)
    for row_id, size in prompt.execute("SELECT id, size FROM audit_checkpoints").fetchall():
        with clinic.database() as database, database.read() as connection:
            made = Checkpoint("clinic-mcp/main", size, root(tree.StoredNodes(connection), size))
        prompt.execute(
            "UPDATE audit_checkpoints SET root = ?, note = ? WHERE id = ?", (made.root64, made.signed(key), row_id)
        )


def test_everything_rewritten_without_the_key(copied: Clinic, prompt: Prompt) -> None:
    rewritten(copied, prompt)
    assert "are not those that were signed" in copied.json("audit", "verify", code=1)["problem"]


def test_everything_rewritten_and_signed_with_another_key(copied: Clinic, prompt: Prompt, tmp_path: Path) -> None:
    rewritten(copied, prompt)
    resigned(copied, prompt, tmp_path / "other")
    assert "no key of this clinic signed it" in copied.json("audit", "verify", code=1)["problem"]


def test_everything_rewritten_and_the_pinned_key_replaced(copied: Clinic, prompt: Prompt, tmp_path: Path) -> None:
    """On the machine nothing is left to tell; what was kept outside does: the witness, or the public key."""
    trusted = tmp_path / "trusted.pub"
    shutil.copy(copied.home / "keys" / keys.PUBLIC, trusted)
    rewritten(copied, prompt)
    resigned(copied, prompt, tmp_path / "other")
    shutil.copy(tmp_path / "other" / keys.PUBLIC, copied.home / "keys" / keys.PUBLIC)
    assert report(copied).verdict is Verdict.WHOLE
    done = copied.run("audit", "verify", "--witness", str(witness_of(copied)), "--json", code=2)
    assert "which a key signed that is not pinned" in json.loads(done.stdout)["problem"]
    copied.run("audit", "verify", "--vkey", str(trusted), code=1)


def test_the_clinic_s_own_key_in_the_wrong_hands(copied: Clinic, prompt: Prompt) -> None:
    """With root and the key everything can be made again; only the witness knows."""
    rewritten(copied, prompt)
    resigned(copied, prompt, copied.home / "keys")
    assert report(copied).verdict is Verdict.WHOLE
    done = copied.run("audit", "verify", "--witness", str(witness_of(copied)), "--json", code=2)
    assert "it is not the one of the outside checkpoint" in json.loads(done.stdout)["problem"]


@pytest.mark.sqlite("a PostgreSQL backup is restored by PostgreSQL's own tools")
def test_an_old_backup_restored(copied: Clinic, day: Clinic) -> None:
    for leftover in copied.home.glob("clinic.db-*"):
        leftover.unlink()
    shutil.copy(day.home.parent / "backup.db", copied.file)
    assert copied.json("audit", "verify")["verdict"] == "whole", "the machine alone cannot know"
    done = copied.run("audit", "verify", "--witness", str(witness_of(copied)), "--json", code=2)
    assert "truncated or rolled back: an outside checkpoint counts" in json.loads(done.stdout)["problem"]
    newest = copied.home / "newest.txt"
    newest.write_text(day.run("audit", "checkpoint").stdout)
    done = copied.run("audit", "verify", "--since", str(newest), "--json", code=2)
    assert "truncated or rolled back" in json.loads(done.stdout)["problem"]


def test_a_retired_key_signs_nothing_new(copied: Clinic, prompt: Prompt) -> None:
    old = keys.read(copied.home / "keys")
    copied.run("audit", "rotate-key")
    sign(copied)
    with copied.database() as database, database.read() as connection:
        row = tree.latest_checkpoint(connection)
        forged = checkpoint.parse(row.note).checkpoint.signed(old)
    values = (row.size, row.root, forged, row.recorded)
    prompt.execute("INSERT INTO audit_checkpoints (size, root, note, recorded) VALUES (?, ?, ?, ?)", values)
    assert "signed with a key that had been replaced" in copied.json("audit", "verify", code=1)["problem"]


# Witness files that do not serve


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "There is no checkpoint"),
        ("P001 was here\n", "There is no checkpoint"),
        ("example.com/log\n1\n" + "A" * 43 + "=\n\n— example.com/log " + "A" * 90 + "==\n\n", "another log"),
    ],
    ids=["empty", "something else", "another log's"],
)
def test_a_witness_that_holds_nothing_of_this_log_cannot_be_checked(copied: Clinic, text: str, words: str) -> None:
    path = copied.home / "witness.txt"
    path.write_text(text)
    assert words in copied.run("audit", "verify", "--witness", str(path), code=4).stderr
    assert "cannot be read" in copied.run("audit", "verify", "--witness", str(path / "no"), code=4).stderr


def test_a_torn_note_in_a_witness_is_passed_over(copied: Clinic) -> None:
    path = witness_of(copied)
    whole = path.read_text()
    notes = list(witness.read(path))
    path.write_text(whole + "clinic-mcp/main\n12")
    assert list(witness.read(path)) == notes
    witness.append(path, copied.run("audit", "checkpoint").stdout)
    assert list(witness.read(path)) == [*notes, notes[-1]]


# Any field of any event


@dataclass
class Victim:
    """A copy that is attacked and mended again and again."""

    clinic: Clinic
    prompt: Prompt
    events: list[tuple[int, Event]]


@pytest.fixture
def victim(copied: Clinic, prompt: Prompt) -> Victim:
    return Victim(copied, prompt, sequenced(prompt))


@settings(
    deadline=None, max_examples=30 if POSTGRESQL else 150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_field_of_any_sequenced_event_changed_is_found(victim: Victim, data: st.DataObject) -> None:
    """The bytes stay canonical and the columns follow; at times the tree is grown anew over the forgery, too."""
    row_id, event = data.draw(st.sampled_from(victim.events))
    changed = altered(event, data.draw(st.sampled_from(paths(event))))
    before = victim.prompt.execute("SELECT * FROM audit_events WHERE id = ?", (row_id,)).fetchone()
    try:
        rewrite(victim.prompt, row_id, lambda _old: changed)
    except (sqlite3.IntegrityError, KeyError, TypeError, ValueError, AttributeError):
        return  # the database itself does not take it
    again = data.draw(st.booleans())
    try:
        if again:
            regrow(victim.clinic)
        assert report(victim.clinic).verdict is not Verdict.WHOLE
    finally:
        names = ", ".join(f"{name} = ?" for name in before.keys())  # noqa: SIM118 - sqlite3.Row
        victim.prompt.execute(f"UPDATE audit_events SET {names} WHERE id = ?", (*before, row_id))  # noqa: S608
        if again:
            regrow(victim.clinic)
    assert report(victim.clinic).verdict is Verdict.WHOLE, "the test put everything back"
