"""Recorded decisions, decided again: by the policies in force none flips, by others exactly those that must."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from clinic_mcp.core.policy import PolicySet
from clinic_mcp.policy_tools.replay import EVERY, inputs_read
from day import SECRET
from support.attacks import drop_triggers
from support.clinic import Clinic
from test_golden import FOLDER, SET

Event = dict[str, Any]
NONE = {"same": 0, "same_by_other_policies": 0, "allow_to_deny": 0, "deny_to_allow": 0, "cannot_tell": 0}


def decided(clinic: Clinic) -> list[Event]:
    """The events of a clinic that say what its policies decided."""
    rows = clinic.execute("SELECT leaf FROM audit_events WHERE decision IS NOT NULL ORDER BY id")
    return [event for row in rows if "policy_set" in (event := json.loads(row["leaf"]))["decision"]]


def by(clinic: Clinic, policy: str) -> list[str]:
    """The events that a policy decided, alone."""
    return [event["event_id"] for event in decided(clinic) if event["decision"]["policies"] == [policy]]


Candidate = Callable[..., Path]


@pytest.fixture
def candidate(tmp_path: Path) -> Candidate:
    """Makes a folder of the shipped policies without some, and with others."""

    def make(*, without: str = "", added: str = "", schema: tuple[str, str] = ("", "")) -> Path:
        from clinic_mcp.policy_tools.source import texts

        folder = tmp_path / "candidate"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        kept = [text.replace(*schema) for name, text in texts(SET).items() if name != without]
        (folder / "all.cedar").write_text("\n".join([*kept, added]), "utf-8")
        (folder / "clinic.cedarschema").write_text(SET.schema_text.replace(*schema), "utf-8")
        return folder

    return make


def flips(report: Any) -> dict[str, tuple[str, str]]:
    return {flip["event_id"]: (flip["before"]["decision"], flip["after"]["decision"]) for flip in report["flips"]}


def test_the_day_has_decisions_of_every_kind(day: Clinic) -> None:
    events = decided(day)
    assert len(events) >= 50
    named = {name for event in events for name in event["decision"]["policies"]}
    assert {"physician-breaks-glass", "no-other-patient", "default-deny", "no-prescription-against-allergy"} <= named
    tools = {event["cedar"]["action"] for event in events}
    assert {"override_guardrail", "sign_off_consultation", "assign_consultation", "receive_stock"} <= tools


def test_the_policies_in_force_decide_their_own_decisions_again(day: Clinic) -> None:
    report = day.json("policy", "replay")
    assert report["decisions"] == len(decided(day))
    assert report["counts"] == {**NONE, "same": report["decisions"]}
    assert report["flips"] == report["cannot_tell"] == []
    assert report["policy_set"] == SET.digest


def test_the_same_policies_in_other_files_decide_the_same(day: Clinic, candidate: Candidate) -> None:
    report = day.json("policy", "replay", "--policies", str(candidate()))
    assert report["counts"]["same"] == len(decided(day))


def test_a_forbid_left_out_flips_what_it_alone_refused_and_nothing_else(day: Clinic, candidate: Candidate) -> None:
    folder = candidate(without="no-agent-on-very-restricted-record")
    report = day.json("policy", "replay", "--policies", str(folder), code=1)
    expected = by(day, "no-agent-on-very-restricted-record")
    assert len(expected) == 2
    assert flips(report) == dict.fromkeys(expected, ("deny", "allow"))
    assert report["counts"]["deny_to_allow"] == 2
    (first, _) = report["flips"]
    assert first["caller"] == "Agent:intake_agent"
    assert (first["tool"], first["resource_type"]) == ("get_patient_record", "Patient")
    assert first["before"]["policies"] == ["no-agent-on-very-restricted-record"]
    assert first["after"]["policies"] == ["intake-agent-reads-its-patient"]


def test_a_forbid_that_another_rule_backs_up_flips_nothing(day: Clinic, candidate: Candidate) -> None:
    report = day.json("policy", "replay", "--policies", str(candidate(without="no-other-patient")))
    assert report["counts"]["same_by_other_policies"] == len(by(day, "no-other-patient")) == 4


def test_a_forbid_more_flips_what_it_refuses(day: Clinic, candidate: Candidate) -> None:
    added = (
        '@id("no-nurse-reads-history") forbid (principal in Clinic::Role::"nurse",'
        ' action == Clinic::Action::"get_medical_history", resource);'
    ).replace("principal in", "principal is Clinic::Clinician in")
    report = day.json("policy", "replay", "--policies", str(candidate(added=added)), code=1)
    nurses = [event for event in decided(day) if event["decision"]["policies"] == ["nurse-reads-care-team-patient"]]
    history = [one["event_id"] for one in nurses if one["cedar"]["action"] == "get_medical_history"]
    assert flips(report) == dict.fromkeys(history, ("allow", "deny"))
    assert report["flips"][0]["after"]["policies"] == ["no-nurse-reads-history"]


def test_break_glass_is_decided_at_the_time_of_the_call(day: Clinic, candidate: Candidate) -> None:
    """The hour is long over when somebody replays, and the emergency was none yet at the first call."""
    report = day.json("policy", "replay", "--policies", str(candidate(without="physician-breaks-glass")), code=1)
    broken = by(day, "physician-breaks-glass")
    assert len(broken) == 2
    assert flips(report) == dict.fromkeys(broken, ("allow", "deny"))


def test_a_candidate_that_reads_what_the_log_does_not_keep_cannot_be_told_where_it_matters(
    day: Clinic, candidate: Candidate
) -> None:
    added = (
        '@id("no-fever") forbid (principal, action == Clinic::Action::"search_knowledge_base", resource)'
        ' when { context.input.query like "*fever*" };'
    )
    report = day.json("policy", "replay", "--policies", str(candidate(added=added)), code=4)
    searches = [event for event in decided(day) if event["cedar"]["action"] == "search_knowledge_base"]
    allowed = {event["event_id"] for event in searches if event["decision"]["effect"] == "allow"}
    assert {row["event_id"] for row in report["cannot_tell"]} == allowed
    assert len(allowed) == 2, "the refused ones stay refused, whatever the query was"
    assert {tuple(row["policies"]) for row in report["cannot_tell"]} == {("no-fever",)}
    assert "query" in report["cannot_tell"][0]["why"]
    assert report["counts"] == {**NONE, "same": report["decisions"] - 2, "cannot_tell": 2}


def test_a_permit_that_reads_what_the_log_does_not_keep_matters_only_to_refusals(
    day: Clinic, candidate: Candidate
) -> None:
    added = (
        '@id("anyone-fever") permit (principal, action == Clinic::Action::"search_knowledge_base", resource)'
        ' when { context.input.query like "*fever*" };'
    )
    report = day.json("policy", "replay", "--policies", str(candidate(added=added)), code=4)
    searches = [event for event in decided(day) if event["cedar"]["action"] == "search_knowledge_base"]
    refused = {event["event_id"] for event in searches if event["decision"]["policies"] == ["default-deny"]}
    assert {row["event_id"] for row in report["cannot_tell"]} == refused


def test_a_candidate_that_reads_what_the_log_keeps_is_told(day: Clinic, candidate: Candidate) -> None:
    added = (
        '@id("not-alice") forbid (principal, action == Clinic::Action::"get_patient_record", resource)'
        ' when { context.input.patient_id == "P001" };'
    )
    report = day.json("policy", "replay", "--policies", str(candidate(added=added)), code=1)
    alice = [
        event["event_id"]
        for event in decided(day)
        if event["cedar"]["action"] == "get_patient_record"
        and event["cedar"]["resource"]["id"] == "P001"
        and event["decision"]["effect"] == "allow"
    ]
    assert flips(report) == dict.fromkeys(alice, ("allow", "deny"))
    assert report["counts"]["cannot_tell"] == 0


def test_a_schema_that_does_not_take_what_was_recorded_cannot_tell(day: Clinic, candidate: Candidate) -> None:
    folder = candidate(schema=("sensitivity", "confidentiality"))
    report = day.json("policy", "replay", "--policies", str(folder), code=4)
    with_patient = [
        event for event in decided(day) if event["cedar"]["resource"]["type"] in ("Patient", "Consultation")
    ]
    assert report["counts"]["cannot_tell"] == len(with_patient)
    assert {row["why"] for row in report["cannot_tell"]} == {
        "The recorded entities or context do not fit these policies' schema."
    }


def test_an_entity_slice_that_is_gone_or_altered_cannot_tell(copied_day: Clinic) -> None:
    clinic = copied_day
    first, second = decided(clinic)[0], decided(clinic)[-1]
    with clinic.sql() as connection:
        drop_triggers(connection)
        connection.execute("DELETE FROM audit_slices WHERE digest = ?", (first["cedar"]["slice"],))
        connection.execute(
            "UPDATE audit_slices SET text = replace(text, 'true', 'false') WHERE digest = ?",
            (second["cedar"]["slice"],),
        )
    report = clinic.json("policy", "replay", code=4)
    reasons = {row["event_id"]: row["why"] for row in report["cannot_tell"]}
    assert "does not hold" in reasons[first["event_id"]]
    assert "altered" in reasons[second["event_id"]]
    assert report["counts"]["allow_to_deny"] == report["counts"]["deny_to_allow"] == 0


def test_a_period_is_from_a_time_on_and_before_another(day: Clinic) -> None:
    events = decided(day)
    middle = events[len(events) // 2]["recorded"]
    before, after = day.json("policy", "replay", "--until", middle), day.json("policy", "replay", "--since", middle)
    assert 0 < before["decisions"] < len(events)
    assert before["decisions"] + after["decisions"] == len(events)
    assert day.json("policy", "replay", "--since", "1h")["decisions"] == len(events)
    assert day.json("policy", "replay", "--since", "2999-01-01")["decisions"] == 0
    assert day.run("policy", "replay", "--since", "yesterday", code=2).returncode == 2


@pytest.mark.sqlite("the copied events get ids longer than a real one's")
def test_a_long_log_is_read_in_batches_and_in_order(copied_day: Clinic) -> None:
    from clinic_mcp.policy_tools.recorded import BATCH, count, stream

    (highest,) = copied_day.execute("SELECT max(writer_seq) AS seq FROM audit_events")
    step, events = highest["seq"] + 1, decided(copied_day)
    times = BATCH // len(events) + 2
    with copied_day.sql() as connection:
        drop_triggers(connection)
        columns = [column[0] for column in connection.execute("SELECT * FROM audit_events LIMIT 0").description]
        changed = {
            "id": "NULL",
            "event_id": "event_id || ?1",
            "call_id": "call_id || ?1",
            "writer_seq": "writer_seq + ?2",
        }
        values = ", ".join(changed.get(name, name) for name in columns)
        for number in range(1, times):
            connection.execute(
                f"INSERT INTO audit_events SELECT {values} FROM audit_events"  # noqa: S608
                f" WHERE decision IS NOT NULL AND writer_seq < {step} AND length(event_id) = 36",
                (f"-{number}", step * number),
            )
    with copied_day.database() as database, database.read() as connection:
        assert count(connection, None, None) > BATCH
        read = [decision.event_id for decision, slice_text in stream(connection, None, None) if decision and slice_text]
    assert read == [event["event_id"] for event in events] * times
    assert copied_day.json("policy", "replay")["counts"]["same"] == len(events) * times


def test_flips_are_all_counted_and_some_listed(day: Clinic, candidate: Candidate) -> None:
    folder = candidate(without="physician-breaks-glass")
    report = day.json("policy", "replay", "--policies", str(folder), "--limit", "1", code=1)
    assert len(report["flips"]) == 1
    assert report["counts"]["allow_to_deny"] == 2


def test_what_people_read_names_the_flips_and_no_free_text(day: Clinic, candidate: Candidate) -> None:
    folder = str(candidate(without="physician-breaks-glass"))
    done = day.run("policy", "replay", "--policies", folder, code=1)
    words = " ".join(done.stdout.replace("│", " ").split())
    assert "2 would flip" in words
    assert "Clinician:dr-lindqvist" in words
    assert "allow (physician-breaks-glass)" in words
    assert "deny (default-deny)" in words
    assert SECRET not in done.stdout + done.stderr
    assert "\x1b" not in done.stdout


def test_a_candidate_that_no_server_would_take_is_refused_before_anything_is_read(
    day: Clinic, candidate: Candidate
) -> None:
    folder = candidate(added='@id("no-other-patient") permit (principal, action, resource);')
    done = day.run("policy", "replay", "--policies", str(folder), code=4)
    assert "no-other-patient" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_replay_is_on_the_record(day: Clinic) -> None:
    day.json("policy", "replay", "--since", "1h")
    (row,) = day.execute("SELECT leaf FROM audit_events WHERE code = 'policy.replayed' ORDER BY id DESC LIMIT 1")
    event = json.loads(row["leaf"])
    assert event["phase"] == "audit_read"
    assert event["principal"]["type"] == "Operator"
    assert event["asked"]["policies"] == SET.digest
    assert day.json("audit", "verify")["verdict"] == "whole"


def test_decisions_of_an_earlier_version_are_counted_apart(day: Clinic) -> None:
    """Their events name the policies and nothing of the request."""
    from clinic_mcp.policy_tools.recorded import recorded
    from clinic_mcp.policy_tools.replay import Candidate as Judge

    event = decided(day)[0]
    del event["cedar"]
    decision = recorded(json.dumps(event).encode())
    assert decision is not None
    assert decision.tool == event["call"]["tool"]
    judged = Judge(SET, {}).judge(decision, None)
    assert judged.allowed is None


@pytest.mark.parametrize(
    ("condition", "read"),
    [
        ('context.input.patient_id == "P001"', {"patient_id"}),
        ('context.input["patient_id"] == "P001" && principal.clinic == resource.clinic', {"patient_id"}),
        ("context.input has patient_id", {"patient_id"}),
        ('context.input == {patient_id: "P001"}', {EVERY}),
        ("[context.input].contains(context.input)", {EVERY}),
        ("context has bound && context.bound.patient == resource", set()),
        ('context.auth.transport == "stdio"', set()),
        ("context == context", {EVERY}),
    ],
)
def test_what_a_policy_reads_of_the_arguments_is_found(condition: str, read: set[str]) -> None:
    scope = 'principal, action == Clinic::Action::"get_patient_record", resource is Clinic::Patient'
    text = f'@id("reader") forbid ({scope}) when {{ {condition} }};'
    policies = PolicySet(SET.schema_text, f"{SET.text}\n{text}") if EVERY not in read else None
    if policies is not None:
        assert inputs_read(policies.est["reader"]) == read
    else:
        import cedarpy

        (est,) = json.loads(cedarpy.policies_to_json_str(text))["staticPolicies"].values()
        assert inputs_read(est) == read


def test_the_shipped_policies_read_no_argument_that_the_log_does_not_keep() -> None:
    """Every decision can be replayed for as long as this holds."""
    assert {name: inputs_read(est) for name, est in SET.est.items() if inputs_read(est)} == {}
    assert FOLDER.exists()
