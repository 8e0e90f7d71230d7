"""The record of processing activities says what the installation is and did, and nothing about a patient."""

from __future__ import annotations

import json

import pytest
from clinic_mcp.audit.retention.ropa import CATEGORIES
from clinic_mcp.core.db import metadata
from support.clinic import Clinic
from support.signed import sign, work

SET = {
    "CLINIC_CONTROLLER": "Clinic at the Lake",
    "CLINIC_CONTROLLER_CONTACT": "office@clinic.example",
    "CLINIC_DATA_PROTECTION_OFFICER": "dpo@clinic.example",
}
PATIENTS = ("Alice", "Thompson", "P001", "P002", "Penicillin", "1985-03-12")


@pytest.fixture(scope="module")
def worked(module_clinic: Clinic) -> Clinic:
    work(module_clinic)
    sign(module_clinic)
    return module_clinic


def test_it_answers_every_letter_of_the_article(worked: Clinic) -> None:
    found = json.loads(worked.run("audit", "ropa", "--json", **SET).stdout)
    assert [key for key in found if key[1] == "_"] == [
        "a_controller",
        "b_purposes",
        "c_categories",
        "d_recipients",
        "e_transfers",
        "f_time_limits",
        "g_measures",
    ]
    assert found["a_controller"]["name"] == "Clinic at the Lake"
    (treatment,) = [one for one in found["b_purposes"] if one["purpose"] == "TREAT"]
    allowed = worked.execute("SELECT count(*) FROM audit_events WHERE phase = 'intent'")[0][0]
    assert sum(one["calls"] for one in found["b_purposes"]) == allowed >= treatment["calls"] > 0
    rows = {one["table"]: one["rows"] for one in found["c_categories"]}
    assert rows["patients"] == worked.execute("SELECT count(*) FROM patients")[0][0]
    assert {"kind": "Auditor", "role": "auditor"}.items() <= next(
        one for one in found["d_recipients"]["people"] if one["kind"] == "Auditor"
    ).items()
    assert "intake_agent" in found["d_recipients"]["agents"]
    assert "language model" in found["e_transfers"]["outside"]
    assert found["f_time_limits"]["audit_log_years"] == 6
    assert (found["f_time_limits"]["detail"], found["f_time_limits"]["detail_days"]) == ("off", 90)


def test_its_measures_are_facts(worked: Clinic) -> None:
    measures = worked.json("audit", "ropa")["g_measures"]
    assert measures["database"] == ("postgresql" if worked.url else "sqlite")
    assert measures["separate_roles"] == ("applied" if worked.url else measures["separate_roles"])
    assert set(measures["private_files"].values()) == {"0o600"}
    assert {"keys/checkpoints.jwk", "credentials/dr-osei.json"} <= measures["private_files"].keys()
    assert len(measures["policies"]["policy_set"]) == 64
    assert measures["policies"]["forbids"] > 0
    assert measures["audit_log"]["guards"] == "in place: append-only"
    assert measures["audit_log"]["last_checkpoint"]["size"] > 0
    assert measures["audit_log"]["witness"] == "not set"


def test_what_is_missing_is_said_to_be(worked: Clinic) -> None:
    assert set(worked.json("audit", "ropa")["a_controller"].values()) == {"not set"}


def test_what_was_erased_and_held_stands_in_it(clinic: Clinic) -> None:
    clinic.run("audit", "erase", "P001", "--reason", "gdpr-17-1-a")
    clinic.run("audit", "hold", "on", "--reason", "incident")
    limits = clinic.json("audit", "ropa")["f_time_limits"]
    assert limits["last_erasure"]
    assert limits["on_hold"] is True
    assert (limits["last_purge"], limits["purged_before"]) == (None, None)


@pytest.mark.parametrize("form", ["--json", "--markdown"])
def test_no_patient_is_in_it(worked: Clinic, form: str) -> None:
    text = worked.run("audit", "ropa", form).stdout
    assert len(text) > 2_000
    assert [name for name in PATIENTS if name in text] == []


def test_as_a_page_it_has_a_heading_for_each_letter(worked: Clinic) -> None:
    text = worked.run("audit", "ropa").stdout
    assert text == worked.run("audit", "ropa", "--markdown").stdout or text.startswith("# Record of processing")
    for letter in "abcdefg":
        assert f"## ({letter}) " in text


def test_that_it_was_made_is_on_record(worked: Clinic) -> None:
    worked.run("audit", "ropa", "--since", "365d")
    row = worked.execute("SELECT leaf FROM audit_events WHERE code = 'audit.ropa' ORDER BY id DESC LIMIT 1")[0]
    event = json.loads(row["leaf"])
    assert (event["phase"], list(event["asked"])) == ("audit_read", ["since"])


def test_its_categories_are_tables_there_are() -> None:
    assert CATEGORIES.keys() <= metadata.tables.keys()
