"""What the page on the audit log shows is what happens."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from support.clinic import Clinic
from support.log import AuditReader, event_of
from support.servers import connected

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "audit.md").read_text("utf-8")
DESIGN = (ROOT / "docs" / "design.md").read_text("utf-8")


def examples() -> list[list[str]]:
    """The commands of the block that follows the marker, without their comments."""
    found = re.search(r"<!-- test: questions -->\n```\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return [shlex.split(line, comments=True) for line in found[1].splitlines()]


@pytest.fixture(scope="module")
def refused(module_clinic: Clinic) -> tuple[Clinic, str]:
    """A clinic, and a call in it that was refused."""
    log = AuditReader(module_clinic, "patient-records")
    grant = module_clinic.tokens.grant(module_clinic.consult("P001"), "intake_agent", audience="patient-records")
    with connected(module_clinic, "patient-records", "stdio") as records:
        assert records.call("get_patient_record", {"patient_id": "P002"}, grant).code == "refused"
    return module_clinic, event_of(log.events(), "decision")["call_id"]


@pytest.mark.parametrize("example", examples(), ids=lambda example: " ".join(example[2:4]))
def test_an_example_on_the_page_works(refused: tuple[Clinic, str], tmp_path: Path, example: list[str]) -> None:
    clinic, call_id = refused
    program, *arguments = example
    assert program == "clinic-mcp"
    files = {name: str(tmp_path / name) for name in ("calls.csv", "calls.ndjson", "calls.json", "whole-log")}
    given = [{"CALL": call_id, **files}.get(argument, argument) for argument in arguments]
    assert clinic.run(*given).returncode == 0
    if "export" in given:
        assert any(tmp_path.iterdir())


def test_every_question_has_an_example() -> None:
    shown = {example[2] for example in examples()}
    assert shown == {
        *("who", "by", "denied", "break-glass", "overrides", "unusual", "in-doubt", "explain", "trace"),
        *("disclose", "disclosures", "export"),
    }
    assert {example[3] for example in examples() if example[2] == "export"} == {"csv", "fhir", "ocsf", "jsonl"}


def test_the_table_of_codes_names_every_question(refused: tuple[Clinic, str]) -> None:
    for example in examples():
        code = {"disclose": "disclosure.recorded"}.get(example[2], f"audit.{example[2]}")
        assert f"`{code}`" in DESIGN
    assert "`audit.settled`" in DESIGN
