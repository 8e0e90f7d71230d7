"""Nothing a caller wrote, and nothing about a patient, is in the log's text or in a server's lines."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest
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


@pytest.fixture(scope="module")
def sung(module_clinic: Clinic) -> Clinic:
    """Canaries in every free text a caller can choose, on stdio and on HTTP, answered and refused."""
    clinic = module_clinic
    for server in SERVERS:
        tools = [(tool, row) for tool, row in EXPECTED.items() if row.server == server]
        session = clinic.consult(notes=NOTES)
        with (
            piped(clinic, server, CLINIC_LOG_LEVEL="DEBUG") as pipe,
            serving(clinic, server, CLINIC_LOG_LEVEL="DEBUG") as process,
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
    for table in ("audit_events", "audit_event_patients", "audit_slices"):
        for row in clinic.execute(f"SELECT * FROM {table}"):  # noqa: S608
            for name in row.keys():  # noqa: SIM118 - sqlite3.Row has no other way
                value = row[name]
                yield f"{table}.{name}", value.decode("utf-8") if isinstance(value, bytes) else str(value)


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
