"""The commands for the people who own the policies: check, test and matrix. Explain and replay have their own tests."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from clinic_mcp.core.roles import Role
from clinic_mcp.core.suite import ALL_TOOLS
from support.clinic import Clinic

SHIPPED = Path(__file__).parents[2] / "policies"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped policies with their golden files."""
    copy = tmp_path / "policies"
    shutil.copytree(SHIPPED, copy)
    return copy


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new), "utf-8")


# check


def test_check_names_every_policy_and_what_is_worth_a_look(clinic: Clinic) -> None:
    shown = clinic.json("policy", "check")
    assert shown["valid"] is True
    assert {"id": "no-other-patient", "effect": "forbid"} in shown["policies"]
    (silent,) = shown["warnings"]
    assert "no-other-clinic" in silent
    assert "no-other-patient" not in silent
    assert "advice" in clinic.run("policy", "check").stderr


def test_check_refuses_an_action_that_no_server_has_a_tool_for(clinic: Clinic, folder: Path) -> None:
    action = (
        'action "cast_spell" appliesTo { principal: [Agent], resource: [Patient],'
        " context: { auth: Auth, now: datetime, input: { patient_id: String } } };"
    )
    replace(folder / "clinic.cedarschema", "  // patient-records\n", f"  {action}\n")
    done = clinic.run("policy", "check", str(folder), code=4)
    assert "cast_spell" in done.stderr
    assert "Traceback" not in done.stderr


def test_check_warns_of_policies_that_nothing_tries(clinic: Clinic, folder: Path) -> None:
    more = '@id("nurse-reads-log") permit (principal is Clinic::Clinician in Clinic::Role::"nurse", '
    more += 'action == Clinic::Action::"read_audit_log", resource is Clinic::AuditLog);'
    (folder / "more.cedar").write_text(more, "utf-8")
    assert "No golden file is decided by: nurse-reads-log." in clinic.json("policy", "check", str(folder))["warnings"]
    shutil.rmtree(folder / "decisions")
    assert any("no golden files" in one for one in clinic.json("policy", "check", str(folder))["warnings"])


# test


def test_the_shipped_policies_decide_their_golden_files_as_agreed(clinic: Clinic) -> None:
    report = clinic.json("policy", "test")
    assert report["files"] == report["passed"] == len(list(SHIPPED.glob("decisions/*/*.json"))) > 200
    assert report["failures"] == {}
    assert report["uncovered"] == []
    assert "as agreed" in clinic.run("policy", "test", str(SHIPPED)).stdout


def test_a_changed_policy_fails_the_files_it_decides_otherwise(clinic: Clinic, folder: Path) -> None:
    replace(folder / "guardrails.cedar", 'resource.sensitivity == "V"', 'resource.sensitivity == "R"')
    report = clinic.json("policy", "test", str(folder), code=1)
    failed = report["failures"]["DENY/intake-agent-reads-very-restricted-record-of-its-patient"]
    assert "deny expected, allow decided" in failed
    assert "by no-agent-on-very-restricted-record expected, by intake-agent-reads-its-patient decided" in failed
    assert "ALLOW/physician-reads-record-of-care-team-patient" not in report["failures"]
    done = clinic.run("policy", "test", str(folder), code=1)
    assert "Not as agreed" in done.stdout


def test_other_policies_for_the_same_decision_are_a_failure_too(clinic: Clinic, folder: Path) -> None:
    path = folder / "decisions" / "ALLOW" / "nurse-reads-stock.json"
    replace(path, '"clinician-reads-stock"', '"agent-reads-stock"')
    failures = clinic.json("policy", "test", str(folder), code=1)["failures"]
    assert failures == {"ALLOW/nurse-reads-stock": "by agent-reads-stock expected, by clinician-reads-stock decided"}


def test_a_policy_that_no_file_is_decided_by_fails(clinic: Clinic, folder: Path) -> None:
    for path in folder.glob("decisions/*/*.json"):
        if "pharmacist-receives-stock" in path.read_text("utf-8"):
            path.unlink()
    report = clinic.json("policy", "test", str(folder), code=1)
    assert report["failures"] == {}
    assert report["uncovered"] == ["pharmacist-receives-stock"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda case: case.pop("reason"), "fields"),
        (lambda case: case.update(more=1), "fields"),
        (lambda case: case.update(decision="deny"), "lies in ALLOW"),
        (lambda case: case["request"].pop("principal"), "missing"),
        (lambda case: case["request"].update(principal='Other::Agent::"x"'), "not an entity of the clinic"),
        (lambda case: case["request"].update(principal="Clinic::Agent::x"), "not an entity of the clinic"),
        (lambda case: case["entities"][0].pop("uid"), "missing"),
        (lambda case: case["entities"][0]["uid"].update(type="Other::Agent"), "not a type of the clinic"),
        (lambda case: case["request"].update(context={}), "1 found"),
        (lambda case: case["entities"].clear(), "1 found"),
    ],
)
def test_a_golden_file_that_is_none_is_a_failure_that_says_why(
    clinic: Clinic, folder: Path, change: Any, says: str
) -> None:
    path = folder / "decisions" / "ALLOW" / "nurse-reads-stock.json"
    case = json.loads(path.read_text("utf-8"))
    change(case)
    path.write_text(json.dumps(case), "utf-8")
    failures = clinic.json("policy", "test", str(folder), code=1)["failures"]
    assert says in failures["ALLOW/nurse-reads-stock"]


def test_a_golden_file_that_is_not_json_is_a_failure(clinic: Clinic, folder: Path) -> None:
    (folder / "decisions" / "DENY" / "somebody-does-something.json").write_text("{", "utf-8")
    failures = clinic.json("policy", "test", str(folder), code=1)["failures"]
    assert "cannot be read" in failures["DENY/somebody-does-something"]


def test_policies_without_golden_files_are_said_to_have_none(clinic: Clinic, folder: Path) -> None:
    shutil.rmtree(folder / "decisions")
    done = clinic.run("policy", "test", str(folder), code=4)
    assert "no golden files" in done.stderr
    assert str(folder) in done.stderr


# matrix


def test_the_matrix_says_who_may_call_what_and_by_which_policy(clinic: Clinic, tmp_path: Path) -> None:
    page = tmp_path / "matrix.html"
    permits = clinic.json("policy", "matrix", "--html", str(page))["permits"]
    assert set(permits) == {"intake_agent", "prescription_agent", *Role}
    assert permits["intake_agent"]["get_patient_record"] == ["intake-agent-reads-its-patient"]
    assert permits["auditor"]["read_audit_log"] == ["auditor-reads-audit-log"]
    assert permits["patient"]["get_medical_history"] == ["patient-reads-own-record"]
    own = [action for action, named in permits["patient"].items() if named]
    assert own == ["get_patient_record", "get_medical_history", "read_access_report"]
    assert [action for action, named in permits["administrator"].items() if named] == ["assign_consultation"]
    assert [role for role, row in permits.items() if row["record_prescription"]] == ["prescription_agent", "physician"]
    assert "intake-agent-reads-its-patient" in page.read_text("utf-8")


def test_the_matrix_fits_a_terminal_of_eighty_columns(clinic: Clinic) -> None:
    lines = clinic.run("policy", "matrix").stdout.splitlines()
    assert max(len(line) for line in lines) <= 80
    (record,) = [line for line in lines if "✓" in line and "get_patient_record" in line]
    assert [cell.strip() for cell in record.split("│")[2:-1]] == ["✓", "·", "✓", "✓", "·", "·", "·", "✓"]


class Page(HTMLParser):
    """What a reader of the page, or of its headings aloud, has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data.strip())

    def all(self, tag: str, **attrs: str) -> list[dict[str, str | None]]:
        return [found for name, found in self.tags if name == tag and attrs.items() <= found.items()]


@pytest.fixture
def page(clinic: Clinic, tmp_path: Path) -> str:
    file = tmp_path / "matrix.html"
    clinic.run("policy", "matrix", "--html", str(file))
    return file.read_text("utf-8")


def test_the_page_is_a_table_that_can_be_read_aloud(page: str) -> None:
    read = Page(page)
    assert len(read.all("caption")) == len(read.all("h1")) == len(read.all("main")) == 1
    assert read.all("html", lang="en")
    assert len(read.all("th", scope="col")) == 9
    assert len(read.all("th", scope="row")) == len(ALL_TOOLS) + 2
    assert len(read.all("th", scope="rowgroup")) == 6
    assert len(read.all("td")) == 8 * len(read.all("th", scope="row"))
    assert len(read.all("th")) == sum("scope" in found for found in read.all("th"))
    assert set(ALL_TOOLS) <= set(read.words)
    assert "never" in read.words, "an empty cell says something, too"


def test_the_page_loads_nothing_from_anywhere(page: str) -> None:
    read = Page(page)
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in read.tags}
    assert not re.search(r"https?:|//[a-z]|url\(|@import|src=|href=", page)


def luminance(colour: str) -> float:
    """Relative luminance of `#rgb` or `#rrggbb` (WCAG 2.2)."""
    digits = colour.lstrip("#")
    pairs = [digits[i : i + 2] for i in (0, 2, 4)] if len(digits) == 6 else [digit * 2 for digit in digits]
    parts = [int(pair, 16) / 255 for pair in pairs]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_text_stands_out_from_its_ground_in_light_dark_and_print(page: str) -> None:
    """WCAG 2.2, 1.4.3: at least 4.5 to 1."""
    themes = re.findall(r":root \{([^}]*)\}", page)
    assert len(themes) == 3
    for theme in themes:
        colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]+)", theme))
        for text, ground in (("text", "page"), ("text", "head"), ("soft", "page"), ("yes-text", "yes")):
            light, dark = sorted((luminance(colours[text]), luminance(colours[ground])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ground, colours)


def test_the_page_prints_on_paper(page: str) -> None:
    assert "@media print" in page
    assert "size: A4 landscape" in page
    assert "table-header-group" in page


def test_the_matrix_escapes_what_a_policy_file_says(clinic: Clinic, folder: Path, tmp_path: Path) -> None:
    replace(folder / "pharmacy.cedar", '"agent-reads-stock"', '"<script>agent</script>"')
    file = tmp_path / "matrix.html"
    clinic.run("policy", "matrix", str(folder), "--html", str(file))
    assert "&lt;script&gt;agent" in file.read_text("utf-8")
    assert "<script>" not in file.read_text("utf-8")


# all of them


def test_help_loads_nothing_heavy(clinic: Clinic) -> None:
    """A person who asks for help does not wait for an engine and a database."""
    import subprocess
    import sys

    look = (
        "import sys; from clinic_mcp import cli;"
        " heavy = {'cedarpy', 'sqlalchemy', 'mcp', 'pydantic'} & set(sys.modules); assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", look], env=clinic.environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    for command in ("check", "explain", "matrix", "replay", "test"):
        assert "--json" in clinic.run("policy", command, "--help").stdout
