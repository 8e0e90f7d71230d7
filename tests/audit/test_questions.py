"""What auditors ask of the log of a real clinic, and what they are told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from clinic_mcp.audit.questions.calls import Call
from clinic_mcp.audit.questions.unusual import BULK, PROBES, Hours, unusual
from support.calls import NOTES
from support.clinic import Clinic
from support.log import AuditReader
from support.servers import Caller, connected

GLASS = {"patient_id": "P002", "reason_code": "unconscious", "reason": "Found on the street, does not answer"}


@pytest.fixture(scope="module")
def day(module_clinic: Clinic) -> Iterator[tuple[Clinic, dict[str, str]]]:
    """A day at the clinic: an agent at work, a doctor, a broken glass, an override, refusals, a stranger."""
    clinic, ids = module_clinic, {}
    with ExitStack() as stack:
        servers: dict[str, Caller] = {
            name: stack.enter_context(connected(clinic, name, "stdio"))
            for name in ("patient-records", "prescriptions", "desk")
        }

        def call(server: str, tool: str, arguments: dict[str, Any], token: str | None) -> str:
            return servers[server].call(tool, arguments, token).code

        session = ids["session"] = clinic.consult("P001", notes=NOTES)
        intake = clinic.tokens.grant(session, "intake_agent", audience="patient-records")
        assert call("patient-records", "get_patient_record", {"patient_id": "P001"}, intake) == "ok"
        assert call("patient-records", "get_patient_record", {"patient_id": "P002"}, intake) == "refused"
        assert call("patient-records", "get_patient_record", {"patient_id": "P001"}, None) == "unauthenticated"
        osei, lindqvist = (clinic.tokens.person(who, "patient-records") for who in ("dr-osei", "dr-lindqvist"))
        assert call("patient-records", "find_patients", {"name": "Bob", "birth_date": "1972-07-28"}, osei) == "ok"
        assert call("patient-records", "get_patient_record", {"patient_id": "P002"}, lindqvist) == "refused"
        assert call("patient-records", "request_emergency_access", GLASS, lindqvist) == "ok"
        assert call("patient-records", "get_patient_record", {"patient_id": "P002"}, lindqvist) == "ok"
        override = {
            "session_id": session,
            "guardrail": "allergy",
            "medication": "Amoxicillin 500mg",
            "reason_code": "tolerated-before",
            "reason": "Took it in 2024 without a reaction",
        }
        assert call("desk", "override_guardrail", override, clinic.tokens.person("dr-osei", "desk")) == "ok"
        agent = clinic.tokens.grant(session, "prescription_agent", audience="prescriptions")
        assert (
            call("prescriptions", "record_prescription", {"session_id": session, "prescription": NOTES}, agent) == "ok"
        )
        yield clinic, ids


def lines(clinic: Clinic, *question: str) -> list[tuple[str, str, str]]:
    """Who, what and how it ended, of each call."""
    calls = clinic.json("audit", *question)["calls"]
    return [(call["agent"] or call["who"] or "nobody", call["tool"], call["ended"]) for call in calls]


def test_who_saw_a_patient(day: tuple[Clinic, dict[str, str]]) -> None:
    clinic, _ = day
    assert lines(clinic, "who", "P002") == [
        ("Clinician:dr-lindqvist", "get_patient_record", "ok"),
        ("Clinician:dr-lindqvist", "request_emergency_access", "ok"),
        ("Clinician:dr-lindqvist", "get_patient_record", "refused"),
        ("Clinician:dr-osei", "find_patients", "ok"),
        ("intake_agent", "get_patient_record", "refused"),
    ]
    first = clinic.json("audit", "who", "P002")["calls"][0]
    assert (first["policies"], first["purpose"], first["reason"]) == (["physician-breaks-glass"], "BTG", "unconscious")
    through = clinic.json("audit", "who", "P001")["calls"][-1]
    assert (through["agent"], through["behalf"], through["purpose"]) == ("intake_agent", "dr-osei", "TREAT")


def test_what_somebody_did(day: tuple[Clinic, dict[str, str]]) -> None:
    clinic, _ = day
    assert lines(clinic, "by", "dr-osei") == [
        ("Clinician:dr-osei", "override_guardrail", "ok"),
        ("Clinician:dr-osei", "find_patients", "ok"),
        ("Clinician:dr-osei", "consultation.signed_off", "ok"),
    ]
    assert lines(clinic, "by", "prescription_agent") == [("prescription_agent", "record_prescription", "ok")]
    assert lines(clinic, "by", "dr-nobody") == []


def test_what_was_refused_and_by_what(day: tuple[Clinic, dict[str, str]]) -> None:
    clinic, _ = day
    told = clinic.json("audit", "denied")
    assert told["by_policy"] == {"default-deny": 1, "no-other-patient": 1}
    assert lines(clinic, "denied", "--policy", "no-other-patient") == [
        ("intake_agent", "get_patient_record", "refused")
    ]
    assert lines(clinic, "denied", "--policy", "no-other") == []


def test_broken_glass_and_overrides_wait_for_their_verdict(day: tuple[Clinic, dict[str, str]]) -> None:
    clinic, ids = day
    (glass,) = clinic.json("audit", "break-glass")
    assert (glass["patient_id"], glass["clinician_id"], glass["used"], glass["verdict"]) == (
        "P002",
        "dr-lindqvist",
        1,
        None,
    )
    (override,) = clinic.json("audit", "overrides")
    assert (override["rule"], override["item_id"], override["consultation_id"], override["verdict"]) == (
        "allergy",
        "amoxicillin-500",
        ids["session"],
        None,
    )
    assert clinic.json("audit", "overrides", "--since", "2099-01-01") == []


def test_to_whom_the_data_went(day: tuple[Clinic, dict[str, str]]) -> None:
    clinic, _ = day
    assert [end for _, _, end in lines(clinic, "disclosures", "P001")].count("ok") == 3
    not_for_treatment = lines(clinic, "disclosures", "P002", "--without-treatment")
    assert not_for_treatment == [("Clinician:dr-lindqvist", "get_patient_record", "ok")]


def test_everything_about_a_consultation_or_a_call(day: tuple[Clinic, dict[str, str]]) -> None:
    clinic, ids = day
    traced = [what for _, what, _ in lines(clinic, "trace", ids["session"])]
    assert traced == [
        "record_prescription",
        "get_patient_record",
        "get_patient_record",
        "consultation.signed_off",
        "consultation.awaiting_doctor",
        "consultation.opened",
    ]
    one = clinic.json("audit", "who", "P002")["calls"][0]["call_id"]
    assert len(clinic.json("audit", "trace", one)["calls"]) == 1


def test_nothing_is_in_doubt_and_a_lost_outcome_would_be(day: tuple[Clinic, dict[str, str]]) -> None:
    clinic, _ = day
    assert lines(clinic, "in-doubt") == []


def test_answers_come_in_pages_and_no_call_is_lost_between_them(day: tuple[Clinic, dict[str, str]]) -> None:
    clinic, _ = day
    whole = [call["call_id"] for call in clinic.json("audit", "who", "P002")["calls"]]
    paged: list[str] = []
    before: list[str] = []
    for _ in range(len(whole) + 1):
        page = clinic.json("audit", "who", "P002", "--limit", "2", *before)
        paged += [call["call_id"] for call in page["calls"]]
        if page["more"] is None:
            break
        before = ["--before", str(page["more"])]
    assert list(dict.fromkeys(paged)) == whole


def test_looking_is_on_the_record(day: tuple[Clinic, dict[str, str]]) -> None:
    clinic, _ = day
    log = AuditReader(clinic)
    clinic.run("audit", "who", "P001")
    clinic.run("audit", "by", "<script>alert('Alice Thompson')</script>")
    looked = log.events()
    assert [(event["phase"], event["code"]) for event in looked] == [
        ("audit_read", "audit.who"),
        ("audit_read", "audit.by"),
    ]
    assert looked[0]["patients"] == ["P001"]
    assert "Alice" not in str(looked[1])
    assert clinic.run("audit", "verify", code=None).returncode == 0


def test_a_table_is_shown_to_people(day: tuple[Clinic, dict[str, str]]) -> None:
    clinic, _ = day
    for question in (["who", "P001"], ["denied"], ["break-glass"], ["overrides"], ["unusual"], ["in-doubt"]):
        assert clinic.run("audit", *question).stdout.strip() or question == ["in-doubt"]
    assert clinic.run("audit", "unusual", "--zone", "Nowhere/Atlantis", code=2).stderr


# unusual

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
