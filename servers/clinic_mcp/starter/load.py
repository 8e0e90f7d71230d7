"""Puts the starter data into a database: what is there already is left as it is."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from sqlalchemy import Connection, Table, insert, select

from clinic_mcp.core.clinic import people
from clinic_mcp.knowledge_base.models import articles
from clinic_mcp.patient_records.models import allergies, care_team, conditions, medication_statements, patients
from clinic_mcp.pharmacy.models import inventory_items, stock_entries
from clinic_mcp.prescriptions.models import interactions

STARTER_CALL = "starter"
"""`call_id` of starter rows: no call wrote them."""
RECEIVED = "2026-11-22T00:00:00.000Z"
EXPIRES = "2099-12-31"


def load(connection: Connection, clinic_id: str) -> dict[str, int]:
    """Load the starter people, patients, formulary and articles.

    Args:
        connection: An open write transaction.
        clinic_id: The clinic they belong to.

    Returns:
        How many rows were added, by table.
    """
    return {
        "people": _people(connection, clinic_id),
        "patients": _patients(connection, clinic_id),
        "inventory_items": _pharmacy(connection, clinic_id),
        "interactions": _interactions(connection, clinic_id),
        "articles": _knowledge(connection, clinic_id),
    }


def starter_people() -> list[dict[str, Any]]:
    """The starter people as the file has them."""
    found: list[dict[str, Any]] = _read("people")["people"]
    return found


def _people(connection: Connection, clinic_id: str) -> int:
    return sum(
        _add(connection, people, {**person, "clinic_id": clinic_id, "active": True, "call_id": STARTER_CALL})
        for person in starter_people()
    )


def _patients(connection: Connection, clinic_id: str) -> int:
    common = {"clinic_id": clinic_id, "call_id": STARTER_CALL}
    teams, added = _read("people")["care_team"], 0
    for patient in _read("patients")["patients"]:
        allergic, history, taken = (patient.pop(part) for part in ("allergies", "conditions", "medication"))
        if not _add(connection, patients, {**patient, **common}):
            continue
        added += 1
        for member in teams.get(patient["id"], []):
            row = {"patient_id": patient["id"], "clinician_id": member, **common}
            connection.execute(insert(care_team), row)
        for number, entry in enumerate(allergic, 1):
            connection.execute(
                insert(allergies),
                {
                    "id": f"{patient['id']}-A{number}",
                    "patient_id": patient["id"],
                    "substance": entry["substance"],
                    "substance_class": entry["class"],
                    **common,
                },
            )
        for number, entry in enumerate(history, 1):
            connection.execute(
                insert(conditions),
                {
                    "id": f"{patient['id']}-C{number}",
                    "patient_id": patient["id"],
                    "recorded_date": entry["date"],
                    "condition": entry["condition"],
                    "treatment": entry["treatment"],
                    "notes": entry["notes"],
                    **common,
                },
            )
        for number, entry in enumerate(taken, 1):
            row = {
                "id": f"{patient['id']}-M{number}",
                "patient_id": patient["id"],
                "status": "active",
                **entry,
                **common,
            }
            connection.execute(insert(medication_statements), row)
    return added


def _pharmacy(connection: Connection, clinic_id: str) -> int:
    document, added = _read("pharmacy"), 0
    common = {"clinic_id": clinic_id, "call_id": STARTER_CALL}
    for item in document["items"]:
        quantity = item.pop("quantity")
        if not _add(connection, inventory_items, {**item, "source": document["source"], **common}):
            continue
        added += 1
        if quantity:
            entry = {
                "id": f"{item['id']}-starter",
                "item_id": item["id"],
                "kind": "received",
                "quantity": quantity,
                "lot": "STARTER",
                "expires": EXPIRES,
                "recorded": RECEIVED,
                **common,
            }
            connection.execute(insert(stock_entries), entry)
    return added


def _interactions(connection: Connection, clinic_id: str) -> int:
    document = _read("interactions")
    common = {"source": document["source"], "reviewed": document["reviewed"]}
    common |= {"clinic_id": clinic_id, "call_id": STARTER_CALL}
    return sum(_add(connection, interactions, {**pair, **common}) for pair in document["interactions"])


def _knowledge(connection: Connection, clinic_id: str) -> int:
    document = _read("knowledge")
    common = {name: document[name] for name in ("licence", "version", "reviewed")}
    common |= {"clinic_id": clinic_id, "call_id": STARTER_CALL}
    return sum(_add(connection, articles, {**article, **common}) for article in document["articles"])


def _add(connection: Connection, table: Table, row: dict[str, Any]) -> bool:
    """Insert a row unless its id is taken."""
    known = connection.execute(select(table.c.id).where(table.c.id == row["id"])).first()
    if known is None:
        connection.execute(insert(table), row)
    return known is None


def _read(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(files(__package__).joinpath(f"{name}.json").read_text("utf-8"))
    return document
