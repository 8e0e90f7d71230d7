"""A store that does not answer: callers are told within the log's patience, and served again once it does."""

from __future__ import annotations

import time

import httpx
import pytest
from support.clinic import Clinic
from support.servers import Process, post_call, serving
from support.stalled import stalled
from support.waiting import eventually

PATIENCE = "1"
BACK_WITHIN = 5.0
"""Seconds after the repair within which a call must be answered again."""
QUICKLY = 4.5
"""Seconds within which a caller is told: less than any other limit there is."""


@pytest.fixture
def token(clinic: Clinic) -> str:
    return clinic.tokens.grant(clinic.consult(), "intake_agent", audience="patient-records")


def ask(server: Process, token: str) -> dict[str, str]:
    """The error of an answer; empty where there is none."""
    _, body = post_call(f"{server.url}/mcp", "get_patient_record", {"patient_id": "P001"}, token)
    content = body["result"]["structuredContent"] if "result" in body else {"error": {"code": body["error"]}}
    error: dict[str, str] = content.get("error", {})
    return error


def test_a_store_that_hangs_is_named_within_the_patience_and_comes_back(clinic: Clinic, token: str) -> None:
    with serving(clinic, "patient-records", CLINIC_AUDIT_TIMEOUT=PATIENCE) as server:
        assert ask(server, token) == {}
        with stalled(clinic):
            for _ in range(2):  # the second while the first is still stuck
                started = time.monotonic()
                error = ask(server, token)
                assert time.monotonic() - started < QUICKLY
                assert error["code"] == "audit_unavailable"
                assert "no answer within 1 seconds" in error["message"]
        repaired = time.monotonic()
        eventually(lambda: ask(server, token) == {}, 15)
        assert time.monotonic() - repaired < BACK_WITHIN
    assert clinic.run("audit", "verify", code=None).returncode in (0, 3)


def test_a_hanging_store_does_not_pile_up_what_strangers_ask(clinic: Clinic) -> None:
    with serving(clinic, "patient-records", CLINIC_AUDIT_TIMEOUT=PATIENCE) as server, httpx.Client() as client:
        with stalled(clinic):
            for _ in range(2):
                started = time.monotonic()
                answer = client.post(f"{server.url}/mcp", json={}, timeout=20)
                assert answer.status_code == 503
                assert answer.json()["error"] == "audit_unavailable"
                assert time.monotonic() - started < QUICKLY
        eventually(lambda: client.post(f"{server.url}/mcp", json={}, timeout=20).status_code == 401, 15)


def test_a_write_that_hangs_before_its_commit_changes_nothing(clinic: Clinic) -> None:
    token = clinic.tokens.person("pharm-rossi", "pharmacy")
    delivery = {"medication_name": "Paracetamol 500mg", "lot": "LOT-1", "quantity": 1, "expires": "2099-01-31"}
    with serving(clinic, "pharmacy", CLINIC_AUDIT_TIMEOUT=PATIENCE) as server:
        with stalled(clinic):
            _, body = post_call(f"{server.url}/mcp", "receive_stock", delivery, token)
            assert body["result"]["structuredContent"]["error"]["code"] == "audit_unavailable"

        def received() -> bool:
            _, body = post_call(f"{server.url}/mcp", "receive_stock", delivery, token)
            return not body["result"].get("isError")

        eventually(received, 15)
    assert clinic.execute("SELECT count(*) FROM stock_entries WHERE lot = 'LOT-1'")[0][0] == 1


@pytest.mark.sqlite("a file can be removed from under SQLite")
def test_a_database_file_that_was_moved_away_takes_no_call_and_is_served_again_when_it_is_back(
    clinic: Clinic, token: str
) -> None:
    with serving(clinic, "patient-records") as server:
        assert ask(server, token) == {}
        before = clinic.execute("SELECT count(*) FROM audit_events")[0][0]
        aside = clinic.file.with_name("aside.db")
        clinic.file.rename(aside)
        for _ in range(2):
            error = ask(server, token)
            assert error["code"] in ("audit_unavailable", "unavailable")
            assert not clinic.file.exists(), "no empty database takes its place"
        aside.rename(clinic.file)
        repaired = time.monotonic()
        eventually(lambda: ask(server, token) == {}, 15)
        assert time.monotonic() - repaired < BACK_WITHIN
    assert clinic.execute("SELECT count(*) FROM audit_events")[0][0] > before
    assert clinic.run("audit", "verify", code=None).returncode in (0, 3)
