"""The log in other formats: every call once, in the shape the format wants, and a manifest that says so."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from clinic_mcp.audit.exports import table
from clinic_mcp.audit.questions.calls import Call
from support.calls import NOTES
from support.clinic import Clinic
from support.servers import connected


@pytest.fixture(scope="module")
def day(module_clinic: Clinic) -> Clinic:
    """Reads, a search, a write, refusals and a stranger, by an agent and by people."""
    clinic = module_clinic
    session = clinic.consult("P001", notes=NOTES)
    osei = clinic.tokens.person("dr-osei")
    intake = clinic.tokens.grant(session, "intake_agent")
    prescriber = clinic.tokens.grant(session, "prescription_agent")
    with connected(clinic, "patient-records", "stdio") as records:
        records.call("get_patient_record", {"patient_id": "P001"}, intake)
        records.call("get_patient_record", {"patient_id": "P002"}, intake)
        records.call("get_patient_record", {"patient_id": "P001"}, None)
        records.call("get_patient_record", {"patient_id": "P002"}, osei)
        records.call("find_patients", {"name": "Alice", "birth_date": "1985-03-12"}, osei)
    with connected(clinic, "prescriptions", "stdio") as prescriptions:
        prescriptions.call("record_prescription", {"session_id": session, "prescription": NOTES}, prescriber)
    with connected(clinic, "desk", "stdio") as desk:
        desk.call("sign_off_consultation", {"session_id": clinic.consult("P002"), "notes": "Rest"}, osei)
        desk.call("list_my_consultations", {}, osei)
    return clinic


CALLS = 8


def exported(clinic: Clinic, kind: str, path: Path, *more: str) -> tuple[list[str], dict[str, Any]]:
    manifest = clinic.json("audit", "report", kind, str(path), *more)
    assert json.loads(path.with_name(f"{path.name}.manifest.json").read_text("utf-8")) == manifest
    assert hashlib.sha256(path.read_bytes()).hexdigest() == manifest["sha256"]
    assert path.stat().st_mode & 0o077 == 0, "who reads the log is not who reads the disk"
    return path.read_text("utf-8").splitlines(), manifest


def test_a_table_has_a_line_for_every_call(day: Clinic, tmp_path: Path) -> None:
    lines, manifest = exported(day, "csv", tmp_path / "log.csv")
    rows = list(csv.DictReader(lines))
    assert (len(rows), manifest["calls"], manifest["lines"]) == (CALLS, CALLS, CALLS)
    assert tuple(rows[0]) == table.COLUMNS
    first = rows[0]
    assert (first["agent"], first["on_behalf_of"], first["tool"], first["patients"], first["ended"]) == (
        "intake_agent",
        "dr-osei",
        "get_patient_record",
        "P001",
        "ok",
    )
    assert [row["ended"] for row in rows] == ["ok", "refused", "unauthenticated", *["ok"] * 5]
    assert (manifest["first_call"], manifest["last_call"]) == (rows[0]["call_id"], rows[-1]["call_id"])


def test_no_cell_is_a_formula() -> None:
    for begins in ("=1+1", "+1", "-1", "@SUM(A1)", "\tx"):
        assert table.row(Call("c", 1, "t", who=begins))[2].startswith("'")


def test_a_period_holds_what_fell_into_it(day: Clinic, tmp_path: Path) -> None:
    assert exported(day, "csv", tmp_path / "none.csv", "--since", "2099-01-01")[1]["calls"] == 0
    assert exported(day, "csv", tmp_path / "all.csv", "--until", "2099-01-01", "--since", "1d")[1]["calls"] == CALLS


def test_an_export_overwrites_nothing_and_leaves_nothing_half(day: Clinic, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("precious", "utf-8")
    done = day.run("audit", "report", "csv", str(path), code=4)
    assert "exists already" in done.stderr
    assert path.read_text("utf-8") == "precious"
    day.run("audit", "report", "csv", str(tmp_path / "missing" / "log.csv"), code=4)
    assert [found.name for found in tmp_path.iterdir()] == ["log.csv"]


# FHIR: the constraints of R4 AuditEvent and of BALP's profiles, read from their texts (IHE ITI.BasicAudit, input/fsh)

PROFILES = {
    "IHE.BasicAudit.PatientRead": ("R", "read", "110152", "110153"),
    "IHE.BasicAudit.PatientCreate": ("C", "create", "110153", "110152"),
    "IHE.BasicAudit.PatientUpdate": ("U", "update", "110153", "110152"),
}
"""Action, interaction, and the DICOM role codes of client and server."""


def check_balp(event: dict[str, Any]) -> None:
    assert event["resourceType"] == "AuditEvent"
    assert event["type"] == {
        "system": "http://terminology.hl7.org/CodeSystem/audit-event-type",
        "code": "rest",
        "display": "Restful Operation",
    }
    assert event["recorded"].endswith("Z")
    assert event["outcome"] in ("0", "4", "8", "12")
    assert event["action"] in "CRUDE"
    for agent in event["agent"]:
        assert isinstance(agent["requestor"], bool)  # R4: 1..1
        assert agent["who"]
        assert not agent.keys() - {"type", "who", "requestor", "network", "purposeOfUse"}
    assert event["source"]["observer"]  # R4: 1..1
    kinds = [agent["type"]["coding"][0]["code"] for agent in event["agent"]]
    assert sorted(kinds)[:2] == ["110152", "110153"], "one client, one server"
    users = [agent for agent in event["agent"] if agent["type"]["coding"][0]["code"] == "IRCP"]
    assert len(users) <= 1
    for user in users:
        assert user["requestor"] is True
        assert "network" not in user
    entities = {entity["type"]["code"]: entity for entity in event["entity"]}
    assert len(entities) == len(event["entity"])
    assert entities["2"]["role"]["code"] in ("4", "3", "20")
    assert entities["2"]["what"]
    assert entities["XrequestId"]["what"]["identifier"]["value"]
    for profile in event.get("meta", {}).get("profile", []):
        action, interaction, client, server = PROFILES[profile.rsplit("/", 1)[1]]
        assert (event["action"], event["subtype"][0]["code"], event["outcome"]) == (action, interaction, "0")
        assert len(event["entity"]) >= 2
        assert entities["1"]["role"]["code"] == "1"
        assert entities["1"]["what"]["reference"].startswith("Patient/")
        by_code = {agent["type"]["coding"][0]["code"]: agent for agent in event["agent"]}
        assert by_code[server]["who"]["identifier"]["value"] in ("patient-records", "prescriptions", "desk")
        assert by_code[client]["network"]["address"]


def test_fhir_events_have_the_shape_of_basic_audit_log_patterns(day: Clinic, tmp_path: Path) -> None:
    lines, manifest = exported(day, "fhir", tmp_path / "log.ndjson")
    events = [json.loads(line) for line in lines]
    assert (manifest["calls"], manifest["lines"]) == (CALLS, len(events))
    for event in events:
        check_balp(event)
    assert len({event["id"] for event in events}) == len(events)
    profiles = [event["meta"]["profile"][0].rsplit(".", 1)[1] for event in events if "meta" in event]
    assert sorted(profiles) == ["PatientCreate", "PatientRead", "PatientRead", "PatientUpdate"]
    refused = next(event for event in events if event["outcome"] == "4")
    assert "no-other-patient" in refused["outcomeDesc"]
    listed = [
        event for event in events if event["entity"][-2]["what"]["identifier"]["value"] == "list_my_consultations"
    ]
    assert {event["entity"][0]["what"]["reference"] for event in listed} == {"Patient/P001", "Patient/P002"}


# OCSF: required attributes of base_event, api_activity and the objects they hold (ocsf-schema 1.9.0-dev)

REQUIRED = {
    *("activity_id", "category_uid", "class_uid", "type_uid", "severity_id", "time", "metadata"),
    *("actor", "api", "src_endpoint"),
}


def test_ocsf_events_have_what_their_class_requires(day: Clinic, tmp_path: Path) -> None:
    lines, _ = exported(day, "ocsf", tmp_path / "log.ocsf")
    events = [json.loads(line) for line in lines]
    assert len(events) == CALLS
    for event in events:
        assert event.keys() >= REQUIRED
        assert (event["category_uid"], event["class_uid"]) == (6, 6003)
        assert event["type_uid"] == event["class_uid"] * 100 + event["activity_id"]
        assert event["metadata"].keys() >= {"product", "version"}
        assert event["actor"].keys() & {"user", "app_uid", "app_name"}
        assert event["api"]["operation"]
        assert event["src_endpoint"].keys() & {"ip", "name"}
        assert type(event["time"]) is int
        assert event["time"] > 1_700_000_000_000, "milliseconds since the epoch"
        assert event["action_id"] in (1, 2)
    assert [event["action_id"] for event in events] == [1, 2, 2, 1, 1, 1, 1, 1]
    assert events[1]["severity_id"] > events[0]["severity_id"]


@pytest.mark.parametrize("kind", ["csv", "fhir", "ocsf"])
def test_no_name_and_no_text_of_a_patient_is_exported(day: Clinic, tmp_path: Path, kind: str) -> None:
    lines, _ = exported(day, kind, tmp_path / "log")
    for canary in ("Alice", "Thompson", "1985-03-12", "Penicillin", "headache", "Paracetamol", "Rest"):
        assert canary not in "\n".join(lines).replace("Restful", "")
