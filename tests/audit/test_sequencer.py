"""The sequencer: every event gets its place, whatever happens to the process; the tool servers need no key."""

from __future__ import annotations

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from clinic_mcp.audit import checkpoint, keys, witness
from clinic_mcp.audit.event import Draft, Phase, Writer, uuid7
from clinic_mcp.audit.log import AuditLog
from clinic_mcp.audit.sequencer import GROWN, IDLE, Sequencer, Step
from clinic_mcp.core.clinic import timestamp
from support.calls import EXPECTED
from support.clinic import COMMAND, Clinic
from support.servers import connected, running
from support.signed import report
from support.waiting import eventually


def count(clinic: Clinic, table: str) -> int:
    return int(clinic.execute(f"SELECT count(*) FROM {table}")[0][0])  # noqa: S608


def write(clinic: Clinic, events: int) -> None:
    """Events of one writer, a hundred at a time."""
    with clinic.database() as database:
        log = AuditLog(database, Writer("test", "main", "clinic-mcp/main"), announce=False)
        for _ in range(events // 100):
            log.append(*(Draft(Phase.ADMIN, "test.event", uuid7(), {}) for _ in range(100)))
        log.close()


def pending(clinic: Clinic) -> int:
    return count(clinic, "audit_events") - count(clinic, "audit_leaves")


def test_the_consultations_service_sequences_by_itself(clinic: Clinic) -> None:
    with running(clinic, "consultations"):
        clinic.consult()
        eventually(lambda: pending(clinic) == 0, 10)
    assert report(clinic).verdict == 0


def test_events_get_their_places_in_the_order_of_their_rows(clinic: Clinic) -> None:
    write(clinic, 300)
    clinic.run("audit", "sequence")
    rows = clinic.execute("SELECT leaf_index, event FROM audit_leaves ORDER BY leaf_index")
    assert [row["leaf_index"] for row in rows] == list(range(len(rows)))
    assert [row["event"] for row in rows] == sorted(row["event"] for row in rows)
    assert pending(clinic) == 0


def test_killed_again_and_again_it_continues_correctly(clinic: Clinic) -> None:
    write(clinic, 6_000)
    command = [*COMMAND, "audit", "sequence"]
    for _ in range(3):
        reached = count(clinic, "audit_leaves")
        child = subprocess.Popen(command, env=clinic.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with child:
            eventually(lambda reached=reached: count(clinic, "audit_leaves") > reached, 20, every=0.002)  # type: ignore[misc]
            child.kill()
    assert count(clinic, "audit_leaves") > 0
    clinic.run("audit", "sequence")
    found = report(clinic)
    assert (found.verdict, found.problem, found.uncovered) == (0, None, 0)
    assert found.covered == 6_001


def test_two_sequencers_at_once_are_as_good_as_one(clinic: Clinic) -> None:
    write(clinic, 3_000)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: clinic.run("audit", "sequence"), range(3)))
    assert (report(clinic).verdict, pending(clinic)) == (0, 0)


def age(clinic: Clinic, seconds: float) -> None:
    """Make the checkpoints that old, as an attacker could; verification reads no time of theirs."""
    moment = timestamp(datetime.now(UTC) - timedelta(seconds=seconds))
    with clinic.sql() as connection:
        connection.execute("DROP TRIGGER IF EXISTS audit_checkpoints_no_update")
        connection.execute("UPDATE audit_checkpoints SET recorded = ?", (moment,))


def test_a_grown_tree_is_signed_after_a_minute_and_an_idle_one_after_an_hour(clinic: Clinic) -> None:
    with clinic.database() as database:
        sequencer = Sequencer(clinic.settings, database)
        age(clinic, 0)
        write(clinic, 100)
        assert sequencer.step() == Step(100, None), "the last checkpoint is too young"
        age(clinic, GROWN.total_seconds())
        assert sequencer.step() == Step(0, 101)
        age(clinic, GROWN.total_seconds())
        assert sequencer.step() == Step(0, None), "it has not grown"
        age(clinic, IDLE.total_seconds())
        assert sequencer.step() == Step(0, 101)
    assert report(clinic).checkpoints == 3


def test_nothing_is_signed_over_a_tree_that_is_not_the_one_that_was_signed(clinic: Clinic) -> None:
    write(clinic, 100)
    clinic.run("audit", "sequence")
    clinic.execute("DROP TRIGGER audit_nodes_no_update")
    other = "(SELECT hash FROM audit_leaves WHERE leaf_index = 0)"
    clinic.execute(f"UPDATE audit_nodes SET hash = {other} WHERE level = (SELECT max(level) FROM audit_nodes)")  # noqa: S608
    clinic.run("audit", "list")
    done = clinic.run("audit", "sequence", code=1)
    assert "The tree is not the one that was signed." in done.stderr
    assert count(clinic, "audit_checkpoints") == 2


def test_a_checkpoint_says_nothing_of_a_patient(clinic: Clinic) -> None:
    clinic.consult()
    clinic.run("audit", "sequence")
    text = clinic.run("audit", "checkpoint").stdout
    signed = checkpoint.parse(text).checkpoint
    assert text.startswith(f"clinic-mcp/main\n{signed.size}\n{signed.root64}\n\n— clinic-mcp/main ")
    assert clinic.json("audit", "checkpoint")["size"] == signed.size


# The witness


def test_every_checkpoint_is_appended_to_the_witness(clinic: Clinic) -> None:
    path = clinic.home / "stick" / "witness.txt"
    path.parent.mkdir()
    for _ in range(3):
        clinic.run("audit", "list")
        clinic.run("audit", "sequence", CLINIC_WITNESS=str(path))
    sizes = [signed.checkpoint.size for signed in witness.read(path)]
    assert len(sizes) == 3
    assert sizes == sorted(sizes)
    shown = json.loads(clinic.run("audit", "verify", "--json", "--witness", str(path)).stdout)
    assert shown["witnessed"] == 3


@pytest.mark.parametrize(("path", "cause"), [("nowhere/witness.txt", "No such file"), ("/dev/full", "No space left")])
def test_a_missing_or_full_medium_is_logged_and_the_log_goes_on(clinic: Clinic, path: str, cause: str) -> None:
    clinic.run("audit", "list")
    done = clinic.run("audit", "sequence", CLINIC_WITNESS=str(clinic.home / path))
    assert "witness.failed" in done.stderr
    assert cause in done.stderr
    assert count(clinic, "audit_checkpoints") == 2


# The hardened deployment


def test_a_tool_server_runs_where_there_is_no_key_to_read(clinic: Clinic, tmp_path: Path) -> None:
    """As for a user who may not read them: the private keys are gone while the server starts, answers and writes."""
    session = clinic.consult(notes="Paracetamol 500mg three times daily for 3 days")
    row = EXPECTED["record_prescription"]
    arguments, token = row.own(clinic, session), row.right(clinic, session)
    private = [clinic.home / "keys" / name for name in (keys.PRIVATE, "grants.jwk")]
    for path in private:
        path.rename(tmp_path / path.name)
    with connected(clinic, "prescriptions", "stdio") as caller:
        assert caller.call("record_prescription", arguments, token).code == "ok"
    assert clinic.json("audit", "verify")["verdict"] == "whole", "verifying needs public keys only"
    done = clinic.run("audit", "sequence", code=4)
    assert "The key for checkpoints cannot be read." in done.stderr
    assert pending(clinic) == 0, "the places need no key; the signature does"
    for path in private:
        (tmp_path / path.name).rename(path)
    clinic.run("audit", "sequence")
    assert report(clinic).uncovered == 0
