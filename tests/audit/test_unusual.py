"""What stands out in a log: each rule says what it saw, once, and in a sentence."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from clinic_mcp.audit.questions.calls import Call
from clinic_mcp.audit.questions.relations import Relations
from clinic_mcp.audit.questions.unusual import BULK, PROBES, Hours, unusual
from support.clinic import Clinic
from support.log import AuditReader
from support.servers import connected

START = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
OPEN = Hours(6, 22, ZoneInfo("UTC"))


def made(minutes: float, **facts: Any) -> Call:
    moment = START + timedelta(minutes=minutes)
    call = Call(f"call-{minutes}", int(minutes * 10), moment.isoformat(), who="Clinician:dr-osei", ended="ok")
    for name, value in facts.items():
        setattr(call, name, value)
    return call


def rules(calls: list[Call], hours: Hours = OPEN) -> list[tuple[str, int]]:
    return [(finding.rule, finding.count) for finding in unusual(calls, hours)]


def test_many_patients_in_an_hour_are_bulk() -> None:
    few = [made(n, patients=[f"P{n:03}"]) for n in range(BULK - 1)]
    assert rules(few) == []
    assert rules([*few, made(30, patients=["P900"])]) == [("bulk", BULK)]
    assert rules([*few, made(90, patients=["P900"])]) == [], "the hour is over"
    assert rules([*few, made(30, patients=["P000"])]) == [], "the same patient again"
    assert rules([*few, *(made(30 + n, patients=[f"P9{n:02}"]) for n in range(5))]) == [("bulk", BULK)], "said once"


def test_refusals_in_a_row_are_probing() -> None:
    probes = [made(n, ended="refused", agent="intake_agent") for n in range(PROBES)]
    assert rules(probes[:-1]) == []
    assert rules(probes) == [("probing", PROBES)]
    assert rules([made(n * 3, ended="refused") for n in range(PROBES)]) == [], "slower than that is not"
    strangers = [made(n, ended="unauthenticated", who=None, peer="10.0.0.9") for n in range(PROBES)]
    assert [finding.who for finding in unusual(strangers, OPEN)] == ["somebody at 10.0.0.9"]


def test_people_out_of_hours_and_broken_glass_are_named() -> None:
    late = made(13 * 60, patients=["P001"])
    assert rules([late]) == [("out of hours", 1)]
    assert rules([late], Hours(6, 22, ZoneInfo("America/New_York"))) == []
    assert rules([made(13 * 60, patients=["P001"], agent="intake_agent")]) == [], "agents keep no hours"
    assert rules([made(1, purpose="BTG"), made(2, purpose="BTG")]) == [("break-glass", 1), ("break-glass", 1)]


def test_what_is_over_is_forgotten() -> None:
    """A year of strangers, each from another address: what is remembered does not grow with them."""
    held: list[int] = []

    def strangers() -> Iterator[Call]:
        for number in range(20_000):
            if number % 5_000 == 4_999:
                held.append(tracemalloc.get_traced_memory()[0])
            yield made(number * 30, who=None, ended="unauthenticated", peer=f"10.{number % 250}.{number // 250}.1")

    tracemalloc.start()
    try:
        assert list(unusual(strangers(), OPEN)) == []
    finally:
        tracemalloc.stop()
    assert max(held) - held[0] < 500_000, "20,000 remembered strangers are megabytes"


# What the clinic's data says of person and patient


def relations_of(clinic: Clinic, *calls: Call) -> list[tuple[str, str | None]]:
    with clinic.database() as database, database.read() as connection:
        return [(one.rule, one.patient) for one in unusual(calls, OPEN, Relations(connection))]


def read(patient: str, minutes: float = 1, **facts: Any) -> Call:
    return made(minutes, patients=[patient], policies=["some-policy"], **facts)


def test_a_read_without_care_team_or_open_consultation_is_named(clinic: Clinic) -> None:
    assert relations_of(clinic, read("P001")) == [], "on the care team"
    assert relations_of(clinic, read("P005")) == [("no relation", "P005")]
    assert relations_of(clinic, read("P005"), read("P005", 2)) == [("no relation", "P005")], "said once"
    assert relations_of(clinic, read("P005", purpose="BTG")) == [("break-glass", None)], "its own rule says so"
    assert relations_of(clinic, read("P005", agent="intake_agent", behalf="dr-osei")) == [], (
        "an agent in a consultation"
    )
    assert relations_of(clinic, read("P005", ended="refused")) == []
    assert relations_of(clinic, read("P005", who="Patient:P005")) == []


def test_a_consultation_is_a_relation_while_it_is_open(clinic: Clinic) -> None:
    opened, closed = (START + timedelta(minutes=n) for n in (10, 20))
    clinic.execute(
        "INSERT INTO consultations (id, clinic_id, patient_id, symptoms, status, open, agent_ids, assignee_id,"
        " opened_at, closed_at, call_id) VALUES ('C-1', 'main', 'P005', '', 'complete', ?, '', 'dr-osei', ?, ?, 'x')",
        False,
        opened.isoformat(),
        closed.isoformat(),
    )
    assert relations_of(clinic, read("P005", 5)) == [("no relation", "P005")]
    assert relations_of(clinic, read("P005", 15)) == []
    assert relations_of(clinic, read("P005", 25)) == [("no relation", "P005")]


def test_their_own_record_and_a_namesakes_are_named_and_no_name_is(clinic: Clinic) -> None:
    clinic.execute("UPDATE patients SET name = 'OSEI, Ama' WHERE id = 'P001'")
    clinic.execute("UPDATE patients SET name = 'Kwame Oséi' WHERE id = 'P003'")
    assert relations_of(clinic, read("P001")) == [("own record", "P001")]
    assert relations_of(clinic, read("P003")) == [("same surname", "P003")]
    through = read("P003", who="Agent:intake_agent", agent="intake_agent", behalf="dr-osei")
    assert relations_of(clinic, through) == [("same surname", "P003")]
    log = AuditReader(clinic)
    with connected(clinic, "patient-records", "stdio") as records:
        token = clinic.tokens.person("dr-osei", "patient-records")
        assert records.call("get_patient_record", {"patient_id": "P001"}, token).code == "ok"
    hours = ("--opens", "0", "--closes", "24")
    shown = clinic.json("audit", "unusual", *hours)
    (finding,) = shown["findings"]
    assert (finding["rule"], finding["who"], finding["patient"]) == ("own record", "Clinician:dr-osei", "P001")
    assert finding["says"] == "dr-osei was answered about P001, who has the same name: it may be their own record."
    told = clinic.run("audit", "unusual", *hours).stdout + str(log.events()) + str(shown)
    assert "osei, ama" not in told.casefold()
    assert "Ama" not in told


def test_findings_come_in_pages_and_those_of_one_call_stay_together(clinic: Clinic) -> None:
    with connected(clinic, "patient-records", "stdio") as records:
        token = clinic.tokens.person("dr-lindqvist", "patient-records")
        glass = {"patient_id": "P002", "reason_code": "unconscious", "reason": "Found on the street, does not answer"}
        records.call("request_emergency_access", glass, token)
        for _ in range(5):
            assert records.call("get_patient_record", {"patient_id": "P002"}, token).code == "ok"
    always = ("--opens", "23", "--closes", "1")  # nobody is expected at any hour
    whole = clinic.json("audit", "unusual", *always)
    assert whole["more"] is None
    assert [one["rule"] for one in whole["findings"]].count("break-glass") == 5
    paged: list[Any] = []
    before: list[str] = []
    for _ in range(len(whole["findings"]) + 1):
        page = clinic.json("audit", "unusual", *always, "--limit", "2", *before)
        paged += page["findings"]
        if page["more"] is None:
            break
        before = ["--before", str(page["more"])]
    assert paged == whole["findings"]
