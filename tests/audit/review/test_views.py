"""What an auditor sees of a day at the clinic, and that each look is on the record before it is shown."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from html import unescape

import httpx
import pytest
from clinic_mcp.audit.exports.table import COLUMNS
from support.audited_day import REASON, Day
from support.log import AuditReader
from support.review import Visitor, auditor, reviewing
from support.servers import Process
from support.waiting import eventually


@pytest.fixture(scope="module")
def day(new_day: Callable[[], Day]) -> Day:
    return new_day()


@pytest.fixture(scope="module")
def page(day: Day) -> Iterator[Process]:
    with reviewing(day.clinic) as process:
        yield process


@pytest.fixture(scope="module")
def tan(page: Process, day: Day) -> Visitor:
    return auditor(page, day.clinic)


def words(answer: httpx.Response) -> str:
    """What a page says, without its markup."""
    assert answer.status_code == 200, answer.text
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", answer.text)))


def rows(answer: httpx.Response) -> list[list[str]]:
    """The cells of a page's tables, headings left out."""
    body = re.findall(r"<tr>(.*?)</tr>", answer.text, re.DOTALL)
    found = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL) for row in body]
    cells = [[" ".join(unescape(re.sub(r"<[^>]*>", " ", cell)).split()) for cell in row] for row in found]
    return [row for row in cells if row and row[0] not in ("Time", "Who", "When", "Recorded", "Policy or check")]


def test_the_overview_counts_and_draws_the_period(tan: Visitor) -> None:
    answer = tan.get("/")
    said = words(answer)
    for label, number in (("Calls", 9), ("Refused", 2), ("Turned away", 1), ("Patients reached", 2)):
        assert f"{label} {number}" in said, label
    assert answer.text.count("<svg") == 2
    assert answer.text.count("<desc") == 2
    assert "9 calls in this period" in said
    assert len(re.findall("<rect", tan.get("/?period=24h").text)) == 2 * 25
    assert len(re.findall("<rect", tan.get("/?period=90d").text)) == 2 * 91


def test_who_saw_a_patient_is_one_line_a_call(tan: Visitor) -> None:
    found = rows(tan.get("/calls?patient=P002"))
    assert [(row[1], row[2], row[4]) for row in found] == [
        ("dr-lindqvist", "get_patient_record", "✔ done"),
        ("dr-lindqvist", "request_emergency_access", "✔ done"),
        ("dr-lindqvist", "get_patient_record", "✖ refused"),
        ("dr-osei", "find_patients", "✔ done"),
        ("intake_agent for dr-osei", "get_patient_record", "✖ refused"),
    ]
    assert found[0][5] == "physician-breaks-glass · unconscious · BTG"


@pytest.mark.parametrize(
    ("query", "tools"),
    [
        ("who=dr-osei", ["override_guardrail", "find_patients"]),
        ("who=Clinician:dr-lindqvist&decision=deny", ["get_patient_record"]),
        ("policy=no-other-patient", ["get_patient_record"]),
        ("policy=no-other", []),
        ("tool=find_patients", ["find_patients"]),
        ("patient=P002&decision=allow&who=dr-osei", ["find_patients"]),
        ("since=1d&until=2099-01-01&tool=record_prescription", ["record_prescription"]),
        ("since=2099-01-01", []),
        ("until=2020-01-01", []),
    ],
)
def test_the_filter_finds_what_it_says(tan: Visitor, query: str, tools: list[str]) -> None:
    assert [row[2] for row in rows(tan.get(f"/calls?{query}"))] == tools


def test_a_consultation_is_found_and_what_was_done_beside_tools_too(tan: Visitor, day: Day) -> None:
    found = [row[2] for row in rows(tan.get(f"/calls?consultation={day.session}"))]
    assert found == ["record_prescription", "get_patient_record", "get_medical_history", "get_patient_record"]
    assert "consultation.opened" in [row[2] for row in rows(tan.get("/calls?all=1&patient=P001"))]


def test_a_page_begins_where_the_last_one_ended(day: Day, tan: Visitor) -> None:
    first = rows(tan.get("/calls"))
    assert 'rel="next"' not in tan.get("/calls").text, "a page that holds all has no next one"
    place = day.clinic.execute("SELECT id FROM audit_events WHERE tool = 'find_patients' ORDER BY id LIMIT 1")[0]["id"]
    rest = rows(tan.get(f"/calls?before={place}"))
    assert rest == first[-len(rest) :]
    assert 0 < len(rest) < len(first)


def test_more_calls_than_a_page_holds_are_reached_by_plain_links_each_once(tan: Visitor) -> None:
    """The looks of this test file are more than a page by themselves."""
    for _ in range(60):
        tan.get("/queue?state=judged")
    seen, where = [], "/calls?all=1&who=auditor-tan&until=2099-01-01"
    while where:
        answer = tan.get(where)
        seen += re.findall(r'<td class="time"><a href="/calls/([^"]+)"', answer.text)
        following = re.search(r'<a href="([^"]+)" rel="next"', answer.text)
        where = unescape(following[1]) if following else ""
    assert len(seen) == len(set(seen)) > 60


def test_why_a_call_was_refused_is_said_in_words_and_by_the_policy_then_in_force(tan: Visitor, day: Day) -> None:
    call = day.call_of("policies = 'no-other-patient'")
    said = words(tan.get(f"/calls/{call}"))
    asked = f"called get_patient_record of patient-records in consultation {day.session} about P002."
    assert f"The agent intake_agent, for dr-osei, {asked} It was refused, and nothing was done." in said
    assert "Forbidden by no-other-patient Ask only about the patient of this consultation." in said
    assert "when { context has bound && context.bound.patient != resource };" in said
    digest = day.clinic.execute("SELECT digest FROM audit_policy_texts WHERE text LIKE '%no-other-patient%'")[0][
        "digest"
    ]
    assert digest in said
    assert re.search(r"\d+, under a checkpoint", said)
    assert "Patient:P002" in said
    assert '"careTeam"' in said, "the entities it was decided on"


def test_what_no_policy_permits_is_explained_too(tan: Visitor, day: Day) -> None:
    refused, turned_away = day.call_of("policies = 'default-deny'"), day.call_of("code = 'call.unauthenticated'")
    said = words(tan.get(f"/calls/{refused}"))
    assert "No policy permits it, and what no policy permits is refused." in said
    stranger = words(tan.get(f"/calls/{turned_away}"))
    assert "It was turned away: no token came with it." in stranger


def test_an_allowed_write_shows_its_policy_its_effect_and_its_events(tan: Visitor, day: Day) -> None:
    call = day.call_of("tool = 'record_prescription'")
    said = words(tan.get(f"/calls/{call}"))
    assert "It was allowed, and done." in said
    assert "Permitted by prescription-agent-records-in-its-consultation" in said
    assert re.search(r"insert prescriptions RX-[0-9a-f]+", said)
    assert "call.allowed" in said
    assert "call.ok" in said


def test_a_patients_timeline_names_everybody_and_the_broken_glass(tan: Visitor, day: Day) -> None:
    answer = tan.get("/patients/P002")
    found = rows(answer)
    assert ["Clinician:dr-lindqvist", "2", "1"] in [row[:3] for row in found]
    assert ["intake_agent", "0", "1"] in [row[:3] for row in found]
    assert f'href="/queue/{day.item("break-glass")}"' in answer.text


def test_people_and_agents_are_listed_with_their_distinct_patients(tan: Visitor) -> None:
    found = {row[0]: row[1:5] for row in rows(tan.get("/callers"))}
    assert found["Clinician:dr-lindqvist"] == ["Dr Nils Lindqvist", "2", "1", "1"]
    assert found["Clinician:dr-osei"] == ["Dr Ama Osei", "2", "0", "2"]
    assert found["intake_agent"] == ["", "2", "1", "1"]
    said = words(tan.get("/callers/dr-osei"))
    assert "Distinct patients 2" in said
    assert "Distinct patients 1" in words(tan.get("/callers/intake_agent")), "one refused is not reached"


def test_refusals_are_grouped_by_policy(tan: Visitor) -> None:
    found = {row[0]: row[1:3] for row in rows(tan.get("/refusals"))}
    assert found == {"default-deny": ["1", "1"], "no-other-patient": ["1", "1"]}


def test_the_queue_shows_what_waits_with_its_reason(tan: Visitor, day: Day) -> None:
    said = words(tan.get("/queue"))
    assert "Waiting: 2" in said
    assert "override: allergy, amoxicillin-500 Dr Ama Osei P001 tolerated-before" in said
    item = words(tan.get(f"/queue/{day.item('break-glass')}"))
    assert f"unconscious: {REASON}" in item
    assert "for 1 call" in item


def test_the_banner_says_that_the_log_is_whole_and_under_what(tan: Visitor) -> None:
    said = eventually(lambda: (seen := words(tan.get("/integrity"))).count("The log is whole") and seen)
    assert re.search(r"\d+ events under the checkpoint of 20\d\d-", said)


def test_the_csv_has_every_call_of_the_filter_and_no_more(tan: Visitor) -> None:
    answer = tan.get("/calls.csv?patient=P002")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert re.fullmatch(r'attachment; filename="calls-[0-9TZ]+\.csv"', answer.headers["Content-Disposition"])
    table = list(csv.DictReader(io.StringIO(answer.text)))
    assert tuple(table[0]) == COLUMNS
    assert [line["tool"] for line in table] == [row[2] for row in rows(tan.get("/calls?patient=P002"))]


def test_a_print_view_has_no_navigation_and_says_for_whom(tan: Visitor) -> None:
    for path in ("/calls?patient=P002&print=1", "/patients/P002?print=1", "/queue?print=1"):
        answer = tan.get(path)
        assert "<header>" not in answer.text
        assert "Shown to auditor-tan at" in words(answer)


LOOKS = {
    "/": "review.overview",
    "/calls?patient=P002&who=dr-osei": "review.calls",
    "/calls.csv?patient=P002": "review.csv",
    "/calls/{call}": "review.call",
    "/patients/P002": "review.patient",
    "/callers": "review.callers",
    "/callers/dr-osei": "review.caller",
    "/refusals": "review.refusals",
    "/queue": "review.queue",
    "/queue/{item}": "review.item",
    "/integrity": "review.integrity",
}


@pytest.mark.parametrize("path", LOOKS)
def test_every_look_is_one_event_of_the_auditors(path: str, tan: Visitor, day: Day) -> None:
    call, item = day.call_of("policies = 'no-other-patient'"), day.item("break-glass")
    log = AuditReader(day.clinic, "review")
    assert tan.get(path.format(call=call, item=item)).status_code == 200
    (event,) = log.events()
    assert (event["phase"], event["code"]) == ("audit_read", LOOKS[path])
    assert event["principal"] == {"type": "Auditor", "id": "auditor-tan", "roles": ["auditor"], "clinic": "main"}
    assert event["decision"]["policies"] == ["auditor-reads-audit-log"]
    about = {"/calls?patient=P002&who=dr-osei", "/calls.csv?patient=P002", "/calls/{call}", "/patients/P002"}
    assert event.get("patients") == (["P002"] if path in about or path == "/queue/{item}" else None)


@pytest.mark.parametrize("path", ["/calls?patient=P002", "/calls.csv?patient=P002", "/queue/{item}"])
def test_what_cannot_be_recorded_is_not_shown(path: str, tan: Visitor, day: Day) -> None:
    item = day.item("break-glass")
    with day.clinic.write_lock():
        answer = tan.get(path.format(item=item))
    assert answer.status_code == 503
    assert "could not be recorded" in answer.text
    assert "dr-lindqvist" not in answer.text
    assert REASON not in answer.text
