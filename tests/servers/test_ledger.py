"""The stock ledger on the real server: first expired, first out; once; never below nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from support.calls import EXPECTED, NOTES
from support.clinic import Clinic
from support.servers import Answer, Caller, connected, post_call, serving

LABEL = "Paracetamol 500mg"


@pytest.fixture
def caller(clinic: Clinic) -> Iterator[Caller]:
    clinic.execute("DELETE FROM stock_entries WHERE item_id = 'paracetamol-500'")
    with connected(clinic, "pharmacy", "stdio") as connection:
        yield connection


def call(clinic: Clinic, caller: Caller, tool: str, **arguments: Any) -> Answer:
    return caller.call(tool, {"medication_name": LABEL, **arguments}, clinic.tokens.person("pharm-rossi", "pharmacy"))


def prescribed(clinic: Clinic) -> str:
    own = EXPECTED["dispense_medication"].own(clinic, clinic.consult(notes=NOTES))
    return str(own["prescription_id"])


def receive(clinic: Clinic, caller: Caller, lot: str, quantity: int, expires: str) -> Answer:
    return call(clinic, caller, "receive_stock", lot=lot, quantity=quantity, expires=expires)


def test_what_expires_first_goes_first(clinic: Clinic, caller: Caller) -> None:
    for lot, quantity, expires in (("LATE", 50, "2099-12-31"), ("SOON", 10, "2099-01-31"), ("NEXT", 5, "2099-06-30")):
        assert receive(clinic, caller, lot, quantity, expires).code == "ok"
    answer = call(clinic, caller, "dispense_medication", prescription_id=prescribed(clinic), quantity=18)
    assert answer.content == {
        "medication": LABEL,
        "dispensed": 18,
        "lots": [{"lot": "SOON", "quantity": 10}, {"lot": "NEXT", "quantity": 5}, {"lot": "LATE", "quantity": 3}],
        "quantity": 47,
    }
    assert call(clinic, caller, "check_pharmacy_inventory").content["quantity"] == 47


def test_expired_stock_is_neither_received_nor_dispensed(clinic: Clinic, caller: Caller) -> None:
    assert receive(clinic, caller, "OLD", 100, "2020-01-01").code == "invalid_arguments"
    clinic.execute(
        "INSERT INTO stock_entries (id, clinic_id, item_id, kind, quantity, lot, expires, recorded) VALUES"
        " ('x', 'main', 'paracetamol-500', 'received', 100, 'OLD', '2020-01-01', '2019-01-01T00:00:00.000Z')"
    )
    answer = call(clinic, caller, "dispense_medication", prescription_id=prescribed(clinic), quantity=1)
    assert answer.code == "conflict"


def test_a_delivery_and_a_dispensing_count_once(clinic: Clinic, caller: Caller) -> None:
    first, again = (receive(clinic, caller, "L1", 20, "2099-01-31") for _ in range(2))
    assert first.content == again.content
    assert receive(clinic, caller, "L1", 21, "2099-01-31").code == "conflict"
    prescription = prescribed(clinic)
    handed = [call(clinic, caller, "dispense_medication", prescription_id=prescription, quantity=9) for _ in range(2)]
    assert handed[0].content == handed[1].content
    assert handed[0].content["quantity"] == 11
    assert call(clinic, caller, "dispense_medication", prescription_id=prescription, quantity=10).code == "conflict"


@pytest.mark.parametrize(
    ("tool", "wrong", "code"),
    [
        ("receive_stock", {"quantity": 0}, "invalid_arguments"),
        ("receive_stock", {"quantity": -5}, "invalid_arguments"),
        ("receive_stock", {"quantity": 2**70}, "invalid_arguments"),
        ("receive_stock", {"quantity": 1.5}, "invalid_arguments"),
        ("receive_stock", {"quantity": "5"}, "invalid_arguments"),
        ("receive_stock", {"quantity": True}, "invalid_arguments"),
        ("receive_stock", {"expires": "2099-02-30"}, "invalid_arguments"),
        ("receive_stock", {"expires": "soon"}, "invalid_arguments"),
        ("receive_stock", {"lot": ""}, "invalid_arguments"),
        ("receive_stock", {"medication_name": "Amox"}, "invalid_arguments"),
        ("receive_stock", {"medication_name": "Oxycodone 10mg"}, "invalid_arguments"),
        ("dispense_medication", {"quantity": 10_000}, "conflict"),
        ("dispense_medication", {"medication_name": "Ibuprofen 400mg"}, "conflict"),
        ("dispense_medication", {"prescription_id": "RX-ffffffffffff"}, "refused"),
        ("dispense_medication", {"prescription_id": "' OR 1=1"}, "invalid_arguments"),
    ],
    ids=str,
)
def test_what_is_not_right_changes_nothing(
    clinic: Clinic, caller: Caller, tool: str, wrong: dict[str, Any], code: str
) -> None:
    receive(clinic, caller, "L1", 20, "2099-01-31")
    before = clinic.execute("SELECT count(*) FROM stock_entries")[0][0]
    right: dict[str, Any] = {"quantity": 5, "lot": "L2", "expires": "2099-01-31"}
    if tool == "dispense_medication":
        right = {"quantity": 5, "prescription_id": prescribed(clinic)}
    assert call(clinic, caller, tool, **{**right, **wrong}).code == code
    assert clinic.execute("SELECT count(*) FROM stock_entries")[0][0] == before


def test_a_draft_is_not_dispensed(clinic: Clinic, caller: Caller) -> None:
    receive(clinic, caller, "L1", 20, "2099-01-31")
    prescription = prescribed(clinic)
    clinic.execute("UPDATE prescriptions SET status = 'draft'")
    answer = call(clinic, caller, "dispense_medication", prescription_id=prescription, quantity=5)
    assert answer.words[2] == "The prescription is not active. A physician must sign it first."


def test_two_processes_never_take_the_same_box(clinic: Clinic) -> None:
    """Thirty boxes, forty prescriptions of one, two servers: thirty are handed out."""
    clinic.execute("DELETE FROM stock_entries WHERE item_id = 'paracetamol-500'")
    sessions = [clinic.consult(notes=NOTES) for _ in range(40)]  # each ends earlier prescriptions, so first all of them
    own = [EXPECTED["dispense_medication"].own(clinic, session) for session in sessions]
    token = clinic.tokens.person("pharm-rossi", "pharmacy")
    answers: list[bool] = []

    def work(url: str, share: list[dict[str, Any]]) -> None:
        for arguments in share:
            _, body = post_call(url, "dispense_medication", {**arguments, "quantity": 1}, token)
            answers.append(not body["result"]["isError"])

    with serving(clinic, "pharmacy") as one, serving(clinic, "pharmacy") as other:
        delivery = {"medication_name": LABEL, "quantity": 30, "lot": "L1", "expires": "2099-01-31"}
        post_call(f"{one.url}/mcp", "receive_stock", delivery, token)
        shares = [(one, own[0::4]), (other, own[1::4]), (one, own[2::4]), (other, own[3::4])]
        threads = [threading.Thread(target=work, args=(f"{server.url}/mcp", share)) for server, share in shares]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert sum(answers) == 30
    left = clinic.execute("SELECT sum(quantity) FROM stock_entries WHERE item_id = 'paracetamol-500'")[0][0]
    assert left == 0
