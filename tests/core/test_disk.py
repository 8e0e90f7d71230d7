"""Room on the log's disk runs out in three steps, each of which says what it is; nothing old is dropped for room."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from clinic_mcp.core.disk import WARN_EVERY, Disk, Room
from clinic_mcp.core.errors import AuditUnavailable
from support.clinic import Clinic
from support.log import AuditReader
from support.servers import piped, post_call, serving

ALL = str(10**9)
"""Megabytes nobody has: the step is always reached."""
NEVER = "0"
WHO = {"name": "Thompson", "birth_date": "1985-03-12"}


def steps(warn: str = NEVER, bulk: str = NEVER, stop: str = NEVER) -> dict[str, str]:
    return {"CLINIC_DISK_WARN_MB": warn, "CLINIC_DISK_BULK_MB": bulk, "CLINIC_DISK_STOP_MB": stop}


def test_each_step_begins_below_its_megabytes(tmp_path: Path) -> None:
    huge = int(ALL)
    assert Disk(tmp_path, (0, 0, 0)).room() is Room.ENOUGH
    assert Disk(tmp_path, (huge, 0, 0)).room() is Room.LITTLE
    assert Disk(tmp_path, (huge, huge, 0)).room() is Room.NOT_FOR_BULK
    assert Disk(tmp_path, (huge, huge, huge)).room() is Room.NONE


def test_without_a_folder_nobody_can_tell_and_the_database_says_it(tmp_path: Path) -> None:
    assert Disk(None, (int(ALL),) * 3).room() is Room.ENOUGH
    assert Disk(tmp_path / "gone", (int(ALL),) * 3).room() is Room.ENOUGH


def test_it_warns_once_a_minute(tmp_path: Path) -> None:
    said: list[int] = []
    clock = [0.0]
    disk = Disk(tmp_path, (int(ALL), 0, 0), said.append, lambda: clock[0])
    for moment in (0, 1, 30, WARN_EVERY, WARN_EVERY + 1):
        clock[0] = moment
        disk.room()
    assert len(said) == 2


def test_the_last_step_refuses_every_call(tmp_path: Path) -> None:
    disk = Disk(tmp_path, (int(ALL),) * 3)
    for bulk in (True, False):
        with pytest.raises(AuditUnavailable, match="disk full"):
            disk.check(bulk=bulk)


def test_a_little_room_is_a_warning_and_calls_are_answered(clinic: Clinic) -> None:
    token = clinic.tokens.person("dr-osei", "patient-records")
    with serving(clinic, "patient-records", **steps(warn=ALL), CLINIC_DISK_PATH=str(clinic.home)) as server:
        status, body = post_call(f"{server.url}/mcp", "find_patients", WHO, token)
        assert (status, body["result"].get("isError", False)) == (200, False)
        warnings = [json.loads(line) for line in server.lines().splitlines() if "nearly_full" in line]
    assert len(warnings) == 1
    assert warnings[0]["free_mb"] > 0


def test_less_room_refuses_what_answers_about_many_patients_and_records_it(clinic: Clinic) -> None:
    token = clinic.tokens.person("dr-osei", "patient-records")
    log = AuditReader(clinic, "patient-records")
    little = steps(warn=ALL, bulk=ALL)
    with serving(clinic, "patient-records", **little, CLINIC_DISK_PATH=str(clinic.home)) as server:
        _, many = post_call(f"{server.url}/mcp", "find_patients", WHO, token)
        _, one = post_call(f"{server.url}/mcp", "get_patient_record", {"patient_id": "P001"}, token)
    error = many["result"]["structuredContent"]["error"]
    assert error["code"] == "audit_unavailable"
    assert "disk" in error["message"]
    assert one["result"]["structuredContent"]["id"] == "P001"
    assert ("decision", "call.audit_unavailable") in log.phases()
    assert clinic.run("audit", "verify").returncode == 0


def test_no_room_refuses_a_server_s_start_in_words(clinic: Clinic) -> None:
    none = {**steps(ALL, ALL, ALL), "CLINIC_DISK_PATH": str(clinic.home)}
    done = clinic.run("serve", "pharmacy", code=4, **none)
    assert "disk full" in done.stderr
    assert "Traceback" not in done.stderr


def test_steps_out_of_order_are_a_setting_to_mend(clinic: Clinic) -> None:
    done = clinic.run("serve", "pharmacy", code=4, **steps(warn="10", bulk="20"))
    assert "CLINIC_DISK_BULK_MB" in done.stderr


def test_a_stdio_server_says_on_stderr_alone_that_room_is_short(clinic: Clinic) -> None:
    with piped(clinic, "pharmacy", **steps(warn=ALL), CLINIC_DISK_PATH=str(clinic.home)) as pipe:
        pipe.send({"jsonrpc": "2.0", "id": 1, "method": "ping"})
        assert pipe.receive()["id"] == 1
