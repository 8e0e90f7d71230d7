"""The log in other forms: every call once, whole or not at all, and a manifest that says what there is."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from clinic_mcp.audit.exports import table
from clinic_mcp.audit.questions.calls import Call
from support.clinic import COMMAND, Clinic
from support.day import CALLS, spend
from support.log import AuditReader
from support.waiting import eventually
from support.written import answered, writing

FORMS = ("csv", "fhir", "ocsf")


@pytest.fixture(scope="module")
def day(module_clinic: Clinic) -> Clinic:
    spend(module_clinic)
    module_clinic.run("audit", "sequence")
    return module_clinic


def exported(clinic: Clinic, form: str, path: Path, *more: str) -> tuple[list[str], dict[str, Any]]:
    manifest = clinic.json("audit", "export", form, str(path), *more)
    beside = path.with_name(f"{path.name}.manifest.json")
    assert json.loads(beside.read_text("utf-8")) == manifest
    assert manifest["files"][path.name]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    for file in (path, beside):
        assert file.stat().st_mode & 0o077 == 0, "who reads the log is not who reads the disk"
    assert sorted(one.name for one in path.parent.iterdir()) == sorted([path.name, beside.name])
    return path.read_text("utf-8").splitlines(), manifest


def test_a_table_has_a_line_for_every_call(day: Clinic, tmp_path: Path) -> None:
    lines, manifest = exported(day, "csv", tmp_path / "log.csv")
    rows = list(csv.DictReader(lines))
    assert (len(rows), manifest["calls"], manifest["files"]["log.csv"]["lines"]) == (CALLS, CALLS, CALLS)
    assert tuple(rows[0]) == table.COLUMNS
    first = rows[0]
    assert (first["agent"], first["on_behalf_of"], first["tool"], first["patients"], first["ended"]) == (
        "intake_agent",
        "dr-osei",
        "get_patient_record",
        "P001",
        "ok",
    )
    assert [row["ended"] for row in rows] == ["ok", "refused", "unauthenticated", *["ok"] * 7]
    assert manifest["range"] == {
        "first": {"call_id": rows[0]["call_id"], "time": rows[0]["time"]},
        "last": {"call_id": rows[-1]["call_id"], "time": rows[-1]["time"]},
    }


@pytest.mark.parametrize("form", FORMS)
def test_a_manifest_says_under_which_checkpoint_it_was_made(day: Clinic, tmp_path: Path, form: str) -> None:
    manifest = exported(day, form, tmp_path / "log")[1]
    ((note,),) = day.execute("SELECT note FROM audit_checkpoints ORDER BY id DESC LIMIT 1")
    assert manifest["checkpoint"] == note
    assert (manifest["form"], manifest["origin"]) == (form, "clinic-mcp/main")
    assert manifest["asked"] == {"since": None, "until": None}


def test_the_verifiable_log_has_the_same_in_its_manifest(day: Clinic, tmp_path: Path) -> None:
    folder = tmp_path / "log"
    manifest = day.json("audit", "export", "jsonl", str(folder))
    lines = (folder / "events.jsonl").read_text("utf-8").splitlines()
    first, last = (json.loads(json.loads(lines[n])["leaf"]) for n in (0, -1))
    for end, event in (("first", first), ("last", last)):
        assert manifest["range"][end] == {"event_id": event["event_id"], "recorded": event["recorded"]}
    assert manifest["count"] == len(lines)
    assert manifest["checkpoint"].startswith("clinic-mcp/main\n")
    for name, about in manifest["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == about["sha256"]
        assert (folder / name).stat().st_mode & 0o077 == 0
    assert folder.stat().st_mode & 0o077 == 0
    day.run("audit", "verify", "--export", str(folder), code=None)
    assert [one.name for one in tmp_path.iterdir()] == ["log"]


def test_no_cell_is_a_formula() -> None:
    for begins in ("=1+1", "+1", "-1", "@SUM(A1)", "\tx"):
        assert table.row(Call("c", 1, "t", who=begins))[2].startswith("'")


def test_a_period_holds_what_fell_into_it(day: Clinic, tmp_path: Path) -> None:
    none, some = tmp_path / "none", tmp_path / "some"
    none.mkdir()
    some.mkdir()
    manifest = exported(day, "csv", none / "log.csv", "--since", "2099-01-01")[1]
    assert (manifest["calls"], manifest["range"]) == (0, {"first": None, "last": None})
    manifest = exported(day, "csv", some / "log.csv", "--until", "2099-01-01", "--since", "1d")[1]
    assert manifest["calls"] == CALLS
    assert manifest["asked"]["until"] == "2099-01-01T00:00:00.000Z"


@pytest.mark.parametrize("form", [*FORMS, "jsonl"])
def test_an_export_is_on_the_record_before_it_is_written(day: Clinic, tmp_path: Path, form: str) -> None:
    log = AuditReader(day)
    day.run("audit", "export", form, str(tmp_path / "missing" / "log"), code=4 if form != "jsonl" else 0)
    (looked,) = log.events()
    assert (looked["phase"], looked["code"], looked["asked"]) == ("audit_read", "audit.export", {"form": form})


@pytest.mark.parametrize("form", [*FORMS, "jsonl"])
def test_an_export_overwrites_nothing(day: Clinic, tmp_path: Path, form: str) -> None:
    path = tmp_path / "log"
    if form == "jsonl":
        path.mkdir()
        (path / "precious").write_text("precious", "utf-8")
    else:
        path.write_text("precious", "utf-8")
    done = day.run("audit", "export", form, str(path), code=4)
    assert "never overwritten" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert [one.name for one in tmp_path.rglob("*")] == (["log", "precious"] if form == "jsonl" else ["log"])


def test_a_manifest_of_another_export_is_not_overwritten_either(day: Clinic, tmp_path: Path) -> None:
    beside = tmp_path / "log.csv.manifest.json"
    beside.write_text("precious", "utf-8")
    day.run("audit", "export", "csv", str(tmp_path / "log.csv"), code=4)
    assert beside.read_text("utf-8") == "precious"
    assert [one.name for one in tmp_path.iterdir()] == [beside.name]


@pytest.mark.parametrize("kind", ["whole_file", "whole_folder"])
def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path, kind: str) -> None:
    """A process that may write no file longer than a limit has what a full disk gives: an error in the middle."""
    script = f"""
import sys
from pathlib import Path
from clinic_mcp.audit.exports.whole import {kind}
from clinic_mcp.core.errors import Misconfigured
try:
    with {kind}(Path(sys.argv[1])) as made:
        (made / "part").write_bytes(b"x" * 100_000) if isinstance(made, Path) else made.write(b"x" * 100_000)
except Misconfigured as exc:
    print(exc.message, exc.advice)
"""
    limited = ["sh", "-c", 'ulimit -f 8; trap "" XFSZ; exec "$@"', "sh", sys.executable, "-c", script]
    done = subprocess.run([*limited, str(tmp_path / "log")], capture_output=True, text=True, timeout=60, check=True)
    assert "log cannot be written (File too large). Nothing of it was left behind." in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_an_export_that_is_stopped_leaves_nothing(clinic: Clinic, tmp_path: Path, form: str, number: int) -> None:
    with writing(clinic) as log:
        for _ in range(40):
            log.append(*(draft for _ in range(100) for draft in answered("P001")))
    target = tmp_path / "out" / "log"
    target.parent.mkdir()
    with subprocess.Popen(
        [*COMMAND, "audit", "export", form, str(target)],
        env=clinic.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        eventually(lambda: [*target.parent.iterdir()], 30, every=0.001)
        os.kill(process.pid, number)
        assert process.wait(30) == 128 + number
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("form", FORMS)
def test_no_name_and_no_text_of_a_patient_is_exported(day: Clinic, tmp_path: Path, form: str) -> None:
    lines, _ = exported(day, form, tmp_path / "log")
    for canary in ("Alice", "Thompson", "1985-03-12", "Penicillin", "headache", "Paracetamol", "Rest", "street"):
        assert canary not in "\n".join(lines)
