"""The five tools as a proof of concept has them: plain functions over the clinic's database, in the same process.

Their arguments and results are the seed's; they read the very file the servers read. No identity, no decision, no
record: what the graph asks for is what it gets.
"""

import os
import re
import sqlite3
from contextlib import closing
from datetime import UTC, datetime

from langchain_core.tools import tool

_HOME = os.environ["CLINIC_HOME"]
_LITTLE = frozenset("a an and in of or the to".split())


def _rows(sql: str, *values: object) -> list[sqlite3.Row]:
    with closing(sqlite3.connect(f"file:{_HOME}/clinic.db?mode=ro", uri=True, timeout=10)) as connection:
        connection.row_factory = sqlite3.Row
        return connection.execute(sql, values).fetchall()


@tool
def get_patient_record(patient_id: str) -> dict:
    """Get a patient's record: name, date of birth, blood type and known allergies."""
    found = _rows("SELECT id, name, birth_date, blood_type, allergy_status FROM patients WHERE id = ?", patient_id)
    if not found:
        return {"error": f"No patient {patient_id}."}
    row = found[0]
    known = _rows("SELECT substance FROM allergy_intolerances WHERE patient_id = ? ORDER BY id", patient_id)
    unknown = {"none_known": "None", "never_asked": "Not recorded: ask the patient"}
    return {
        "id": row["id"],
        "name": row["name"],
        "dob": row["birth_date"],
        "blood_type": row["blood_type"],
        "allergies": unknown.get(row["allergy_status"]) or ", ".join(entry["substance"] for entry in known),
    }


@tool
def get_medical_history(patient_id: str) -> list:
    """Get a patient's past conditions with their treatment, newest first."""
    sql = (
        "SELECT recorded_date AS date, condition, treatment, notes FROM conditions WHERE patient_id = ?"
        " ORDER BY recorded_date DESC"
    )
    return [dict(row) for row in _rows(sql, patient_id)]


@tool
def search_knowledge_base(query: str) -> list:
    """Search the medical articles."""
    asked = dict.fromkeys(word for word in re.findall(r"\w+", query.lower()) if word not in _LITTLE)
    words = " OR ".join(f'"{word}"' for word in asked)
    sql = (
        "SELECT a.topic, a.content, a.category FROM articles_fts JOIN articles a ON a.rowid = articles_fts.rowid"
        " WHERE articles_fts MATCH ? ORDER BY bm25(articles_fts, 3.0, 1.0), a.rowid LIMIT 5"
    )
    found = [dict(row) for row in _rows(sql, words)] if words else []
    return found or [{"note": "No article of the knowledge base matches this query."}]


def _on_hand(item: str) -> int:
    today = datetime.now(UTC).date().isoformat()
    sql = "SELECT coalesce(sum(quantity), 0) AS n FROM stock_entries WHERE item_id = ? AND expires >= ?"
    return int(_rows(sql, item, today)[0]["n"])


@tool
def check_pharmacy_inventory(medication_name: str) -> dict:
    """Check whether a medicine is in stock."""
    pattern = f"%{medication_name}%"
    sql = "SELECT * FROM inventory_items WHERE medication LIKE ? OR generic_name LIKE ? ORDER BY id LIMIT 1"
    found = _rows(sql, pattern, pattern)
    if not found:
        missing = {"medication": medication_name, "in_stock": False, "quantity": 0}
        return {**missing, "note": "Not found in the pharmacy's formulary."}
    item, quantity = found[0], _on_hand(found[0]["id"])
    answer = {
        "medication": item["medication"],
        "generic_name": item["generic_name"],
        "in_stock": quantity > 0,
        "quantity": quantity,
        "unit": item["unit"],
    }
    if not quantity:  # beyond the seed's shape: without it the model knows of no substitute to compare
        others = [_rows("SELECT * FROM inventory_items WHERE id = ?", name)[0] for name in item["alternatives"].split()]
        stocked = [(other, _on_hand(other["id"])) for other in others]
        answer["alternatives"] = [
            {"medication": other["medication"], "quantity": count, "unit": other["unit"]}
            for other, count in stocked
            if count
        ]
    return answer


@tool
def record_prescription(session_id: str, prescription: str) -> str:
    """Record the final prescription of a consultation."""
    with closing(sqlite3.connect(f"{_HOME}/in_process.db", timeout=10)) as scratch, scratch:
        scratch.execute("CREATE TABLE IF NOT EXISTS prescriptions (session_id TEXT, text TEXT)")
        scratch.execute("INSERT INTO prescriptions VALUES (?, ?)", (session_id, prescription))
    return f"Prescription recorded for session {session_id}."
