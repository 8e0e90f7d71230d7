"""A purge takes old events as one prefix of the tree; roots, proofs and verification hold as before."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import pytest
from clinic_mcp.audit import keys, proof, tree
from clinic_mcp.audit.event import Draft, Phase, Writer, uuid7
from clinic_mcp.audit.findings import Found, Verdict
from clinic_mcp.audit.log import AuditLog
from clinic_mcp.audit.merkle import root
from clinic_mcp.audit.retention import purge as steps
from clinic_mcp.audit.retention import texts
from clinic_mcp.audit.retention.statement import years_before
from hypothesis import given
from hypothesis import strategies as st
from support.aged import age
from support.calls import EXPECTED, NOTES
from support.clinic import COMMAND, Clinic
from support.purging import grown_old, planned, purge, recorded
from support.servers import connected
from support.signed import report, sign, witness_of, work
from support.waiting import eventually


@pytest.fixture(scope="module")
def old(module_clinic: Clinic) -> tuple[Clinic, int]:
    return module_clinic, grown_old(module_clinic)


@pytest.fixture
def size(old: tuple[Clinic, int]) -> int:
    return old[1]


@pytest.fixture
def copied(old: tuple[Clinic, int], tmp_path: Path) -> Clinic:
    shutil.copytree(old[0].home, tmp_path / "home")
    return Clinic(tmp_path / "home")


def count(clinic: Clinic, table: str) -> int:
    return int(clinic.execute(f"SELECT count(*) FROM {table}")[0][0])  # noqa: S608


def everything(clinic: Clinic) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of the log's tables but the readings of it."""
    tables = "audit_events audit_event_patients audit_slices audit_policy_texts audit_purges audit_purged_calls".split()
    found = {table: [tuple(row) for row in clinic.execute(f"SELECT * FROM {table}")] for table in tables}  # noqa: S608
    found["audit_events"] = [tuple(row) for row in clinic.execute("SELECT * FROM audit_events WHERE server <> 'audit'")]
    return found


def test_old_events_go_and_the_log_is_whole(copied: Clinic, size: int) -> None:
    before = report(copied)
    assert (before.verdict, before.purged) == (Verdict.WHOLE, 0)
    shown = copied.json("audit", "purge")
    assert (shown["removed"], shown["upto"]) == (size, size)
    assert shown["audit_slices"] > 0, "what only purged events named goes too"
    after = copied.json("audit", "verify")
    assert (after["verdict"], after["purged"]) == ("whole", size)
    assert copied.execute("SELECT count(*) FROM audit_leaves WHERE leaf_index < ?", size)[0][0] == size
    gone = "SELECT count(*) FROM audit_event_patients WHERE event_id NOT IN (SELECT event_id FROM audit_events)"
    assert copied.execute(gone)[0][0] == 0


def test_the_purge_is_on_record_with_what_it_took(copied: Clinic, size: int) -> None:
    copied.run("audit", "purge")
    (row,) = copied.execute("SELECT leaf FROM audit_events WHERE code = 'audit.purged'")
    event = json.loads(row["leaf"])
    said = event["purge"]
    assert event["principal"]["type"] == "Operator"
    assert (said["size"], said["counts"]["events"], said["years"]) == (size, size, 6)
    assert said["range"]["from"] <= said["range"]["to"] < said["cutoff"]
    assert said["checkpoint"].split("\n")[1:3] == [str(size), said["root"]]
    assert said["statement"].startswith("clinic-mcp/main\npurge\n")


def test_chains_and_calls_that_began_before_the_purge_go_on_after_it(copied: Clinic) -> None:
    copied.run("audit", "purge")
    cut = copied.execute("SELECT boot_id, min(writer_seq) AS first FROM audit_events GROUP BY boot_id")
    assert [row for row in cut if row["first"] > 0], "a chain was cut"
    alone = copied.execute(
        "SELECT count(*) FROM audit_events o WHERE phase = 'outcome' AND NOT EXISTS"
        " (SELECT 1 FROM audit_events i WHERE i.call_id = o.call_id AND i.phase = 'intent')"
    )
    assert alone[0][0] > 0, "a call was cut"
    assert report(copied).verdict is Verdict.WHOLE
    work(copied)
    sign(copied)
    assert report(copied).verdict is Verdict.WHOLE


def test_rows_that_purged_calls_wrote_are_still_explained(copied: Clinic) -> None:
    calls = "SELECT count(*) FROM prescriptions WHERE call_id NOT IN (SELECT call_id FROM audit_events)"
    assert copied.execute(calls)[0][0] == 0
    copied.run("audit", "purge")
    assert copied.execute(calls)[0][0] > 0
    assert report(copied).verdict is Verdict.WHOLE
    kept = [tuple(row) for row in copied.execute("SELECT * FROM audit_purged_calls")]
    assert not [cell for row in kept for cell in row if str(cell).startswith("P0")], "no patient is in what is kept"


def test_what_is_left_is_proved_and_what_went_is_said_to_be_gone(copied: Clinic, size: int, tmp_path: Path) -> None:
    (taken,) = copied.execute("SELECT event_id FROM audit_leaves WHERE leaf_index = 3")
    proof_file, leaf_file = tmp_path / "e.tlog-proof", tmp_path / "e.json"
    copied.run("audit", "prove", taken["event_id"], "--out", str(proof_file), "--leaf", str(leaf_file))
    copied.run("audit", "purge")
    copied.run("audit", "verify-proof", str(proof_file), "--event", str(leaf_file))
    said = " ".join(copied.run("audit", "prove", taken["event_id"], code=4).stderr.split())
    assert "The event was purged with all that was recorded before" in said
    (left,) = copied.execute("SELECT event_id FROM audit_leaves WHERE leaf_index = ?", size)
    copied.run("audit", "prove", left["event_id"], "--out", str(tmp_path / "f"), "--leaf", str(tmp_path / "g"))
    copied.run("audit", "verify-proof", str(tmp_path / "f"), "--event", str(tmp_path / "g"))


def test_since_a_checkpoint_before_the_purge_and_after_it(copied: Clinic, tmp_path: Path) -> None:
    notes = [row["note"] for row in copied.execute("SELECT note FROM audit_checkpoints ORDER BY id")]
    copied.run("audit", "purge")
    notes.append(copied.run("audit", "checkpoint").stdout)
    work(copied)
    sign(copied)
    for number, note in enumerate(notes):
        (tmp_path / str(number)).write_text(note)
        done = copied.run("audit", "verify", "--since", str(tmp_path / str(number)), "--json", code=None)
        assert done.returncode == 0, f"{number}: {done.stdout}"


def test_a_witness_from_before_agrees(copied: Clinic) -> None:
    notes = "\n".join(row["note"] for row in copied.execute("SELECT note FROM audit_checkpoints ORDER BY id"))
    witness_of(copied).write_text(notes + "\n")
    copied.run("audit", "purge")
    done = json.loads(copied.run("audit", "verify", "--witness", str(witness_of(copied)), "--json").stdout)
    assert done["witnessed"] >= 3


def test_an_export_after_a_purge_is_checked_without_the_database(copied: Clinic, size: int, tmp_path: Path) -> None:
    copied.run("audit", "purge")
    folder = tmp_path / "export"
    copied.run("audit", "export", "jsonl", str(folder))
    done = json.loads(copied.run("audit", "verify", "--export", str(folder), "--json").stdout)
    assert (done["verdict"], done["purged"]) == ("whole", size)


def test_an_export_whose_purge_was_altered_is_not_whole(copied: Clinic, tmp_path: Path) -> None:
    import hashlib

    copied.run("audit", "purge")
    folder = tmp_path / "export"
    copied.run("audit", "export", "jsonl", str(folder))
    lines = (folder / "purged.jsonl").read_text().splitlines()
    (folder / "purged.jsonl").write_text("\n".join(lines[:-1]) + "\n")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["purged.jsonl"]["sha256"] = hashlib.sha256((folder / "purged.jsonl").read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    done = copied.run("audit", "verify", "--export", str(folder), "--json", code=1)
    assert "What was kept of purged calls" in json.loads(done.stdout)["problem"]


def test_a_dry_run_says_what_would_go_and_changes_nothing(copied: Clinic, size: int) -> None:
    before = everything(copied)
    shown = copied.json("audit", "purge", "--dry-run")
    assert (shown["dry_run"], shown["events"], shown["upto"]) == (True, size, size)
    assert everything(copied) == before
    purged = copied.json("audit", "purge")
    assert {name: purged[name] for name in ("events", "upto", "from", "to", "patient_index", "in_doubt")} == {
        name: shown[name] for name in ("events", "upto", "from", "to", "patient_index", "in_doubt")
    }


def test_a_second_purge_finds_nothing_to_take(copied: Clinic) -> None:
    copied.run("audit", "purge")
    before = everything(copied)
    assert copied.json("audit", "purge")["events"] == 0
    assert everything(copied) == before


def test_a_purge_years_later_takes_the_event_of_the_first_one_too(copied: Clinic) -> None:
    copied.run("audit", "purge")
    age(copied)
    assert report(copied).verdict is Verdict.WHOLE
    work(copied)
    sign(copied)
    shown = copied.json("audit", "purge")
    assert shown["removed"] > 0
    assert count(copied, "audit_purges") == 2
    assert copied.execute("SELECT count(*) FROM audit_events WHERE code = 'audit.purged'")[0][0] == 1
    found = report(copied)
    assert (found.verdict, found.purged) == (Verdict.WHOLE, shown["upto"]), found.problem
    copied.run("audit", "export", "jsonl", str(copied.home / "export"))
    copied.run("audit", "verify", "--export", str(copied.home / "export"))


def test_years_fewer_than_the_setting_are_refused_and_six_are_the_default(copied: Clinic) -> None:
    assert "keeps events for 6 years" in copied.run("audit", "purge", "--older-than", "5y", code=1).stderr
    assert copied.json("audit", "purge", "--older-than", "8y")["events"] == 0
    done = copied.run("audit", "purge", "--dry-run", "--json", CLINIC_AUDIT_RETENTION_YEARS="2")
    assert "fewer than the six of 45 CFR 164.316" in " ".join(done.stderr.split())
    assert json.loads(done.stdout)["events"] > 0


def test_a_hold_stops_purges_and_erasures_until_it_is_over(copied: Clinic) -> None:
    assert copied.json("audit", "hold", "on", "--reason", "litigation") == {"hold": "on", "reason": "litigation"}
    assert "on hold" in copied.run("audit", "purge", code=1).stderr
    assert "on hold" in copied.run("audit", "erase", "P001", "--reason", "gdpr-17-1-b", code=1).stderr
    copied.run("audit", "hold", "off", "--reason", "over")
    assert copied.json("audit", "purge")["removed"] > 0
    assert report(copied).verdict is Verdict.WHOLE


def test_a_purge_on_its_way_stops_at_a_hold_and_goes_on_after_it(copied: Clinic) -> None:
    plan = planned(copied)
    call_id = recorded(copied, plan)
    copied.run("audit", "hold", "on", "--reason", "regulator")
    with copied.database() as database:
        steps.sign(copied.settings, database, call_id)
        with pytest.raises(Exception, match="on hold"):
            steps.remove(database, plan.upto)
    copied.run("audit", "hold", "off", "--reason", "over")
    assert copied.json("audit", "purge")["resumed"] is True
    assert report(copied).verdict is Verdict.WHOLE


def test_a_log_that_is_not_whole_is_not_purged(copied: Clinic) -> None:
    copied.execute("DELETE FROM prescriptions")
    refused = " ".join(copied.run("audit", "purge", code=1).stderr.split())
    assert "A log that is not whole is not purged" in refused
    assert count(copied, "audit_purges") == 0


def test_a_start_that_never_ended_is_to_be_closed_first(clinic: Clinic) -> None:
    with clinic.database() as database:
        AuditLog(database, Writer("pharmacy", "main", "clinic-mcp/main", boot_id=uuid7(), instance="gone:1"))
    sign(clinic)
    age(clinic)
    assert "pharmacy started on" in clinic.run("audit", "purge", code=1).stderr
    clinic.run("serve", "pharmacy")
    assert clinic.json("audit", "purge")["removed"] > 0
    assert report(clinic).verdict is Verdict.WHOLE


def test_between_the_steps_of_a_purge_the_log_is_whole(copied: Clinic, size: int) -> None:
    plan = planned(copied)
    assert report(copied).verdict is Verdict.WHOLE, "planned"
    call_id = recorded(copied, plan)
    assert report(copied).verdict is Verdict.WHOLE, "on record"
    with copied.database() as database:
        steps.sign(copied.settings, database, call_id)
        seen = []
        steps.remove(database, plan.upto, lambda _at: seen.append(report(copied)), step=7)
    assert [one.problem for one in seen] == [None] * len(seen)
    assert [one.purged for one in seen] == [*range(7, size, 7), size]


SCRIPT = """
from clinic_mcp.audit.retention import purge
from clinic_mcp.core.db import Database
from clinic_mcp.core.settings import Settings
purge.remove(Database(Settings().url), {upto}, step=1)
"""


def killed(clinic: Clinic, command: list[str], when: Callable[[], bool]) -> None:
    process = subprocess.Popen(
        command, env=clinic.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        eventually(when, 30, every=0.002)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(10)


def test_killed_among_the_deletions_it_goes_on_where_it_was(copied: Clinic, size: int) -> None:
    plan = planned(copied)
    call_id = recorded(copied, plan)
    with copied.database() as database:
        steps.sign(copied.settings, database, call_id)
    there = count(copied, "audit_events")
    for gone in (3, 11, 19):
        script = [sys.executable, "-c", SCRIPT.format(upto=plan.upto)]
        killed(copied, script, lambda gone=gone: count(copied, "audit_events") <= there - gone)  # type: ignore[misc]
        found = report(copied)
        assert found.verdict is Verdict.WHOLE, found.problem
    shown = copied.json("audit", "purge")
    assert shown["resumed"] is True
    assert report(copied).purged == size


def test_killed_as_soon_as_it_is_on_record_it_goes_on(copied: Clinic, size: int) -> None:
    killed(copied, [*COMMAND, "audit", "purge"], lambda: count(copied, "audit_purges") == 1)
    found = report(copied)
    assert found.verdict is Verdict.WHOLE, found.problem
    copied.run("audit", "purge")
    assert report(copied).purged == size


def test_a_plan_that_came_to_nothing_leaves_nothing_behind(copied: Clinic, size: int) -> None:
    planned(copied)
    assert count(copied, "audit_purged_calls") > 0
    copied.run("audit", "purge")
    assert report(copied).purged == size


def test_servers_write_while_it_purges(copied: Clinic) -> None:
    session = copied.consult(notes=NOTES)
    row = EXPECTED["get_patient_record"]
    token = row.right(copied, session)
    with connected(copied, "patient-records", "stdio") as caller:
        process = subprocess.Popen(
            [*COMMAND, "audit", "purge", "--json"], env=copied.environment, stdout=subprocess.PIPE, text=True
        )
        answers = []
        while process.poll() is None:
            answers.append(caller.call("get_patient_record", row.own(copied, session), token).code)
        output, _ = process.communicate(timeout=60)
    assert json.loads(output)["removed"] > 0
    assert set(answers) == {"ok"}
    sign(copied)
    assert report(copied).verdict is Verdict.WHOLE


def test_a_text_that_is_named_while_texts_are_forgotten_stays(copied: Clinic) -> None:
    """The event that names it again comes after the log was read for names, and before the text is deleted."""
    purge(copied)
    (digest,) = copied.execute(
        "SELECT digest FROM audit_slices WHERE digest NOT IN"
        " (SELECT s.digest FROM audit_slices s JOIN audit_events e ON instr(e.leaf, s.digest) > 0) LIMIT 1"
        if not copied.url
        else "SELECT digest FROM audit_slices s WHERE NOT EXISTS"
        " (SELECT 1 FROM audit_events e WHERE position(s.digest::bytea IN e.leaf) > 0) LIMIT 1"
    )[0]
    with (
        copied.database() as database,
        closing(AuditLog(database, Writer("x", "main", "clinic-mcp/main"), announce=False)) as log,
    ):
        log.append(Draft(Phase.ADMIN, "test.event", uuid7(), {"cedar": {"slice": digest}}))
        assert texts.delete_unnamed(database, texts.slices, {digest}, 0) == 0
    assert copied.execute("SELECT count(*) FROM audit_slices WHERE digest = ?", digest)[0][0] == 1


def test_roots_and_proofs_hold_wherever_the_purge_ends(clinic: Clinic, tmp_path: Path) -> None:
    """Every size from 1 to 20, each under a checkpoint: old proofs, new proofs, and every root ever signed."""
    with clinic.database() as database:
        log = AuditLog(database, Writer("test", "main", "clinic-mcp/main"), announce=False)
        while count(clinic, "audit_leaves") < 20:
            log.append(Draft(Phase.ADMIN, "test.event", uuid7(), {}, ("P001", "P002")))
            steps.Sequencer(clinic.settings, database).step(at_once=True)
        log.close()
    sizes = [row["size"] for row in clinic.execute("SELECT DISTINCT size FROM audit_checkpoints WHERE size < 20")]
    pinned = list(keys.pinned(clinic.settings.keys / keys.PUBLIC))
    for size in sorted(sizes):
        shutil.copytree(clinic.home, tmp_path / str(size))
        copy = Clinic(tmp_path / str(size))
        age(copy, size=size)
        ids = [row["event_id"] for row in copy.execute("SELECT event_id FROM audit_leaves ORDER BY leaf_index")]
        with copy.database() as database, database.read() as connection:
            proofs = [proof.prove(connection, one) for one in ids]
            roots = [root(tree.StoredNodes(connection), one) for one in range(1, 21)]
        assert purge(copy).upto == size
        with copy.database() as database, database.read() as connection:
            assert [root(tree.StoredNodes(connection), one) for one in range(1, 21)] == roots
            for index, (made, leaf) in enumerate(proofs):
                made.check(leaf, pinned)
                if index < size:
                    with pytest.raises(Found, match="was purged"):
                        proof.prove(connection, ids[index])
                else:
                    again, bytes_ = proof.prove(connection, ids[index])
                    again.check(bytes_, pinned)
        found = report(copy)
        assert (found.verdict, found.purged) == (Verdict.WHOLE, size), found.problem


@given(st.dates(min_value=date(2000, 1, 1)), st.integers(1, 50))
def test_years_are_the_calendar_s(moment: date, years: int) -> None:
    before = years_before(datetime.combine(moment, time(), UTC), years)
    assert before.year == moment.year - years
    assert before.month == moment.month
    assert before.day in (moment.day, 28)
