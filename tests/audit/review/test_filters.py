"""Whatever somebody types into the filter bar: a clear sentence, and nothing of it on the record."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest
from clinic_mcp.audit.review.filters import read
from clinic_mcp.core.errors import InvalidArguments
from hypothesis import given
from hypothesis import strategies as st
from support.clinic import Clinic
from support.log import AuditReader
from support.review import Visitor, auditor, reviewing

TOOLS = ("get_patient_record",)
WRONG = {
    "patient": ["Alice", "P1", "P001;", "p001", "P" + "0" * 13],
    "who": ["Dr Osei", "a b", "<script>", "'; --"],
    "tool": ["drop_tables", "get_patient_record " * 2],
    "decision": ["maybe"],
    "policy": ["no other", "%"],
    "consultation": ["C-1", "C-" + "G" * 16],
    "since": ["yesterday", "2026-13-01", "0001-01-01T00:00:00+14:00", "7x"],
    "until": ["9999-12-31", "never"],
    "before": ["-1", "0", "1e9", "9" * 30],
}


@pytest.mark.parametrize(("field", "value"), [(name, one) for name, values in WRONG.items() for one in values])
def test_a_value_that_cannot_be_one_is_refused_in_words_that_do_not_repeat_it(field: str, value: str) -> None:
    with pytest.raises(InvalidArguments) as refusal:
        read({field: value}, TOOLS)
    assert value not in refusal.value.message


@given(st.dictionaries(st.sampled_from(sorted(WRONG)), st.text(max_size=80)))
def test_no_text_breaks_it(values: dict[str, str]) -> None:
    try:
        found = read(values, TOOLS)
    except InvalidArguments:
        return
    assert read(
        dict(pair.split("=") for pair in found.link("").lstrip("?").split("&") if "%" not in pair and pair), TOOLS
    )


def test_a_period_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(InvalidArguments, match="ends before it begins"):
        read({"since": "2026-02-01", "until": "2026-01-01"}, TOOLS)
    assert read({"since": "2026-01-01", "until": "2026-01-01"}, TOOLS).period == {
        "since": "2026-01-01T00:00:00.000Z",
        "until": "2026-01-02T00:00:00.000Z",
    }, "a day ends with its end"


@pytest.fixture(scope="module")
def tan(module_clinic: Clinic) -> Iterator[Visitor]:
    with reviewing(module_clinic) as page:
        yield auditor(page, module_clinic)


@pytest.mark.parametrize(
    "path",
    [
        "/calls?patient={canary}",
        "/calls?who={canary}",
        "/calls?since={canary}",
        "/calls.csv?policy={canary}",
        "/find?id={canary}",
        "/patients/{canary}",
        "/callers/{canary}",
        "/queue/{canary}",
        "/calls/{canary}",
        "/?period={canary}",
        "/refusals?until={canary}",
    ],
)
def test_free_text_gets_a_page_and_no_place_on_the_record(path: str, tan: Visitor, module_clinic: Clinic) -> None:
    canary = "Kanarienvogel <b>sang</b>"
    log = AuditReader(module_clinic, "review")
    answer = tan.get(path.format(canary=quote(canary, safe="")))
    assert answer.status_code in (400, 404)
    assert "Traceback" not in answer.text
    assert "<b>sang" not in answer.text
    assert log.events() == [], "a look at nothing is no look"
