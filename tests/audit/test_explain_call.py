"""`audit explain`: why a call was allowed or refused, by what was in force then and what it was asked about."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.clinic import Clinic
from support.log import AuditReader, event_of
from support.servers import connected


def asked(clinic: Clinic, patient: Any, token: str | None) -> list[dict[str, Any]]:
    """The events a call left."""
    log = AuditReader(clinic, "patient-records")
    with connected(clinic, "patient-records", "stdio") as records:
        log.mark()
        records.call("get_patient_record", {"patient_id": patient}, token)
        return log.events()


def test_a_refusal_is_explained_by_any_id_of_its_call(clinic: Clinic) -> None:
    grant = clinic.tokens.grant(clinic.consult("P001"), "intake_agent", audience="patient-records")
    event = event_of(asked(clinic, "P002", grant), "decision")
    for name in (event["call_id"], event["event_id"]):
        shown = clinic.json("audit", "explain", name)
        assert (shown["decision"], shown["policies"]) == ("deny", ["no-other-patient"])
        (deciding,) = shown["deciding"]
        assert deciding["text"].lstrip().startswith("@")
        assert "forbid" in deciding["text"]
    context = shown["inputs"]["context"]
    assert context["input"] == {"patient_id": "P002"}
    uids = {(entity["uid"]["type"], entity["uid"]["id"]) for entity in shown["inputs"]["entities"]}
    assert ("Clinic::Patient", "P002") in uids
    told = clinic.run("audit", "explain", event["call_id"]).stdout
    for word in ("no-other-patient", "What the policies were asked", "forbid"):
        assert word in told


def test_what_was_allowed_is_explained_by_the_text_then_in_force(clinic: Clinic, tmp_path: Path) -> None:
    from clinic_mcp.core.policy import folder_of

    grant = clinic.tokens.grant(clinic.consult("P001"), "intake_agent", audience="patient-records")
    outcome = event_of(asked(clinic, "P001", grant), "outcome")
    policies = tmp_path / "policies"
    shutil.copytree(folder_of(clinic.settings.policies), policies)
    added = (
        '@id("no-odd-numbers") forbid (principal, action == Clinic::Action::"get_patient_record", resource)'
        ' when { context.input.patient_id == "P001" };'
    )
    (policies / "more.cedar").write_text(added, "utf-8")
    done = clinic.run("audit", "explain", outcome["event_id"], "--json", CLINIC_POLICIES=str(policies))
    shown = json.loads(done.stdout)
    assert shown["decision"] == "allow"
    assert shown["today"]["allowed"] is False
    assert "no-odd-numbers" not in str(shown["deciding"])


@pytest.mark.parametrize(
    ("patient", "code", "words"),
    [
        (["list"], "call.invalid_arguments", "did not fit the tool's schema"),
        ("P001", "call.unauthenticated", "credential"),
    ],
)
def test_where_no_policy_was_asked_it_says_why(clinic: Clinic, patient: Any, code: str, words: str) -> None:
    token = clinic.tokens.person("dr-osei", "patient-records") if code == "call.invalid_arguments" else None
    (event,) = asked(clinic, patient, token)
    shown = clinic.json("audit", "explain", event["call_id"])
    assert (shown["code"], shown["event_id"]) == (code, event["event_id"])
    assert words in shown["why"]
    assert words[:6] in clinic.run("audit", "explain", event["call_id"]).stdout


def test_it_is_on_the_record_before_anything_is_read(clinic: Clinic) -> None:
    log = AuditReader(clinic)
    done = clinic.run("audit", "explain", "nothing-of-that-name", code=1)
    assert done.stderr.strip() == "The audit log has nothing under that id."
    (looked,) = log.events()
    assert (looked["phase"], looked["code"], looked["asked"]) == (
        "audit_read",
        "audit.explain",
        {"event": "nothing-of-that-name"},
    )
