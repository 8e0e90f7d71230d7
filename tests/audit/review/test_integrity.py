"""The banner says what `clinic-mcp audit verify` would: whole, altered and where, truncated, or in doubt."""

from __future__ import annotations

import re
from html import unescape

from clinic_mcp.audit.review.integrity import Checker
from support.audited_day import Day
from support.clinic import Clinic
from support.log import AuditReader
from support.review import Visitor, auditor, reviewing
from support.waiting import eventually


def banner(visitor: Visitor) -> str:
    found = re.search(r'<section class="banner.*?</section>', visitor.get("/queue").text, re.DOTALL)
    assert found
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", found[0])))


def says(visitor: Visitor, words: str) -> str:
    return eventually(lambda: (seen := banner(visitor)).count(words) and seen, 20)


def unguarded(clinic: Clinic, statement: str) -> None:
    """What somebody does who owns the database: take the guards away, and change the log."""
    if clinic.url:
        clinic.execute("ALTER TABLE audit_events DISABLE TRIGGER ALL")
        clinic.execute("ALTER TABLE audit_checkpoints DISABLE TRIGGER ALL")
    else:
        for table in ("audit_events", "audit_checkpoints"):
            for verb in ("update", "delete"):
                clinic.execute(f"DROP TRIGGER {table}_no_{verb}")
    clinic.execute(statement)


def test_a_log_that_is_altered_while_somebody_looks_is_shown_as_altered_and_where(day: Day) -> None:
    with reviewing(day.clinic) as page:
        tan = auditor(page, day.clinic)
        says(tan, "The log is whole")
        event = day.clinic.execute("SELECT event_id FROM audit_events WHERE policies = 'no-other-patient'")[0][
            "event_id"
        ]
        unguarded(day.clinic, "UPDATE audit_events SET decision = 'allow' WHERE policies = 'no-other-patient'")
        log = AuditReader(day.clinic, "review")
        assert tan.post("/integrity").status_code == 303
        assert "review.verify" in [one["code"] for one in log.events()]
        seen = says(tan, "The log was altered")
        assert str(event) in seen
        where = tan.get(f"/find?id={event}").headers["Location"]
        assert "Forbidden by" in tan.get(where).text
        assert "integrity.changed" in page.lines()


def test_a_log_that_was_cut_off_is_shown_as_truncated(day: Day) -> None:
    unguarded(day.clinic, "DELETE FROM audit_checkpoints")
    with reviewing(day.clinic) as page:
        says(auditor(page, day.clinic), "The log was truncated or rolled back")


def test_a_call_without_an_outcome_is_shown_as_in_doubt(day: Day) -> None:
    unguarded(
        day.clinic, "DELETE FROM audit_events WHERE id = (SELECT max(id) FROM audit_events WHERE phase = 'outcome')"
    )
    with reviewing(day.clinic) as page:
        seen = says(auditor(page, day.clinic), "Checked")
        assert "The log is whole" not in seen


def test_without_the_public_keys_nobody_can_tell(day: Day) -> None:
    (day.clinic.home / "keys" / "checkpoints.pub").unlink()
    with reviewing(day.clinic) as page:
        seen = says(auditor(page, day.clinic), "The log cannot be checked")
        assert "public keys" in seen


def test_what_was_found_good_is_not_read_again_until_somebody_asks(day: Day) -> None:
    clinic = day.clinic
    with clinic.database() as database:
        checker = Checker(clinic.settings, database, [], every=0.05)
        checker.start()
        try:
            first = eventually(lambda: checker.found if checker.found.verdict == "whole" else None)
            assert first is not None
            later = eventually(lambda: found if (found := checker.found).checked != first.checked else None)
            assert later is not None
            assert (later.verdict, later.whole_since) == ("whole", first.whole_since)
            unguarded(clinic, "UPDATE audit_events SET decision = 'allow' WHERE policies = 'no-other-patient'")
            checker.check_now()
            assert eventually(lambda: checker.found.verdict == "altered")
            assert checker.found.event_id is not None
        finally:
            checker.close()


def test_the_witness_is_asked_where_there_is_one(day: Day) -> None:
    witness = day.clinic.home / "witness.txt"
    witness.write_text(day.clinic.run("audit", "checkpoint").stdout + "\n", "utf-8")
    with reviewing(day.clinic, CLINIC_WITNESS=str(witness)) as page:
        tan = auditor(page, day.clinic)
        says(tan, "The log is whole")
        assert "agrees at 1 checkpoints" in tan.get("/integrity").text
