"""Policies are replaced while a server runs: whole and checked, or not at all, and on the record either way."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from clinic_mcp.core.policy import _shipped
from support.clinic import Clinic
from support.log import AuditReader
from support.servers import Process, post_call, serving
from support.waiting import eventually

TOOL, ABOUT = "get_patient_record", {"patient_id": "P001"}
CLOSED = """@id("nobody") @advice("The clinic is closed today.")
forbid (principal, action, resource is Clinic::Patient);
"""


@pytest.fixture
def folder(clinic: Clinic) -> Path:
    copied = clinic.home / "policies"
    shutil.copytree(_shipped(), copied, ignore=shutil.ignore_patterns("decisions"))
    return copied


@contextmanager
def server(clinic: Clinic, folder: Path) -> Iterator[Process]:
    with serving(clinic, "patient-records", CLINIC_POLICIES=str(folder)) as process:
        yield process


def ask(clinic: Clinic, process: Process) -> str:
    """`ok`, or the advice of the refusal."""
    token = clinic.tokens.person("dr-osei", "patient-records")
    status, body = post_call(f"{process.url}/mcp", TOOL, ABOUT, token)
    assert status == 200
    result = body["result"]
    return str(result["structuredContent"]["error"].get("advice")) if result["isError"] else "ok"


def policy_events(log: AuditReader) -> list[str]:
    return [event["code"] for event in log.events() if event["code"].startswith("policy.")]


def test_a_changed_folder_replaces_the_policies_and_both_sets_are_on_the_record(clinic: Clinic, folder: Path) -> None:
    log = AuditReader(clinic, "patient-records")
    with server(clinic, folder) as process:
        assert ask(clinic, process) == "ok"
        (folder / "today.cedar").write_text(CLOSED, "utf-8")
        eventually(lambda: ask(clinic, process) == "The clinic is closed today.", 20, every=0.2)
        (folder / "today.cedar").unlink()
        eventually(lambda: ask(clinic, process) == "ok", 20, every=0.2)
    assert policy_events(log) == ["policy.loaded", "policy.replaced", "policy.replaced"]
    loaded, first, second = (event for event in log.events() if event["code"].startswith("policy."))
    assert first["replaces"] == loaded["policies"]
    assert second["policies"] == loaded["policies"]
    texts = {row["digest"]: row["text"] for row in clinic.execute("SELECT digest, text FROM audit_policy_texts")}
    assert '@id("nobody")' in texts[first["policies"]["policy_set"]]
    decided = {event["decision"]["policy_set"] for event in log.events() if "decision" in event}
    assert decided == {loaded["policies"]["policy_set"], first["policies"]["policy_set"]}
    assert clinic.run("audit", "verify").returncode == 0


def test_a_signal_reloads_at_once(clinic: Clinic, folder: Path) -> None:
    log = AuditReader(clinic, "patient-records")
    with server(clinic, folder) as process:
        (folder / "today.cedar").write_text(CLOSED, "utf-8")
        os.kill(process.child.pid, signal.SIGHUP)
        eventually(lambda: "policy.replaced" in policy_events(log), 10)
        assert ask(clinic, process) == "The clinic is closed today."


@pytest.mark.parametrize(
    "bad",
    [
        "permit (",
        '@id("typo") forbid (principal, action, resource) when { principal.nope };',
        "forbid (principal, action, resource is Clinic::Patient);",
        '@id("no-other-patient") forbid (principal, action, resource is Clinic::Patient);',
        '@id("all") permit (principal, action, resource);',
        '@id("none") forbid (principal, action, resource);',
        '@id("sum") forbid (principal, action == Clinic::Action::"receive_stock", resource)'
        " when { context.input.quantity + 1 > 5 };",
        "\x00",
    ],
    ids=["syntax", "schema", "no id", "id taken", "allows all", "denies all", "calculates", "no text"],
)
def test_a_bad_set_never_replaces_a_good_one(clinic: Clinic, folder: Path, bad: str) -> None:
    log = AuditReader(clinic, "patient-records")
    with server(clinic, folder) as process:
        good = ask(clinic, process)
        (folder / "bad.cedar").write_text(bad, "utf-8")
        os.kill(process.child.pid, signal.SIGHUP)
        eventually(lambda: "policy.refused" in policy_events(log), 10)
        assert ask(clinic, process) == good == "ok"
        assert "Traceback" not in process.lines()
    assert policy_events(log) == ["policy.loaded", "policy.refused"]
    in_force = [event["policies"] for event in log.events() if event["code"].startswith("policy.")]
    assert in_force[0] == in_force[1]


def test_a_folder_that_vanishes_leaves_the_policies_in_force(clinic: Clinic, folder: Path) -> None:
    log = AuditReader(clinic, "patient-records")
    with server(clinic, folder) as process:
        shutil.rmtree(folder)
        eventually(lambda: "policy.refused" in policy_events(log), 20)
        assert ask(clinic, process) == "ok"


def test_a_change_that_cannot_be_recorded_waits_until_it_can(clinic: Clinic, folder: Path) -> None:
    log = AuditReader(clinic, "patient-records")
    with server(clinic, folder) as process:
        assert ask(clinic, process) == "ok"
        with clinic.write_lock():
            (folder / "today.cedar").write_text(CLOSED, "utf-8")
            os.kill(process.child.pid, signal.SIGHUP)
            eventually(lambda: "policies.not_replaced" in process.lines(), 20)
        eventually(lambda: "policy.replaced" in policy_events(log), 20)
        assert ask(clinic, process) == "The clinic is closed today."


def test_a_signal_without_a_change_changes_nothing(clinic: Clinic, folder: Path) -> None:
    log = AuditReader(clinic, "patient-records")
    with server(clinic, folder) as process:
        for _ in range(3):
            os.kill(process.child.pid, signal.SIGHUP)
            assert ask(clinic, process) == "ok"
    assert policy_events(log) == ["policy.loaded"]
