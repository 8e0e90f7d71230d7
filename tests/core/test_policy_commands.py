"""The commands for the people who own the policies."""

from __future__ import annotations

from pathlib import Path

from support.clinic import Clinic


def test_the_matrix_says_who_may_call_what_and_by_which_policy(clinic: Clinic, tmp_path: Path) -> None:
    page = tmp_path / "matrix.html"
    permits = clinic.json("policy", "matrix", "--html", str(page))["permits"]
    assert permits["intake_agent"]["get_patient_record"] == ["intake-agent-reads-its-patient"]
    assert permits["auditor"]["read_audit_log"] == ["auditor-reads-audit-log"]
    assert not any(permits["administrator"].values())
    assert [role for role, row in permits.items() if row["record_prescription"]] == ["prescription_agent"]
    assert "intake-agent-reads-its-patient" in page.read_text("utf-8")


def test_the_matrix_escapes_what_a_policy_file_says(clinic: Clinic, tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    folder.mkdir()
    shipped = Path(__file__).parents[2] / "policies"
    for file in [*shipped.glob("*.cedar"), *shipped.glob("*.cedarschema")]:
        text = file.read_text("utf-8").replace('"agent-reads-stock"', '"<script>agent</script>"')
        (folder / file.name).write_text(text, "utf-8")
    page = tmp_path / "matrix.html"
    clinic.run("policy", "matrix", str(folder), "--html", str(page))
    assert "&lt;script&gt;agent" in page.read_text("utf-8")
    assert "<script>" not in page.read_text("utf-8")
