"""Nothing a caller wrote, and nothing about a patient, is in the log's text or in a server's lines."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from clinic_mcp.audit.retention.detail import check_details
from clinic_mcp.core.db import metadata
from clinic_mcp.registry import SERVERS
from support.calls import EXPECTED, NOTES
from support.clinic import Clinic
from support.servers import GRANT_META, headers, piped, request, serving

MARK = "Kanarienvogel"
PATIENT_DATA = (
    "Alice",
    "Thompson",
    "Penicillin",
    "Lisinopril",
    "1985-03-12",
    "headache and fever",
    "three times daily",
)

HOLDS_TEXT = ("audit_detail", "audit_policy_texts")
"""Detail is where bodies belong; policies are the clinic's own text."""


@pytest.fixture(scope="module", params=["off", "all"])
def detail(request: pytest.FixtureRequest) -> str:
    """Whether arguments and results are kept beside the log."""
    return str(request.param)


@pytest.fixture(scope="module")
def sung(new_clinic: Callable[[], Clinic], detail: str) -> Clinic:
    """Canaries in every free text a caller can choose, on stdio and on HTTP, answered and refused."""
    clinic, more = new_clinic(), {"CLINIC_LOG_LEVEL": "DEBUG", "CLINIC_AUDIT_DETAIL": detail}
    for server in SERVERS:
        tools = [(tool, row) for tool, row in EXPECTED.items() if row.server == server]
        session = clinic.consult(notes=NOTES)
        with (
            piped(clinic, server, **more) as pipe,
            serving(clinic, server, **more) as process,
        ):
            for tool, row in tools:
                token = row.right(clinic, session)
                right, wrong = row.own(clinic, session), row.canary(session, MARK)
                calls = [
                    (tool, right),
                    (tool, wrong),
                    (tool, {**right, MARK: MARK}),
                    (tool, {name: [MARK] for name in right}),
                    (tool, {name: {"__entity": {"type": "Clinic::Patient", "id": MARK}} for name in right}),
                    (f"{MARK}_tool", right),
                    (tool, {}),
                ]
                for name, arguments in calls:
                    meta = {
                        GRANT_META: token,
                        "traceparent": MARK,
                        "io.modelcontextprotocol/clientInfo": {"name": f"{MARK}\n{MARK};", "version": MARK},
                        MARK: MARK,
                    }
                    pipe.send(request(name, arguments, f"{MARK}-{name}", meta))
                    pipe.receive()
                    post = f"{process.url}/mcp"
                    sent = {**headers(token), "User-Agent": MARK, "X-Note": MARK}
                    httpx.post(post, json=request(name, arguments, MARK, {MARK: MARK}), headers=sent, timeout=20)
                    httpx.post(f"{post}?q={MARK}", content=f'{{"{MARK}":', headers=sent, timeout=20)
                    httpx.post(
                        post, json=request(name, arguments, MARK), headers=headers(f"{MARK}.{MARK}.x"), timeout=20
                    )
    return clinic


def cells(clinic: Clinic) -> Iterator[tuple[str, str]]:
    """Every value of every table of the log, as text."""
    tables = [name for name in metadata.tables if name.startswith("audit_") and name not in HOLDS_TEXT]
    for table in tables:
        for row in clinic.execute(f"SELECT * FROM {table}"):  # noqa: S608
            for name in row.keys():  # noqa: SIM118 - sqlite3.Row has no other way
                value = row[name]
                yield f"{table}.{name}", value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def lines(clinic: Clinic) -> dict[str, str]:
    return {path.name: path.read_text("utf-8", "replace") for path in clinic.home.glob("stderr-*.log")}


def test_there_was_something_to_leak(sung: Clinic) -> None:
    codes = {row["code"] for row in sung.execute("SELECT DISTINCT code FROM audit_events")}
    assert {"call.allowed", "call.ok", "call.invalid_arguments", "call.unknown_tool", "http.unauthenticated"} <= codes
    assert sum(len(text) for text in lines(sung).values()) > 1_000
    assert sung.execute("SELECT count(*) FROM prescriptions WHERE text LIKE 'Paracetamol%'")[0][0] == 2


@pytest.mark.parametrize("canary", [MARK, *PATIENT_DATA])
def test_no_canary_is_in_any_column_or_leaf(sung: Clinic, canary: str) -> None:
    found = {place for place, value in cells(sung) if canary.lower() in value.lower()}
    assert found == set()


@pytest.mark.parametrize("canary", [MARK, *PATIENT_DATA])
def test_no_canary_is_in_a_line_a_server_wrote(sung: Clinic, canary: str) -> None:
    found = {
        name: line for name, text in lines(sung).items() for line in text.splitlines() if canary.lower() in line.lower()
    }
    assert found == {}


def test_no_canary_is_in_what_the_commands_print_of_the_log(sung: Clinic) -> None:
    listed = sung.run("audit", "list", "--json", "--limit", "10000").stdout
    assert json.loads(listed)
    for canary in (MARK, *PATIENT_DATA):
        assert canary not in listed


def test_no_canary_is_in_an_export_or_a_report(sung: Clinic, tmp_path: Path) -> None:
    sung.run("audit", "export", "jsonl", str(tmp_path / "jsonl"))
    (tmp_path / "jsonl" / "policies.jsonl").unlink()
    for kind in ("csv", "fhir", "ocsf"):
        sung.run("audit", "export", kind, str(tmp_path / kind))
    written = [path.read_text("utf-8") for path in tmp_path.rglob("*") if path.is_file()]
    written += [sung.run("audit", "ropa").stdout, sung.run("audit", "ropa", "--json").stdout]
    assert len(written) > 10
    for canary in (MARK, *PATIENT_DATA):
        assert not [text for text in written if canary in text], canary


def test_only_the_detail_holds_what_was_asked_and_answered(sung: Clinic, detail: str) -> None:
    bodies = [bytes(row["body"]).decode() for row in sung.execute("SELECT body FROM audit_detail")]
    found = {canary for canary in (MARK, *PATIENT_DATA) if any(canary in body for body in bodies)}
    assert found >= {MARK, "Alice", "Penicillin", "Lisinopril"} if detail == "all" else bodies == []
    with sung.database() as database, database.read() as connection:
        check_details(connection)
