"""The pharmacy's stock."""

from __future__ import annotations

import secrets

import pytest
from clinic_mcp.pharmacy.store import Stock, stock_of
from support.clinic import Clinic


def stock(clinic: Clinic, name: str, at: str = "main") -> Stock:
    with clinic.database() as database, database.read() as connection:
        return stock_of(connection, name, at)


@pytest.mark.parametrize(
    ("name", "medication"),
    [
        ("Paracetamol 500mg", "Paracetamol 500mg"),
        ("paracetamol", "Paracetamol 500mg"),
        ("PARACETAMOL 500 MG", "Paracetamol 500mg"),
        ("  paracetamol   500 mg ", "Paracetamol 500mg"),
        ("Acetaminophen", "Paracetamol 500mg"),
        ("acetaminophen 325 mg", "Paracetamol 500mg"),
        ("albuterol", "Salbutamol inhaler"),
        ("Beclomethasone", "Beclometasone inhaler"),
        ("Lisinopril 10mg once daily", "Lisinopril 10mg"),
    ],
)
def test_a_name_as_people_write_it_is_found(template: Clinic, name: str, medication: str) -> None:
    found = stock(template, name)
    assert found["medication"] == medication
    assert found["in_stock"]
    assert found["quantity"] > 0
    assert "alternatives" not in found


@pytest.mark.parametrize(
    "name", ["Oxycodone 10mg", "zz", "%", "_", "%%", "p%l", "___", "\\", "'; --", "\x00zz", "zz\x00"]
)
def test_what_is_not_in_the_formulary_is_said_and_wildcards_are_letters(template: Clinic, name: str) -> None:
    found = stock(template, name)
    assert (found["in_stock"], found["quantity"]) == (False, 0)
    assert found["medication"] == name
    assert "formulary" in found["note"]


def test_out_of_stock_names_the_alternatives_that_are_there(template: Clinic) -> None:
    found = stock(template, "Amoxicillin 500mg")
    assert (found["in_stock"], found["quantity"]) == (False, 0)
    assert [other["medication"] for other in found["alternatives"]] == ["Azithromycin 250mg", "Doxycycline 100mg"]
    assert all(other["quantity"] > 0 for other in found["alternatives"])


def enter(clinic: Clinic, item: str, quantity: int, expires: str, clinic_id: str = "main") -> None:
    clinic.execute(
        "INSERT INTO stock_entries (id, clinic_id, item_id, kind, quantity, lot, expires, recorded)"
        " VALUES (?, ?, ?, 'received', ?, 'L', ?, '2026-01-01T00:00:00.000Z')",
        secrets.token_hex(8),
        clinic_id,
        item,
        quantity,
        expires,
    )


def test_expired_stock_never_counts(clinic: Clinic) -> None:
    enter(clinic, "amoxicillin-500", 90, "2020-01-31")
    assert stock(clinic, "amoxicillin")["quantity"] == 0
    enter(clinic, "amoxicillin-500", 7, "2098-01-31")
    assert stock(clinic, "amoxicillin")["quantity"] == 7
    assert stock(clinic, "amoxicillin")["in_stock"] is True


def test_an_alternative_whose_stock_expired_is_no_alternative(clinic: Clinic) -> None:
    clinic.execute("UPDATE stock_entries SET expires = '2020-01-31' WHERE item_id = 'azithromycin-250'")
    assert [other["medication"] for other in stock(clinic, "amoxicillin")["alternatives"]] == ["Doxycycline 100mg"]


def test_what_was_dispensed_is_gone(clinic: Clinic) -> None:
    enter(clinic, "prednisolone-5", -35, "2099-12-31")
    found = stock(clinic, "prednisolone")
    assert (found["in_stock"], found["quantity"], found["alternatives"]) == (False, 0, [])


def test_only_this_clinics_stock_is_seen(clinic: Clinic) -> None:
    assert "note" in stock(clinic, "paracetamol", "elsewhere")
