"""The log's tables take rows and nothing else."""

from __future__ import annotations

import sqlite3

import pytest
from support.clinic import Clinic

COLUMN = {
    "audit_events": "code",
    "audit_event_patients": "patient_id",
    "audit_policy_texts": "text",
    "audit_slices": "text",
    "audit_leaves": "hash",
    "audit_nodes": "hash",
    "audit_checkpoints": "note",
    "audit_purges": "cutoff",
    "audit_purged_calls": "row_id",
}
KEY = {  # where a table has no row numbers, or not from 1
    "audit_nodes": "position",
    "audit_purges": "upto",
    "audit_purged_calls": "1 + leaf_index",
}


@pytest.fixture(scope="module")
def filled(module_clinic: Clinic) -> Clinic:
    clinic = module_clinic
    clinic.consult()
    clinic.run("serve", "pharmacy")  # stdin is empty: it starts, keeps its policies, and stops
    clinic.run("audit", "sequence")
    clinic.execute("INSERT INTO audit_slices VALUES ('0', '', '')")
    clinic.execute("INSERT INTO audit_purges VALUES (1, '0', '')")
    clinic.execute("INSERT INTO audit_purged_calls VALUES (0, '0', '', '')")
    clinic.execute("INSERT INTO audit_event_patients VALUES ('P001', 'nobody'), ('P002', 'nobody')")
    return clinic


ONLY_SQLITE = pytest.mark.sqlite("REPLACE is its own; ON CONFLICT DO UPDATE needs what an UPDATE needs")


@pytest.mark.parametrize("table", COLUMN)
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE {table} SET {column} = {column}",
        "UPDATE {table} SET {column} = 'x' WHERE {key} = 1",
        "DELETE FROM {table}",
        "DELETE FROM {table} WHERE {key} = (SELECT max({key}) FROM {table})",
        pytest.param("INSERT OR REPLACE INTO {table} SELECT * FROM {table}", marks=ONLY_SQLITE),
        pytest.param("REPLACE INTO {table} SELECT * FROM {table} LIMIT 1", marks=ONLY_SQLITE),
    ],
    ids=["update", "update one", "delete", "delete one", "insert or replace", "replace"],
)
def test_what_is_on_the_record_cannot_be_changed_or_removed(filled: Clinic, table: str, statement: str) -> None:
    before = [tuple(row) for row in filled.execute(f"SELECT * FROM {table}")]  # noqa: S608
    assert before
    with pytest.raises(sqlite3.DatabaseError, match="append-only"):
        filled.execute(statement.format(table=table, column=COLUMN[table], key=KEY.get(table, "rowid")))
    assert [tuple(row) for row in filled.execute(f"SELECT * FROM {table}")] == before  # noqa: S608
