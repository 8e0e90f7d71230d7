"""Diagnostics: one line a call with its event; spans and metrics where a collector is named; nobody's words in any."""

from __future__ import annotations

import json
import subprocess
import sys

import httpx
import pytest
from clinic_mcp.audit.event import Draft, Phase, Writer, uuid7
from clinic_mcp.audit.log import AuditLog
from support.clinic import Clinic
from support.collector import Collector, collecting
from support.log import AuditReader
from support.servers import Process, headers, post_call, request, running, serving
from support.waiting import eventually

MARK = "Kanarienvogel"
SOON = {"OTEL_BSP_SCHEDULE_DELAY": "100", "OTEL_METRIC_EXPORT_INTERVAL": "300"}
TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-01"


def call_lines(server: Process) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in server.lines().splitlines() if line.startswith("{")]
    return [line for line in lines if line.get("event") == "call"]


def test_each_call_has_one_line_that_names_its_event_decision_and_policy(clinic: Clinic) -> None:
    session = clinic.consult()
    token = clinic.tokens.grant(session, "intake_agent", audience="patient-records")
    log = AuditReader(clinic, "patient-records")
    with serving(clinic, "patient-records") as server:
        for tool, arguments in (
            ("get_patient_record", {"patient_id": "P001"}),
            ("get_patient_record", {"patient_id": "P002"}),
            (f"{MARK}_tool", {}),
            ("get_patient_record", {"patient_id": MARK}),
        ):
            post_call(f"{server.url}/mcp", tool, arguments, token)
        post_call(f"{server.url}/mcp", "get_patient_record", {"patient_id": "P001"}, None)
        lines = call_lines(server)
    assert MARK not in server.lines()
    assert [line["code"] for line in lines] == [
        "ok",
        "refused",
        "unknown_tool",
        "invalid_arguments",
        "http.unauthenticated",
    ]
    events = {event["event_id"]: event for event in log.events()}
    endings = [event for event in events.values() if event["phase"] in ("outcome", "decision", "unauthenticated")]
    assert [line["event_id"] for line in lines] == [event["event_id"] for event in endings]
    assert lines[0]["decision"] == "allow"
    assert lines[0]["policies"] == ["intake-agent-reads-its-patient"]
    assert lines[1]["decision"] == "deny"
    assert lines[1]["policies"] == endings[1]["decision"]["policies"]
    assert all(int(str(line["audit_us"])) > 0 for line in lines[:2])


@pytest.fixture
def collected(clinic: Clinic) -> Collector:
    """What a server and the sequencer told a collector about calls with canaries in every word a caller can choose."""
    token = clinic.tokens.grant(clinic.consult(), "intake_agent", audience="patient-records")
    with collecting() as collector:
        told = {"CLINIC_OTLP_ENDPOINT": collector.url, **SOON}
        with serving(clinic, "patient-records", **told) as server:
            meta = {"traceparent": TRACEPARENT, MARK: MARK}
            for tool, arguments in (
                ("get_patient_record", {"patient_id": "P001"}),
                ("get_patient_record", {"patient_id": "P002"}),
                (f"{MARK}_tool", {MARK: MARK}),
            ):
                body = request(tool, arguments, f"{MARK}-1", meta)
                httpx.post(f"{server.url}/mcp", json=body, headers=headers(token), timeout=20)
            odd = {"jsonrpc": "2.0", "id": MARK, "method": f"{MARK}/x", "params": {}}
            httpx.post(f"{server.url}/mcp", json=odd, headers=headers(token), timeout=20)
        with running(clinic, "consultations", **told):
            eventually(lambda: "clinic.audit.lag" in collector.metrics())
    return collector


def test_spans_carry_the_decision_the_policy_and_the_event_in_the_caller_s_trace(
    clinic: Clinic, collected: Collector
) -> None:
    spans = [(name, found) for name, found in collected.spans() if name.startswith("tools/call")]
    assert [name for name, _ in spans] == ["tools/call get_patient_record"] * 2 + ["tools/call"]
    allowed, refused, unknown = (found for _, found in spans)
    assert allowed["clinic.decision"] == "allow"
    assert allowed["clinic.policy_ids"] == ["intake-agent-reads-its-patient"]
    assert refused["clinic.decision"] == "deny"
    assert refused["error.type"] == "refused"
    assert unknown["gen_ai.tool.name"] == "unknown"
    assert {found["trace_id"] for found in (allowed, refused, unknown)} == {TRACE}
    ids = {row["event_id"] for row in clinic.execute("SELECT event_id FROM audit_events")}
    assert {found["clinic.audit.event_id"] for found in (allowed, refused, unknown)} <= ids


def test_metrics_count_calls_decisions_and_how_far_the_tree_is_behind(collected: Collector) -> None:
    metrics = collected.metrics()
    told = {"clinic.calls", "clinic.decisions", "mcp.server.operation.duration", "clinic.audit.duration"}
    assert told <= set(metrics)
    assert {point["clinic.code"] for point in metrics["clinic.calls"]} == {"ok", "refused", "unknown_tool"}
    assert "intake-agent-reads-its-patient" in {point["clinic.policy_id"] for point in metrics["clinic.decisions"]}
    assert metrics["clinic.audit.lag"]


def test_a_collector_learns_no_patient_no_person_and_no_word_a_caller_chose(collected: Collector) -> None:
    for word in (MARK, "P001", "P002", "Alice", "Thompson", "dr-osei"):
        assert word.encode() not in collected.raw, word


def test_nothing_is_sent_anywhere_unless_a_collector_is_named(clinic: Clinic) -> None:
    token = clinic.tokens.grant(clinic.consult(), "intake_agent", audience="patient-records")
    with collecting() as collector:
        standard = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **SOON}
        with serving(clinic, "patient-records", **standard) as server:
            post_call(f"{server.url}/mcp", "get_patient_record", {"patient_id": "P001"}, token)
        assert collector.received == []


def test_a_collector_that_is_away_costs_no_call(clinic: Clinic) -> None:
    token = clinic.tokens.grant(clinic.consult(), "intake_agent", audience="patient-records")
    with serving(clinic, "patient-records", CLINIC_OTLP_ENDPOINT="http://127.0.0.1:9", **SOON) as server:
        for _ in range(3):
            _, body = post_call(f"{server.url}/mcp", "get_patient_record", {"patient_id": "P001"}, token)
            assert body["result"]["structuredContent"]["id"] == "P001"


def test_a_line_s_event_is_the_one_in_the_database(clinic: Clinic) -> None:
    with clinic.database() as database:
        log = AuditLog(database, Writer("test", "main", "clinic-mcp/main"), announce=False)
        draft = Draft(Phase.ADMIN, "test.event", uuid7(), {})
        log.append(draft)
        log.close()
    assert clinic.execute("SELECT event_id FROM audit_events ORDER BY id DESC LIMIT 1")[0][0] == draft.event_id


def test_the_sdk_is_loaded_only_where_a_collector_is_named(clinic: Clinic) -> None:
    script = (
        "import sys; from clinic_mcp.core.settings import Settings; from clinic_mcp.core import app, telemetry;"
        " telemetry.configure(Settings(), 'x')(); print('opentelemetry.sdk' in sys.modules)"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=clinic.environment)
    assert done.stdout.strip() == "False"
