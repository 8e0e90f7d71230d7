"""What `policy explain` says is so: each thing it names is tried on the engine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cedarpy
import pytest
from clinic_mcp.core.policy import Decision, Request
from clinic_mcp.policy_tools.cedar_text import condition, scope
from clinic_mcp.policy_tools.conditions import condition_parts, scope_parts
from clinic_mcp.policy_tools.different import Different, different
from clinic_mcp.policy_tools.golden import Golden, files, read
from clinic_mcp.policy_tools.source import places, statements, texts
from day import SECRET, perform
from meaning import Est
from mutants import whole
from support.attacks import drop_triggers
from support.clinic import Clinic
from test_golden import FOLDER, SET
from test_replay import decided

GOLDEN = [read(path) for path in files(FOLDER)]
Changed = Mapping[str, Est | None]


# the text of a condition

CONDITIONS = [
    *(clause["body"] for est in SET.est.values() for clause in est["conditions"]),
]
WRITTEN = [
    'context["if"] == "x\\"y\\n\\\\"',
    "-3 < context.a",
    "-context.a < -(3)",
    "!(!true)",
    'context.a like "a*b\\*c\\""',
    "if context.x then context.y else !context.z",
    "(if true then 1 else 2) == 1",
    "[1, 2, context.x].contains(3)",
    '{"a b": 1, "c": 2}.c == 2',
    "context.a.isEmpty()",
    'ip("1.2.3.4").isInRange(context.ip) || decimal("1.2").lessThan(context.d)',
    'context.now.offset(duration("1h")) < datetime("2026-01-01")',
    'principal is Clinic::Agent in Clinic::Role::"x"',
    'principal in [resource, Clinic::Role::"y"]',
    'principal.hasTag("x") && principal.getTag("x") == 1',
    "(true || false) && (true && (false && true))",
    "1 - (2 - 3) == 4 * (5 + 6)",
    "((1 == 1) == true) != false",
    '!(principal has "a b") && context.a has b.c',
    '"\\u{200b}é😀" == "\\0"',
    "context.a.containsAny(context.b) && !context.a.containsAll(context.b)",
]


def parsed(text: str) -> Any:
    policy = f"permit (principal, action, resource) when {{ {text} }};"
    (est,) = json.loads(cedarpy.policies_to_json_str(policy))["staticPolicies"].values()
    return est["conditions"][0]["body"]


@pytest.mark.parametrize("text", WRITTEN)
def test_a_condition_is_shown_as_text_that_means_it(text: str) -> None:
    assert parsed(condition(parsed(text))) == parsed(text)


def test_every_condition_and_scope_of_the_policies_is_shown_as_text_that_means_it() -> None:
    for name, est in SET.est.items():
        for clause in est["conditions"]:
            assert parsed(condition(clause["body"])) == clause["body"], name
        head = ", ".join(scope(variable, est[variable]) for variable in ("principal", "action", "resource"))
        (again,) = json.loads(cedarpy.policies_to_json_str(f"permit ({head});"))["staticPolicies"].values()
        assert {key: again[key] for key in ("principal", "action", "resource")} == {
            key: est[key] for key in ("principal", "action", "resource")
        }


def test_a_condition_reads_as_its_owner_wrote_it() -> None:
    (shown,) = (part.text for part in condition_parts(SET.est["no-other-patient"]))
    assert shown in texts(SET)["no-other-patient"]


def test_a_policys_text_is_found_whatever_stands_in_it(tmp_path: Path) -> None:
    first = '@id("a") @advice("Stop; // not a comment")\npermit (principal, action, resource) // ; "\nwhen { true };'
    second = '@id("b") forbid (principal, action, resource) when { "\\";" == "/" };'
    text = f'// a comment; with "quotes\n\n{first}\n// another;\n{second}\n// the end;\n'
    assert statements(text) == [first, second]


def test_every_policy_has_its_place_in_a_file() -> None:
    where = places(SET, FOLDER)
    assert where.keys() == SET.policies.keys()
    file, _, line = where["no-other-patient"].partition(":")
    assert '@id("no-other-patient")' in (FOLDER / file).read_text("utf-8").splitlines()[int(line) - 1]


# conditions taken apart


@pytest.mark.parametrize(
    ("written", "parts"),
    [
        ("when { context.a && context.b }", ["context.a", "context.b"]),
        ("when { context has a && context.a == 1 }", ["context has a && context.a == 1"]),
        (
            "when { context has a && context.a has b && context.a.b && context.c }",
            ["context has a && (context.a has b && context.a.b)", "context.c"],
        ),
        ("when { context has a && context.b }", ["context has a", "context.b"]),
        ("when { context.a || context.b }", ["context.a || context.b"]),
        ("when { !(context.a || context.b) }", ["!context.a", "!context.b"]),
        ("unless { context.a || !context.b }", ["!context.a", "context.b"]),
        ("unless { context.a && context.b }", ["!(context.a && context.b)"]),
        ("when { context.a } unless { context.b }", ["context.a", "!context.b"]),
        ("", []),
    ],
)
def test_a_policy_comes_apart_into_the_conditions_that_must_all_hold(written: str, parts: list[str]) -> None:
    text = f"permit (principal, action, resource) {written};"
    (est,) = json.loads(cedarpy.policies_to_json_str(text))["staticPolicies"].values()
    assert [part.text for part in condition_parts(est)] == parts


def test_the_parts_of_a_policy_hold_together_exactly_where_it_applies() -> None:
    for golden in GOLDEN[::3]:
        parts = {
            f"{name} {number}": part.probe
            for name, est in SET.est.items()
            for number, part in enumerate([*scope_parts(est).values(), *condition_parts(est)])
        }
        true = SET.satisfied(golden.request, {**parts, **SET.est})
        assert true is not None
        for name in SET.est:
            own = {part for part in parts if part.rpartition(" ")[0] == name}
            assert (name in true) is (own <= true), f"{golden.name}: {name}"


# what would have to be different


class Otherwise:
    """The same policies with some changed, asked about the same request."""

    def __init__(self) -> None:
        self.schema = cedarpy.Schema.from_str(SET.schema_text)

    def allowed(self, request: Request, changed: Changed) -> bool:
        policies = {name: changed.get(name, est) for name, est in SET.est.items()}
        kept = {name: est for name, est in policies.items() if est is not None}
        engine = cedarpy.PolicySet.from_json_str(json.dumps(whole(kept)))
        entities = cedarpy.Entities.from_json_str(request.slice_text, self.schema)
        answer = cedarpy.is_authorized(request.question, engine, entities, self.schema)
        return bool(answer.allowed) and not answer.diagnostics.errors


OTHERWISE = Otherwise()


def without(name: str, gone: set[str]) -> Est:
    """A policy that no longer asks for some of what it asks for."""
    est = SET.est[name]
    kept = [part.probe for part in condition_parts(est) if part.text not in gone]
    scopes = scope_parts(est)
    kind = scopes["kind"].probe["principal"] if scopes["principal"].text in gone else est["principal"]
    return {**est, "principal": kind, "conditions": [clause for probe in kept for clause in probe["conditions"]]}


def asks_for(name: str, text: str) -> bool:
    est = SET.est[name]
    return text in {part.text for part in (scope_parts(est)["principal"], *condition_parts(est))}


def explained(kind: str) -> Iterator[tuple[Golden, Decision, Different]]:
    for golden in GOLDEN:
        decision = SET.decide(golden.request)
        found = different(SET, golden.request, decision)
        assert found is not None
        if golden.decision == kind:
            yield golden, decision, found


def test_an_allowed_call_is_refused_once_a_fact_that_must_stay_does_not() -> None:
    tried = 0
    for golden, _, found in explained("allow"):
        for fact in found.must_stay:
            gone = {name: None for name in SET.est if SET.est[name]["effect"] == "permit" and asks_for(name, fact)}
            assert not OTHERWISE.allowed(golden.request, gone), f"{golden.name}: {fact}"
            tried += 1
    assert tried >= 50


def test_an_allowed_call_is_refused_once_what_must_not_become_so_does() -> None:
    for golden, _, found in explained("allow"):
        for forbid in found.must_not_be:
            changed = {forbid.id: without(forbid.id, set(forbid.unmet))}
            assert not OTHERWISE.allowed(golden.request, changed), f"{golden.name}: {forbid.id}"


def test_an_allowed_call_hangs_on_no_other_condition_of_its_permits() -> None:
    """Where two permits allow it, a condition of one of them alone decides nothing."""
    both = [(golden, decision, found) for golden, decision, found in explained("allow") if len(decision.policies) > 1]
    for golden, decision, found in both:
        for name in decision.policies:
            alone = [part.text for part in condition_parts(SET.est[name]) if part.text not in found.must_stay]
            for fact in alone:
                gone = {other: None for other in decision.policies if asks_for(other, fact)}
                assert OTHERWISE.allowed(golden.request, gone), f"{golden.name}: {fact}"


def test_a_refused_call_is_allowed_once_no_forbid_refuses_and_one_permit_lacks_nothing() -> None:
    lacking = 0
    for golden, decision, found in explained("deny"):
        refusing = {one.id for one in found.refusing}
        assert refusing == set(decision.policies) - {"default-deny"}
        lifted: dict[str, Est | None] = dict.fromkeys(refusing)
        assert OTHERWISE.allowed(golden.request, lifted) is found.permitted, golden.name
        for permit in found.lacking:
            assert permit.unmet
            changed = {**lifted, permit.id: without(permit.id, set(permit.unmet))}
            assert OTHERWISE.allowed(golden.request, changed), f"{golden.name}: {permit.id}"
            lacking += 1
        for forbid in found.refusing:
            assert forbid.unmet == ()
    assert lacking >= 50


def test_the_permit_that_lacks_least_comes_first() -> None:
    for _, _, found in explained("deny"):
        missing = [len(permit.unmet) for permit in found.lacking]
        assert missing == sorted(missing)


# the command, about a call


def test_a_refusal_is_explained_to_the_operator(day: Clinic) -> None:
    shown = day.json("policy", "explain", "get_patient_record", "patient_id=P002", "--as", "nurse-adeyemi")
    assert shown["decision"] == "deny"
    assert shown["policies"] == ["default-deny"]
    assert shown["known"] is True
    nearest = shown["different"]["lacking"][0]
    assert nearest["id"] == "nurse-reads-care-team-patient"
    assert nearest["unmet"] == ["resource.careTeam.contains(principal)"]


def test_it_says_whether_a_record_exists(day: Clinic) -> None:
    shown = day.json("policy", "explain", "get_patient_record", "patient_id=P999", "--as", "nurse-adeyemi")
    assert shown["known"] is False
    done = day.run("policy", "explain", "get_patient_record", "patient_id=P999", "--as", "nurse-adeyemi")
    assert "Patient:P999 (does not exist)" in done.stdout


def test_an_agents_call_is_explained_with_the_policies_as_their_files_have_them(day: Clinic) -> None:
    session = day.consult("P005")
    done = day.run(
        "policy", "explain", "get_patient_record", "patient_id=P001", "--agent", "intake_agent", "--session", session
    )
    assert texts(SET)["no-other-patient"] in done.stdout
    assert "// guardrails.cedar:" in done.stdout
    assert "Ask only about the patient of this consultation." in done.stdout
    assert "one of these permits must have all it lacks, besides" in " ".join(done.stdout.split()), (
        "nothing permits it, besides"
    )


def test_a_patients_own_call_is_explained(day: Clinic) -> None:
    shown = day.json("policy", "explain", "get_medical_history", "patient_id=P001", "--patient", "P001")
    assert (shown["decision"], shown["policies"]) == ("allow", ["patient-reads-own-record"])
    assert shown["different"]["must_stay"] == ["principal == resource"]
    assert {one["id"] for one in shown["different"]["must_not_be"]} >= {"no-other-clinic"}


def test_numbers_are_taken_as_numbers(day: Clinic) -> None:
    arguments = ["medication_name=Paracetamol 500mg", "quantity=5", "lot=L1", "expires=2099-01-31"]
    shown = day.json("policy", "explain", "receive_stock", *arguments, "--as", "pharm-rossi")
    assert shown["decision"] == "allow"


def test_nothing_permits_it_in_any_circumstances_is_said_so(day: Clinic) -> None:
    done = day.run("policy", "explain", "list_my_consultations", "--as", "auditor-tan")
    assert "No policy permits Auditor list_my_consultations in any circumstances." in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["no_such_tool", "--as", "dr-osei"], 1, "no_such_tool"),
        (["get_patient_record", "patient_id=Alice", "--as", "dr-osei"], 1, "patient_id"),
        (["get_patient_record", "--as", "dr-osei"], 1, "patient_id"),
        (["get_patient_record", "patient_id=P001", "--as", "nobody"], 1, "nobody"),
        (["get_patient_record", "patient_id=P001", "--agent", "intake_agent", "--session", "C-9"], 1, "C-9"),
        (["get_patient_record", "patient_id=P001", "--agent", "intake_agent"], 2, "--session"),
        (["get_patient_record", "patient_id=P001"], 2, "--as"),
        (["get_patient_record", "P001", "--as", "dr-osei"], 2, "name=value"),
        (["get_patient_record", "--event", "x"], 2, "event"),
        ([], 2, "tool"),
        (["--event", "no-such-event"], 1, "no-such-event"),
    ],
)
def test_what_cannot_be_explained_is_said_in_a_sentence(
    day: Clinic, arguments: list[str], code: int, says: str
) -> None:
    done = day.run("policy", "explain", *arguments, code=code)
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_no_argument_is_shown_or_recorded(day: Clinic) -> None:
    query = f"query={SECRET} and fever"
    for extra in ([], ["--json"]):
        done = day.run("policy", "explain", "search_knowledge_base", query, "--as", "nurse-adeyemi", *extra)
        assert SECRET not in done.stdout + done.stderr
    leaves = [bytes(row["leaf"]) for row in day.execute("SELECT leaf FROM audit_events")]
    assert not [leaf for leaf in leaves if SECRET.encode() in leaf]


def test_an_explanation_is_on_the_record_with_the_patient_it_is_about(day: Clinic) -> None:
    day.json("policy", "explain", "get_patient_record", "patient_id=P003", "--as", "dr-osei")
    (row,) = day.execute(
        "SELECT leaf, patient FROM audit_events WHERE code = 'policy.explained' ORDER BY id DESC LIMIT 1"
    )
    event = json.loads(row["leaf"])
    assert event["phase"] == "audit_read"
    assert event["principal"]["type"] == "Operator"
    assert event["asked"] == {"tool": "get_patient_record", "caller": "Clinician:dr-osei"}
    assert row["patient"] == "P003"
    assert day.json("audit", "verify")["verdict"] == "whole"


# the command, about an event


def test_every_decision_of_the_day_is_explained_as_it_was(day: Clinic) -> None:
    """In this process, because there are many; the command is tried below."""
    from clinic_mcp.policy_tools.explain import explain_recorded, find

    with day.database() as database, database.read() as connection:
        for event in decided(day):
            shown = explain_recorded(connection, find(connection, event["event_id"]), SET, FOLDER)
            assert ("allow" if shown.allowed else "deny") == event["decision"]["effect"]
            assert list(shown.policies) == event["decision"]["policies"]
            assert shown.notes == []
            assert shown.today is not None
            assert shown.today.allowed is shown.allowed
            assert shown.today.policies == shown.policies
            assert shown.different is not None
            assert {one.id for one in shown.deciding} == set(shown.policies) - {"default-deny"}


def test_a_refusal_is_found_by_the_reference_its_caller_was_given(day: Clinic) -> None:
    refused = next(event for event in decided(day) if event["decision"]["policies"] == ["no-other-patient"])
    shown = day.json("policy", "explain", "--event", refused["call_id"])
    assert shown["event"]["event_id"] == refused["event_id"]
    assert shown["caller"] == "Agent:intake_agent"
    assert shown["today"]["allowed"] is False
    done = day.run("policy", "explain", "--event", refused["event_id"])
    words = " ".join(done.stdout.replace("│", " ").split())
    assert "the same: deny (no-other-patient)" in words
    assert SECRET not in done.stdout


def test_an_allowed_call_is_found_by_its_outcome_too(day: Clinic) -> None:
    (row,) = day.execute("SELECT event_id FROM audit_events WHERE code = 'call.ok' AND tool = 'find_patients'")
    assert day.json("policy", "explain", "--event", row["event_id"])["policies"] == ["physician-finds-patients"]


def test_the_policies_of_then_decide_and_those_of_today_are_compared(day: Clinic, tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("decisions"))
    text = (folder / "patient-records.cedar").read_text("utf-8")
    gone = texts(SET)["physician-breaks-glass"]
    (folder / "patient-records.cedar").write_text(text.replace(gone, ""), "utf-8")
    broken = next(event for event in decided(day) if event["decision"]["policies"] == ["physician-breaks-glass"])
    done = day.run("policy", "explain", "--event", broken["event_id"], CLINIC_POLICIES=str(folder))
    assert gone in done.stdout, "the text that was in force, kept by the log"
    assert "no longer in the files" in done.stdout
    assert "OTHERWISE: deny (default-deny)" in " ".join(done.stdout.replace("│", " ").split())


def test_a_decision_by_a_text_that_the_log_does_not_keep_says_what_is_missing(
    copied_day: Clinic, tmp_path: Path
) -> None:
    folder = tmp_path / "policies"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("decisions"))
    added = (
        '@id("no-such-words") forbid (principal, action == Clinic::Action::"search_knowledge_base", resource)'
        f' when {{ context.input.query like "*{SECRET}*" }};'
    )
    (folder / "more.cedar").write_text(added, "utf-8")
    nurse = copied_day.tokens.person("nurse-adeyemi")
    perform(copied_day, "knowledge-base", [("search_knowledge_base", {"query": SECRET}, nurse)], policies=folder)
    refused = decided(copied_day)[-1]
    assert refused["decision"]["policies"] == ["no-such-words"]
    shown = copied_day.json("policy", "explain", "--event", refused["event_id"])
    assert (shown["decision"], shown["policies"]) == ("deny", ["no-such-words"]), "as it was decided"
    assert [one["text"] for one in shown["deciding"]] == [added]
    assert "does not keep query, which no-such-words may read" in shown["notes"][0]
    assert shown["today"]["allowed"] is True, "the shipped policies read no argument"
    assert shown["policy_set"] != SET.digest


def test_an_event_that_is_no_decision_of_the_policies_is_said_to_be_none(day: Clinic) -> None:
    (row,) = day.execute("SELECT event_id FROM audit_events WHERE code = 'server.started' LIMIT 1")
    assert "no decision" in day.run("policy", "explain", "--event", row["event_id"], code=1).stderr


def test_policies_that_the_log_does_not_hold_cannot_be_explained(copied_day: Clinic) -> None:
    event = decided(copied_day)[0]
    with copied_day.sql() as connection:
        drop_triggers(connection)
        connection.execute("DELETE FROM audit_policy_texts")
    done = copied_day.run("policy", "explain", "--event", event["event_id"], code=4)
    assert "does not hold the policies" in done.stderr


def test_a_request_that_the_engine_cannot_judge_has_no_explanation_but_the_refusal() -> None:
    asked = GOLDEN[0].request
    broken = Request(asked.principal, asked.action, asked.resource, {}, asked.entities)
    assert different(SET, broken, SET.decide(broken)) is None
