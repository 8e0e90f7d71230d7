"""What is active is what the clinician signed; anything else is a draft. And once per sign-off, whatever races."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from clinic_mcp.prescriptions.reads import formulary
from clinic_mcp.prescriptions.review import Medication, review
from support.calls import NOTES, PRESCRIPTION
from support.clinic import Clinic
from support.servers import headers, request, serving

PARACETAMOL = "Paracetamol 500mg three times daily for 3 days"
TWO = "Ibuprofen 400mg twice daily for 5 days with food. Omeprazole 20mg once daily in the morning."


@pytest.fixture(scope="module")
def items(template: Clinic) -> list[Medication]:
    with template.database() as database, database.read() as connection:
        return formulary(connection, "main")


ACTIVE = "active"
ROWS: list[tuple[str, str, str, set[str], str, str | None]] = [
    # what it shows, notes, prescription, the patient's allergy classes, allergy status, finding (none: active)
    ("the signed words", PARACETAMOL, PARACETAMOL, set(), "none_known", None),
    (
        "a space before the unit",
        PARACETAMOL,
        "Paracetamol 500 mg three times daily for 3 days",
        set(),
        "none_known",
        None,
    ),
    ("other case", PARACETAMOL, PARACETAMOL.upper(), set(), "none_known", None),
    (
        "the strength from the formulary",
        "Paracetamol three times daily",
        "Paracetamol 500mg three times daily",
        set(),
        "known",
        None,
    ),
    (
        "the other name of the drug",
        PARACETAMOL,
        PARACETAMOL.replace("Paracetamol", "Acetaminophen"),
        set(),
        "none_known",
        None,
    ),
    (
        "words that change nothing",
        PARACETAMOL,
        "Take paracetamol 500mg tablets by mouth three times daily for 3 days with water",
        set(),
        "none_known",
        None,
    ),
    (
        "two signed drugs",
        TWO,
        "Ibuprofen 400mg twice daily for 5 days with food\nOmeprazole 20mg once daily in the morning",
        set(),
        "none_known",
        None,
    ),
    ("an allergy to another class", PARACETAMOL, PARACETAMOL, {"penicillin"}, "known", None),
    ("no medication, signed", "Rest and drink plenty.", "No medication needed.", set(), "none_known", None),
    ("no medication, short", "Rest.", "no medication", set(), "never_asked", None),
    ("another drug", PARACETAMOL, "Ibuprofen 400mg three times daily for 3 days", set(), "none_known", "not-signed"),
    (
        "another drug beside the signed one",
        PARACETAMOL,
        f"{PARACETAMOL}\nCetirizine 10mg daily",
        set(),
        "none_known",
        "not-signed",
    ),
    ("another dose", PARACETAMOL, PARACETAMOL.replace("500mg", "1000mg"), set(), "none_known", "wording-not-signed"),
    (
        "another dose in words",
        PARACETAMOL,
        PARACETAMOL.replace("500mg", "500mg two"),
        set(),
        "none_known",
        "wording-not-signed",
    ),
    ("a decimal dose", PARACETAMOL, PARACETAMOL.replace("500mg", "5.00mg"), set(), "none_known", "wording-not-signed"),
    ("another frequency", PARACETAMOL, PARACETAMOL.replace("three", "four"), set(), "none_known", "wording-not-signed"),
    (
        "another frequency as a number",
        PARACETAMOL,
        PARACETAMOL.replace("three times", "6 times"),
        set(),
        "none_known",
        "wording-not-signed",
    ),
    (
        "hourly for daily",
        PARACETAMOL,
        PARACETAMOL.replace("daily", "hourly"),
        set(),
        "none_known",
        "wording-not-signed",
    ),
    (
        "another duration",
        PARACETAMOL,
        PARACETAMOL.replace("3 days", "30 days"),
        set(),
        "none_known",
        "wording-not-signed",
    ),
    ("weeks for days", PARACETAMOL, PARACETAMOL.replace("days", "weeks"), set(), "none_known", "wording-not-signed"),
    ("another unit", PARACETAMOL, PARACETAMOL.replace("500mg", "500g"), set(), "none_known", "wording-not-signed"),
    (
        "an unknown word beside the drug",
        PARACETAMOL,
        f"{PARACETAMOL} and oxycodone",
        set(),
        "none_known",
        "wording-not-signed",
    ),
    (
        "an unknown drug on its own line",
        PARACETAMOL,
        f"{PARACETAMOL}\nOxycodone 10mg",
        set(),
        "none_known",
        "line-not-understood",
    ),
    ("an unknown drug alone", PARACETAMOL, "Oxycodone 10mg once", set(), "none_known", "line-not-understood"),
    (
        "an unknown drug after a semicolon",
        PARACETAMOL,
        f"{PARACETAMOL}; oxycodone 10mg",
        set(),
        "none_known",
        "line-not-understood",
    ),
    (
        "an unknown drug after a full stop",
        PARACETAMOL,
        f"{PARACETAMOL}. Oxycodone 10mg",
        set(),
        "none_known",
        "line-not-understood",
    ),
    (
        "no medication, take oxycodone",
        "Rest.",
        "No medication, take oxycodone 10mg",
        set(),
        "none_known",
        "line-not-understood",
    ),
    ("no medication except", "Rest.", "no medication except oxycodone", set(), "none_known", "line-not-understood"),
    (
        "a substitute for what is out of stock",
        "Amoxicillin 500mg three times daily",
        "Azithromycin 250mg three times daily",
        set(),
        "none_known",
        "substitute",
    ),
    (
        "what is out of stock",
        "Amoxicillin 500mg three times daily",
        "Amoxicillin 500mg three times daily",
        set(),
        "none_known",
        "out-of-stock",
    ),
    (
        "an alternative to what is in stock",
        "Ibuprofen 400mg twice daily",
        "Paracetamol 500mg twice daily",
        set(),
        "none_known",
        "not-signed",
    ),
    ("an allergy to its class", "Amoxicillin 500mg", "Amoxicillin 500mg", {"penicillin"}, "known", "allergy"),
    (
        "an NSAID for an aspirin allergy",
        "Ibuprofen 400mg twice daily",
        "Ibuprofen 400mg twice daily",
        {"nsaid"},
        "known",
        "allergy",
    ),
    ("allergies never asked", PARACETAMOL, PARACETAMOL, set(), "never_asked", "allergies-never-asked"),
    ("the name inside another word", "Paracetamolum", PARACETAMOL, set(), "none_known", "not-signed"),
    (
        "a doctor's no",
        "No ibuprofen. Paracetamol 500mg three times daily for 3 days",
        "Ibuprofen 400mg three times daily for 3 days",
        set(),
        "none_known",
        "stop-or-check",
    ),
    (
        "two doses swapped between two drugs",
        TWO,
        "Ibuprofen 20mg twice daily\nOmeprazole 400mg once daily",
        set(),
        "none_known",
        "stop-or-check",
    ),
    (
        "the directions of one drug for another",
        f"{PARACETAMOL}. Ibuprofen 400mg once.",
        "Ibuprofen 400mg three times daily for 3 days",
        set(),
        "none_known",
        "stop-or-check",
    ),
    (
        "the signed numbers in another order",
        PARACETAMOL,
        "Paracetamol 3 tablets 500mg daily for three days",
        set(),
        "none_known",
        "stop-or-check",
    ),
    (
        "a drug the notes stop",
        f"Stop ibuprofen. {PARACETAMOL}",
        "Ibuprofen 400mg three times daily for 3 days",
        set(),
        "none_known",
        "stop-or-check",
    ),
    ("nothing but a full stop", PARACETAMOL, ".", set(), "none_known", "stop-or-check"),
]


@pytest.mark.parametrize(
    ("notes", "prescription", "classes", "status", "finding"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_only_the_signed_words_become_active(
    items: list[Medication], notes: str, prescription: str, classes: set[str], status: str, finding: str | None
) -> None:
    result = review(prescription, notes, items, frozenset(classes), status)
    codes = {one.code for one in result.findings}
    if finding is None:
        assert result.active, codes
    else:
        assert not result.active
        assert finding in codes or finding == "stop-or-check"


def test_findings_name_no_patient_and_say_what_to_do(items: list[Medication]) -> None:
    result = review("Oxycodone 10mg for Alice", PARACETAMOL, items, frozenset(), "none_known")
    assert all("Alice" not in one.sentence and "oxycodone" not in one.sentence.lower() for one in result.findings)


def record(url: str, clinic: Clinic, session: str, text: str) -> dict[str, object]:
    token = clinic.tokens.grant(session, "prescription_agent", audience="prescriptions")
    body = request("record_prescription", {"session_id": session, "prescription": text})
    answer = httpx.post(f"{url}/mcp", json=body, headers=headers(token), timeout=30)
    result: dict[str, object] = answer.json()["result"]["structuredContent"]
    return result


def test_a_draft_says_so_and_is_kept_with_its_findings(clinic: Clinic) -> None:
    session = clinic.consult(notes=NOTES)
    with serving(clinic, "prescriptions") as server:
        said = str(record(server.url, clinic, session, "Oxycodone 10mg")["result"])
    assert "draft" in said
    (row,) = clinic.execute("SELECT status, intent, findings, patient_id FROM prescriptions")
    assert (row["status"], row["intent"], row["patient_id"]) == ("draft", "proposal", "P001")
    assert {finding["code"] for finding in json.loads(row["findings"])} == {"line-not-understood", "left-out"}


RACER = """
import sys, json, httpx
url, session, token, text = sys.argv[1:]
headers = {"Authorization": "Bearer " + token, "Accept": "application/json, text/event-stream",
           "MCP-Protocol-Version": "2025-11-25"}
body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "record_prescription",
        "arguments": {"session_id": session, "prescription": text}}}
answer = httpx.post(url + "/mcp", json=body, headers=headers, timeout=30).json()
print(json.dumps(answer["result"]["structuredContent"]))
"""


def test_eight_processes_on_two_servers_record_one_prescription(clinic: Clinic) -> None:
    session = clinic.consult(notes=NOTES)
    token = clinic.tokens.grant(session, "prescription_agent", audience="prescriptions")
    with serving(clinic, "prescriptions") as one, serving(clinic, "prescriptions") as two:
        racers = [
            subprocess.Popen(
                [sys.executable, "-c", RACER, (one, two)[number % 2].url, session, token, PRESCRIPTION],
                stdout=subprocess.PIPE,
                text=True,
            )
            for number in range(8)
        ]
        said = {racer.communicate(timeout=60)[0] for racer in racers}
    assert len(said) == 1
    assert "recorded" in said.pop()
    assert clinic.execute("SELECT count(*) FROM prescriptions")[0][0] == 1
    assert clinic.run("audit", "verify").returncode == 0


def test_of_eight_different_prescriptions_at_once_one_is_recorded(clinic: Clinic) -> None:
    session = clinic.consult(notes=NOTES)
    with serving(clinic, "prescriptions") as server, ThreadPoolExecutor(8) as pool:
        texts = [f"{PRESCRIPTION}{' ' * number}" for number in range(8)]
        said = list(pool.map(lambda text: record(server.url, clinic, session, text), texts))
    assert sum("result" in answer for answer in said) == 1
    errors = [answer["error"] for answer in said if "error" in answer]
    assert {error["code"] for error in errors if isinstance(error, dict)} == {"conflict"}
    assert clinic.execute("SELECT count(*) FROM prescriptions")[0][0] == 1
