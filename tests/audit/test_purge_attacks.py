"""Somebody with a SQL prompt who uses what a purge needs: each attack has its exit code and its words."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from clinic_mcp.audit import keys
from clinic_mcp.audit.event import Draft, Phase, Writer, uuid7
from clinic_mcp.audit.findings import Verdict
from clinic_mcp.audit.log import AuditLog
from clinic_mcp.audit.merkle import leaf_hash
from clinic_mcp.audit.retention.statement import CODE, Purge
from clinic_mcp.core.clinic import timestamp
from support.aged import ORIGIN, without_triggers
from support.attacks import rewrite
from support.calls import NOTES
from support.clinic import Clinic
from support.purging import OPERATOR, grown_old, purge
from support.signed import sign


@dataclass
class Scene:
    """A copy of a clinic with an old log, not purged or purged, and a SQL prompt without triggers."""

    clinic: Clinic
    prompt: Any
    size: int

    def one(self, query: str, *values: object) -> Any:
        return self.prompt.execute(query, values).fetchone()

    def delete_below(self, place: int, start: int = 0) -> None:
        """As a purge does it: events and what is indexed of them."""
        gone = f"SELECT event_id FROM audit_leaves WHERE leaf_index >= {start} AND leaf_index < {place}"  # noqa: S608
        for table in ("audit_event_patients", "audit_detail", "audit_events"):
            self.prompt.execute(f"DELETE FROM {table} WHERE event_id IN ({gone})")  # noqa: S608

    def purged(self) -> Purge:
        """What the one real purge says."""
        return Purge.of(json.loads(self.one("SELECT leaf FROM audit_events WHERE code = 'audit.purged'")["leaf"]))

    def listed(self, upto: int, cutoff: str, call_id: str) -> None:
        self.prompt.execute("INSERT INTO audit_purges VALUES (?, ?, ?)", (upto, call_id, cutoff))

    def append(self, body: dict[str, Any], code: str = CODE) -> str:
        """An event written as the log writes it, by somebody who may only write the database."""
        call_id = uuid7()
        with (
            self.clinic.database() as database,
            closing(AuditLog(database, Writer("audit", "main", ORIGIN), announce=False)) as log,
        ):
            log.append(Draft(Phase.ADMIN, code, call_id, {"principal": OPERATOR, **body}))
        return call_id

    def claim(self, purge: Purge, folder: Path | None = None) -> None:
        """A purge that was never made, on record, signed over, and carried out with the triggers gone."""
        if folder is not None:
            keys.ensure(folder, ORIGIN)
        body = purge.signed(ORIGIN, keys.read(folder or self.clinic.settings.keys))
        call_id = self.append({"purge": body, "effect": {"table": "audit_purges", "row": str(purge.size)}})
        self.listed(purge.size, purge.cutoff, call_id)
        sign(self.clinic)
        self.delete_below(purge.size)

    def invented(self, **said: Any) -> Purge:
        """A purge as the real one would be, but for what is said."""
        row = self.one("SELECT note, root FROM audit_checkpoints WHERE size = ? ORDER BY id", self.size)
        times = {"cutoff": "2020-01-01T00:00:00.000Z", "first": "2019-01-01T00:00:00.000Z"}
        made = Purge(
            self.size, row["root"], row["note"], times["cutoff"], 6, times["first"], times["first"], {}, "0" * 64
        )
        return replace(made, **said)


@pytest.fixture(scope="module")
def old(module_clinic: Clinic) -> tuple[Clinic, int]:
    return module_clinic, grown_old(module_clinic)


@pytest.fixture(scope="module")
def taken(old: tuple[Clinic, int], tmp_path_factory: pytest.TempPathFactory) -> Clinic:
    home = tmp_path_factory.mktemp("purged") / "home"
    shutil.copytree(old[0].home, home)
    clinic = Clinic(home)
    purge(clinic)
    return clinic


def scene(clinic: Clinic, size: int, home: Path) -> Iterator[Scene]:
    shutil.copytree(clinic.home, home)
    copy = Clinic(home)
    with without_triggers(copy) as prompt:
        yield Scene(copy, prompt, size)


@pytest.fixture
def before(old: tuple[Clinic, int], tmp_path: Path) -> Iterator[Scene]:
    yield from scene(old[0], old[1], tmp_path / "home")


@pytest.fixture
def after(old: tuple[Clinic, int], taken: Clinic, tmp_path: Path) -> Iterator[Scene]:
    yield from scene(taken, old[1], tmp_path / "home")


def assert_found(scene: Scene, words: str, code: int = 1) -> None:
    shown = scene.clinic.json("audit", "verify", code=code)
    assert words in shown["problem"]
    assert shown["verdict"] == Verdict(code).name.lower()


def list_a_purge(here: Scene) -> None:
    here.listed(here.size, "2020-01-01T00:00:00.000Z", uuid7())


def list_a_purge_and_delete(here: Scene) -> None:
    list_a_purge(here)
    here.delete_below(here.size)


def list_a_purge_of_another_act(here: Scene) -> None:
    call_id = here.one("SELECT call_id FROM audit_events WHERE phase = 'admin' ORDER BY id DESC LIMIT 1")["call_id"]
    here.listed(here.size, "2020-01-01T00:00:00.000Z", call_id)


def delete_without_one(here: Scene) -> None:
    here.delete_below(here.size)


def record_one_without_the_key(here: Scene) -> None:
    here.claim(here.invented(), here.clinic.home.parent / "other")


def record_one_unsigned(here: Scene) -> None:
    said = here.invented()
    body = {**said.facts, "statement": f"{ORIGIN}\npurge\n{'0' * 64}\n"}
    here.listed(said.size, said.cutoff, here.append({"purge": body}))
    sign(here.clinic)


def purge_what_is_too_young(here: Scene) -> None:
    """With the key, and the truth: last month's events."""
    month = timestamp(datetime.now(UTC) - timedelta(days=30))
    here.claim(here.invented(cutoff=month))


def purge_after_no_checkpoint(here: Scene) -> None:
    here.claim(here.invented(size=here.size - 1))


def purge_up_to_a_young_checkpoint(here: Scene) -> None:
    row = here.one("SELECT size, note, root FROM audit_checkpoints ORDER BY id DESC LIMIT 1")
    here.claim(here.invented(size=row["size"], root=row["root"], checkpoint=row["note"]))


def purge_ahead_of_time(here: Scene) -> None:
    said = here.invented()
    body = {"purge": said.signed(ORIGIN, keys.read(here.clinic.settings.keys))}
    call_id = here.append(body)
    row_id = here.one("SELECT id FROM audit_events WHERE call_id = ?", call_id)["id"]
    rewrite(here.prompt, row_id, lambda event: {**event, "recorded": "2099-01-01T00:00:00.000Z"})
    here.listed(said.size, said.cutoff, call_id)


def purge_while_on_hold(here: Scene) -> None:
    here.append({"hold": {"reason": "litigation"}}, "audit.held")
    body = {"purge": here.invented().signed(ORIGIN, keys.read(here.clinic.settings.keys))}
    here.append(body)


def purge_with_a_replaced_key(here: Scene) -> None:
    old_key = keys.read(here.clinic.settings.keys)
    here.clinic.run("audit", "rotate-key")
    sign(here.clinic)
    here.append({"purge": here.invented().signed(ORIGIN, old_key)})
    sign(here.clinic)


BEFORE: list[tuple[Callable[[Scene], None], str]] = [
    (list_a_purge, "is listed that no event records"),
    (list_a_purge_and_delete, "is listed that no event records"),
    (list_a_purge_of_another_act, "says of no purge"),
    (delete_without_one, "is missing from the log"),
    (record_one_without_the_key, "no key of this clinic signed it"),
    (record_one_unsigned, "was not made by this clinic's purge"),
    (purge_what_is_too_young, "took events before their 6 years of retention were over"),
    (purge_after_no_checkpoint, "names another checkpoint than its numbers"),
    (purge_up_to_a_young_checkpoint, "does not end at a checkpoint that was older than its cutoff"),
    (purge_ahead_of_time, "is dated in the future"),
    (purge_while_on_hold, "was made while the log was on hold"),
    (purge_with_a_replaced_key, "was signed with a key that had been replaced"),
]


@pytest.mark.parametrize(("attack", "words"), BEFORE, ids=lambda value: getattr(value, "__name__", None))
def test_a_purge_that_was_not_made_is_found(before: Scene, attack: Callable[[Scene], None], words: str) -> None:
    attack(before)
    assert_found(before, words)


def delete_above_it(here: Scene) -> None:
    here.delete_below(here.size + 3, here.size)


def list_it_with_more(here: Scene) -> None:
    row = here.one("SELECT call_id, cutoff FROM audit_purges")
    here.listed(here.size + 3, row["cutoff"], row["call_id"])
    here.delete_below(here.size + 3)


def list_it_twice(here: Scene) -> None:
    here.listed(here.size - 3, "2020-01-01T00:00:00.000Z", uuid7())


def alter_the_listed_cutoff(here: Scene) -> None:
    here.prompt.execute("UPDATE audit_purges SET cutoff = '2030-01-01T00:00:00.000Z'")


def unlist_it(here: Scene) -> None:
    here.prompt.execute("DELETE FROM audit_purges")


def delete_its_event(here: Scene) -> None:
    here.prompt.execute("DELETE FROM audit_events WHERE code = 'audit.purged'")


def alter_its_event(here: Scene) -> None:
    row_id = here.one("SELECT id FROM audit_events WHERE code = 'audit.purged'")["id"]
    rewrite(here.prompt, row_id, lambda event: {**event, "purge": {**event["purge"], "years": 1}})


def alter_its_event_outside_the_statement(here: Scene) -> None:
    row_id = here.one("SELECT id FROM audit_events WHERE code = 'audit.purged'")["id"]
    rewrite(here.prompt, row_id, lambda event: {**event, "principal": {**event["principal"], "id": "somebody"}})


def alter_what_is_kept_of_a_call(here: Scene) -> None:
    here.prompt.execute("UPDATE audit_purged_calls SET row_id = 'RX-forged' WHERE table_name = 'prescriptions'")


def explain_a_forged_prescription(here: Scene) -> None:
    """A row nobody wrote, and a purged call that is said to have."""
    session = here.clinic.consult(notes=NOTES)
    sign_off = here.one("SELECT id FROM sign_offs WHERE consultation_id = ?", session)["id"]
    row = here.one("SELECT * FROM prescriptions ORDER BY id LIMIT 1")
    forged = dict(zip(row.keys(), row, strict=True))
    forged |= {"id": "RX-forged", "sign_off_id": sign_off, "call_id": uuid7(), "text": "Morphine 100mg"}
    marks = ", ".join("?" * len(forged))
    here.prompt.execute(f"INSERT INTO prescriptions ({', '.join(forged)}) VALUES ({marks})", [*forged.values()])  # noqa: S608
    kept = "SELECT leaf_index FROM audit_purged_calls"
    free = here.one(f"SELECT min(leaf_index) AS free FROM audit_leaves WHERE leaf_index NOT IN ({kept})")["free"]  # noqa: S608
    values = (free, forged["call_id"], "prescriptions", "RX-forged")
    here.prompt.execute("INSERT INTO audit_purged_calls VALUES (?, ?, ?, ?)", values)


def alter_a_purged_leaf(here: Scene) -> None:
    here.prompt.execute("UPDATE audit_leaves SET hash = ? WHERE leaf_index = 2", (leaf_hash(b"x"),))


def alter_a_purged_leaf_s_name(here: Scene) -> None:
    here.prompt.execute("UPDATE audit_leaves SET event_id = ? WHERE leaf_index = 2", (uuid7(),))


def delete_what_names_a_text(here: Scene) -> None:
    """A slice that an event left names."""
    row = here.one("SELECT leaf FROM audit_events WHERE phase = 'intent' AND tool IS NOT NULL ORDER BY id DESC LIMIT 1")
    here.prompt.execute("DELETE FROM audit_slices WHERE digest = ?", (json.loads(row["leaf"])["cedar"]["slice"],))


def keep_an_index_row(here: Scene) -> None:
    here.prompt.execute(
        "INSERT INTO audit_event_patients SELECT 'P001', event_id FROM audit_leaves WHERE leaf_index = 2"
    )


AFTER: list[tuple[Callable[[Scene], None], int, str]] = [
    (delete_above_it, 1, "is missing from the log"),
    (list_it_with_more, 1, "it is listed with"),
    (list_it_twice, 1, "is listed that no event records"),
    (alter_the_listed_cutoff, 1, "it is listed with"),
    (unlist_it, 1, "is missing from the log"),
    (delete_its_event, 1, "is listed that no event records"),
    (alter_its_event, 1, "says something else than was signed"),
    (alter_its_event_outside_the_statement, 1, "its bytes are not those the tree has"),
    (alter_what_is_kept_of_a_call, 1, "What was kept of purged calls"),
    (explain_a_forged_prescription, 1, "What was kept of purged calls"),
    (alter_a_purged_leaf, 1, "are not those that were signed"),
    (alter_a_purged_leaf_s_name, 1, "it was younger than what the purge took"),
    (delete_what_names_a_text, 1, "The entity slice behind event"),
    (keep_an_index_row, 1, "The patient index differs from event"),
]


@pytest.mark.parametrize(("attack", "code", "words"), AFTER, ids=lambda value: getattr(value, "__name__", None))
def test_what_is_done_beyond_a_real_purge_is_found(
    after: Scene, attack: Callable[[Scene], None], code: int, words: str
) -> None:
    attack(after)
    assert_found(after, words, code)


def test_a_recorded_purge_lets_nothing_go_before_a_checkpoint_covers_it(before: Scene) -> None:
    said = before.invented()
    body = {"purge": said.signed(ORIGIN, keys.read(before.clinic.settings.keys))}
    before.listed(said.size, said.cutoff, before.append(body))
    before.prompt.execute("DELETE FROM audit_events WHERE id = (SELECT event FROM audit_leaves WHERE leaf_index = 0)")
    shown = before.clinic.json("audit", "verify", code=1)
    assert "is missing from the log" in shown["problem"] or "What was kept of purged calls" in shown["problem"]


def test_the_triggers_let_only_purged_rows_go(taken: Clinic, tmp_path: Path) -> None:
    shutil.copytree(taken.home, tmp_path / "home")
    clinic = Clinic(tmp_path / "home")
    for table in ("audit_slices", "audit_policy_texts"):
        clinic.execute(f"INSERT INTO {table} VALUES ('0', '', '2099')")  # noqa: S608
    body = "INSERT INTO audit_detail (event_id, part, salt, body, recorded) VALUES ('x', 'y', ?, ?, '')"
    clinic.execute(body, b"", b"")
    for statement in (
        "DELETE FROM audit_events",
        "DELETE FROM audit_events WHERE id = (SELECT min(id) FROM audit_events)",
        "DELETE FROM audit_slices",
        "DELETE FROM audit_policy_texts",
        "DELETE FROM audit_purges",
        "DELETE FROM audit_purged_calls",
        "DELETE FROM audit_leaves WHERE leaf_index = 0",
        "DELETE FROM audit_checkpoints WHERE id = 1",
        "UPDATE audit_purges SET upto = 1000",
        "UPDATE audit_detail SET body = salt",
    ):
        with pytest.raises(Exception, match="append-only"):
            clinic.execute(statement)
