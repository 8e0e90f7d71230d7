"""Consultations through the command, with the people's answers as options."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import ormsgpack
import pytest
from clinic_agent.checkpoints import open_checkpoints
from conftest import World
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

COMMAND = [sys.executable, "-m", "clinic_agent.cli"]
NOTES = "Viral infection. Paracetamol 500 mg every 6 hours for 3 days."


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        env={**os.environ, **environment},
        check=False,
    )


def result(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(done.stdout)
    return value


def test_a_consultation_runs_to_the_prescription_and_is_closed(over_http: World) -> None:
    done = run("consult", "--patient", "P001", "headache and fever", "--diagnose", NOTES, "--clinician", "dr-osei")
    assert done.returncode == 0, done.stderr
    for words in ("intake_agent → get_patient_record: allowed", "Triage 3 (moderate)", "Sign-off by dr-osei recorded"):
        assert words in done.stdout
    assert "not a language model" in done.stdout
    [consultation] = over_http.clinic.consultations.values()
    assert (consultation["status"], consultation["open"]) == ("complete", False)
    assert consultation["notes"] == NOTES
    assert over_http.mcp.recorded[consultation["session_id"]].startswith("Paracetamol 500 mg every 6 hours for 3 days")


def test_the_json_result_says_who_wrote_it_and_what_was_called(over_http: World) -> None:
    value = result(run("consult", "--patient", "P001", "headache and fever", "--diagnose", NOTES, "--json"))
    assert value["outcome"] == "complete"
    assert value["model_note"] == "Written by the clinic's rules, a stand-in that is not a language model."
    assert [call["tool"] for call in value["calls"]][:2] == ["get_patient_record", "get_medical_history"]
    assert value["usage"]["cost_usd"] == 0


def test_an_emergency_never_waits_for_the_doctor(over_http: World) -> None:
    done = run("consult", "--patient", "P001", "chest pain radiating to my left arm", "--json")
    assert done.returncode == 3
    assert result(done)["outcome"] == "emergency"
    [consultation] = over_http.clinic.consultations.values()
    assert (consultation["status"], consultation["open"]) == ("emergency", False)


def test_a_question_goes_to_the_patient_and_back(over_http: World) -> None:
    options = ("--ask", "Since when?", "--answer", "Two days.", "--diagnose", NOTES, "--json")
    done = run("consult", "--patient", "P001", "headache", *options)
    assert done.returncode == 0, done.stderr
    [consultation] = over_http.clinic.consultations.values()
    assert consultation["clarifications"] == [{"question": "Since when?", "answer": "Two days."}]
    roles = [message["role"] for message in result(done)["messages"]]
    assert roles == ["patient", "assistant", "doctor_question", "patient", "prescription"]


def test_an_out_of_stock_medicine_is_replaced_and_said_plainly(over_http: World) -> None:
    notes = "Sinusitis. Amoxicillin 500 mg three times a day for 7 days."
    value = result(run("consult", "--patient", "P002", "sinus pain", "--diagnose", notes, "--json"))
    assert "Azithromycin in place of Amoxicillin, which is out of stock" in value["prescription"]


def test_the_patient_is_answered_in_french_and_the_doctor_in_english(over_http: World) -> None:
    words = "J'ai de la fièvre et mal à la tête depuis deux jours"
    value = result(run("consult", "--patient", "P001", words, "--diagnose", NOTES, "--json"))
    assert "Un médecin va examiner" in value["messages"][1]["content"]
    assert "Recognised: headache, fever." in value["intake_summary"]


def test_without_answers_it_stops_cleanly_and_a_new_process_goes_on(over_http: World) -> None:
    first = run("consult", "--patient", "P001", "headache and fever")
    assert first.returncode == 4, first.stderr
    [session] = over_http.clinic.consultations
    assert f"clinic-agent resume {session}" in first.stdout
    assert over_http.clinic.consultations[session]["status"] == "awaiting_doctor"
    asked = run("resume", session, "--ask", "Since when?", "--json")
    assert (asked.returncode, result(asked)["waits_for"]) == (4, "patient")
    answered = run("consult", "--session", session, "--answer", "Two days.", "--json")
    assert (answered.returncode, result(answered)["waits_for"]) == (4, "doctor")
    done = run("resume", session, "--diagnose", NOTES, "--json")
    assert (done.returncode, result(done)["outcome"]) == (0, "complete")
    assert session in over_http.mcp.recorded


def test_a_sign_off_that_was_recorded_before_a_crash_is_not_asked_for_twice(over_http: World) -> None:
    run("consult", "--patient", "P001", "headache and fever")
    [session] = over_http.clinic.consultations
    over_http.clinic.consultations[session].update(status="prescribing", signed_off_by="dr-osei", notes=NOTES)
    assert run("resume", session, "--diagnose", NOTES, "--json").returncode == 0
    recorded = over_http.mcp.recorded[session]
    again = run("resume", session, "--diagnose", "Something else", "--json")
    assert (again.returncode, result(again)["outcome"]) == (0, "complete"), "it ended, so nobody is asked"
    assert over_http.mcp.recorded[session] == recorded == result(again)["prescription"]
    assert over_http.clinic.consultations[session]["notes"] == NOTES


def test_other_notes_than_those_signed_before_a_crash_are_refused_in_the_services_words(over_http: World) -> None:
    run("consult", "--patient", "P001", "headache and fever")
    [session] = over_http.clinic.consultations
    over_http.clinic.consultations[session].update(status="prescribing", signed_off_by="dr-osei", notes=NOTES)
    other = run("resume", session, "--diagnose", "Ibuprofen 400 mg.", "--json")
    assert (other.returncode, result(other)["error"]) == (1, "conflict")
    assert other.stderr == "clinic-agent: Signed off with other notes.\n"
    assert over_http.mcp.recorded == {}
    assert run("resume", session, "--diagnose", NOTES, "--json").returncode == 0


def test_stdio_servers_work_from_the_command(world: World, serve: Any) -> None:
    serve("stdio")
    done = run("consult", "--patient", "P001", "headache", "--diagnose", NOTES, "--servers", "stdio", "--json")
    assert done.returncode == 0, done.stderr
    spawned = [line.split()[0] for line in (world.home / "spawned.txt").read_text().splitlines()]
    assert sorted(spawned) == ["knowledge-base", "patient-records", "pharmacy", "prescriptions"]


@pytest.mark.parametrize(
    ("arguments", "variables", "words"),
    [
        (("resume", "S-unknown"), {}, "There is no consultation S-unknown"),
        (("consult", "--patient", "P001", "x"), {"CLINIC_MODEL": "gpt"}, "is not a model"),
        (("consult", "--patient", "P001", "x"), {"CLINIC_AGENT_CREDENTIAL": "/no/file"}, "clinic-mcp init"),
        (("consult", "--patient", "P001", "x"), {"CLINIC_CONSULTATIONS_URL": "http://127.0.0.1:9"}, "clinic-mcp up"),
        (("consult", "--patient", "P001", "x"), {"CLINIC_SERVER_URLS": "nonsense"}, "CLINIC_SERVER_URLS"),
        (("consult", "--patient", "P001", "x"), {"CLINIC_CHECKPOINTS": "/proc/x/y.db"}, "CLINIC_CHECKPOINTS"),
        (("consult", "--patient", "P001", "x", "--diagnose", "y", "--clinician", "nobody"), {}, "nobody.json"),
    ],
)
def test_what_goes_wrong_is_one_sentence_without_a_traceback(
    arguments: tuple[str, ...], variables: dict[str, str], words: str, over_http: World
) -> None:
    done = run(*arguments, **variables)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_wrong_usage_has_its_own_exit_code() -> None:
    assert run("consult").returncode == 2
    assert run("consult", "--patient", "P001", "x", "--servers", "carrier-pigeon").returncode == 2


def test_help_imports_neither_langgraph_nor_mcp() -> None:
    started = time.monotonic()
    done = run("--help", PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0
    assert time.monotonic() - started < 10
    loaded = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert not loaded & {"langgraph", "langchain_core", "mcp", "httpx"}


def test_checkpoints_are_private_and_a_crafted_one_runs_no_code(over_http: World, tmp_path: Path) -> None:
    run("consult", "--patient", "P001", "headache")
    file = tmp_path / "checkpoints.db"
    assert file.stat().st_mode & 0o077 == 0
    crafted = ormsgpack.packb(ormsgpack.Ext(0, ormsgpack.packb(("os", "getenv", "CLINIC_HOME"))))
    permissive = JsonPlusSerializer(allowed_msgpack_modules=True)
    assert permissive.loads_typed(("msgpack", crafted)) == str(tmp_path), "the crafted row is not one"
    with open_checkpoints(file) as saver:
        assert saver.serde.loads_typed(("msgpack", crafted)) != str(tmp_path)
