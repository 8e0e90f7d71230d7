"""The accounting of disclosures (45 CFR 164.528): what is in it, what is not, and what never gets into the log."""

from __future__ import annotations

from typing import Any

import pytest
from clinic_mcp.audit.questions.disclosure_codes import PURPOSES, WHATS, Purpose, What
from clinic_mcp.audit.questions.disclosures import ORDINARY
from support.clinic import Clinic
from support.log import AuditReader
from support.servers import connected

AUTHORITY = ("--to", "Ghana Health Service", "--address", "P.O. Box M-44, Accra", "--purpose", "PUBHLTH")


def disclose(clinic: Clinic, *more: str, patient: str = "P001") -> Any:
    return clinic.json("audit", "disclose", patient, *AUTHORITY, "--what", "Condition", *more)


def test_a_disclosure_has_what_the_rule_asks_for(clinic: Clinic) -> None:
    """164.528(b)(2): the date, who received it and where they are, what, and on what basis."""
    disclose(clinic, "--what", "Patient", "--on", "2026-11-02")
    (line,) = clinic.json("audit", "disclosures", "P001")["disclosures"]
    assert line["date"] == "2026-11-02"
    assert (line["recipient"], line["address"]) == ("Ghana Health Service", "P.O. Box M-44, Accra")
    assert line["what"] == ["Condition", "Patient"]
    assert line["description"] == "conditions and their treatment, name, birth date and other particulars"
    assert (line["purpose"], line["basis"]) == ("PUBHLTH", "public health")
    told = clinic.run("audit", "disclosures", "P001").stdout
    for word in ("2026-11-02", "Ghana Health Service", "public health"):
        assert word in told


def test_it_is_an_event_of_its_own_phase_and_the_log_stays_whole(clinic: Clinic) -> None:
    log = AuditReader(clinic)
    shown = disclose(clinic)
    (event,) = log.events()
    assert (event["phase"], event["code"], event["patients"]) == ("disclosure", "disclosure.recorded", ["P001"])
    assert event["principal"]["type"] == "Operator"
    assert event["call_id"] == shown["call_id"]
    assert clinic.json("audit", "who", "P001")["calls"][0]["tool"] == "disclosure.recorded"
    assert clinic.json("audit", "trace", shown["call_id"])["calls"][0]["patients"] == ["P001"]
    clinic.run("audit", "sequence")
    clinic.run("audit", "verify")


def test_treatment_is_in_it_only_when_asked_for(clinic: Clinic) -> None:
    token = clinic.tokens.person("dr-osei", "patient-records")
    with connected(clinic, "patient-records", "stdio") as records:
        assert records.call("get_patient_record", {"patient_id": "P001"}, token).code == "ok"
        assert records.call("get_patient_record", {"patient_id": "P005"}, token).code == "refused"
    disclose(clinic)
    assert [line["purpose"] for line in clinic.json("audit", "disclosures", "P001")["disclosures"]] == ["PUBHLTH"]
    with_reads = clinic.json("audit", "disclosures", "P001", "--ordinary")["disclosures"]
    assert [line["purpose"] for line in with_reads] == ["PUBHLTH", "TREAT"]
    assert (with_reads[1]["recipient"], with_reads[1]["basis"]) == ("Clinician:dr-osei", "treatment")
    assert clinic.json("audit", "disclosures", "P005", "--ordinary")["disclosures"] == [], "nothing was disclosed"
    assert set(ORDINARY).isdisjoint(set(Purpose))


def test_it_reaches_back_six_years_and_comes_in_pages(clinic: Clinic) -> None:
    for day in ("2026-11-01", "2026-11-02", "2026-11-03"):
        disclose(clinic, "--on", day)
    shown = clinic.json("audit", "disclosures", "P001", "--limit", "2")
    assert [line["date"] for line in shown["disclosures"]] == ["2026-11-03", "2026-11-02"]
    assert shown["since"].startswith("20")
    years = int(disclose(clinic)["date"][:4]) - int(shown["since"][:4])
    assert years in (6, 7)
    rest = clinic.json("audit", "disclosures", "P001", "--limit", "2", "--before", str(shown["more"]))
    assert ([line["date"] for line in rest["disclosures"]], rest["more"]) == (["2026-11-01"], None)
    assert clinic.json("audit", "disclosures", "P002")["disclosures"] == []


@pytest.mark.parametrize(
    "line",
    [
        "Alice Thompson",
        "The lawyer of thompson, ALICE",
        "c/o A., born 1985-03-12",
        "Office\nof records",
        "<b>Office</b>",
        "=SUM(A1)",
        "x",
        "O" * 121,
        " ",
    ],
)
@pytest.mark.parametrize("field", ["--to", "--address"])
def test_a_recipient_is_one_line_that_does_not_name_the_patient(clinic: Clinic, field: str, line: str) -> None:
    log = AuditReader(clinic)
    done = clinic.run("audit", "disclose", "P001", *AUTHORITY, "--what", "Patient", field, line, code=1)
    assert len(done.stderr.strip().splitlines()) == 1
    assert log.events() == []


def test_a_recipient_who_shares_a_name_or_writes_it_otherwise_can_be_recorded(clinic: Clinic) -> None:
    for to in ("Thompson & Partners (law)", "Österreichische Gesundheitskasse", "Dr. N. O'Neill, Coroner"):
        assert disclose(clinic, "--to", to)["recipient"]["name"] == to


@pytest.mark.parametrize("patient", ["P999", "junk", "' OR 1=1"])
def test_a_patient_who_is_not_here_has_none(clinic: Clinic, patient: str) -> None:
    done = clinic.run("audit", "disclose", patient, *AUTHORITY, "--what", "Patient", code=1)
    assert "There is no such patient" in done.stderr


def test_every_code_has_its_words() -> None:
    assert set(PURPOSES) == set(Purpose)
    assert set(WHATS) == set(What)
