"""The triggers are held to what the migrations made: gone, turned off, weakened, or one put beside them, it is said."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from clinic_mcp.audit import guards
from support import databases
from support.clinic import Clinic


@pytest.fixture
def copied(template: Clinic, tmp_path: Path) -> Clinic:
    shutil.copytree(template.home, tmp_path / "home")
    return Clinic(tmp_path / "home")


def problem(clinic: Clinic) -> str | None:
    with clinic.database() as database, database.read() as connection:
        return guards.problem(connection)


def test_a_migrated_database_has_the_guards_as_they_stand_here(copied: Clinic) -> None:
    assert problem(copied) is None


def on_sqlite(prompt: Any, trigger: str, table: str, when: str) -> None:
    prompt.execute(f"DROP TRIGGER {trigger}")
    prompt.execute(
        f"CREATE TRIGGER {trigger} BEFORE DELETE ON {table} {when} "
        "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
    )


@pytest.mark.sqlite("its triggers are statements")
@pytest.mark.parametrize("table", ["audit_events", "audit_leaves", "audit_purges"])
def test_a_trigger_with_another_body_is_weakened(copied: Clinic, table: str) -> None:
    with copied.sql() as prompt:
        on_sqlite(prompt, f"{table}_no_delete", table, "WHEN 1 = 0")
    assert f"was weakened: {table}_no_delete" in (problem(copied) or "")
    shown = copied.json("audit", "verify", code=3)
    assert "was weakened" in shown["problem"]
    assert "Nothing was found altered" in shown["problem"]


@pytest.mark.sqlite("its triggers are statements")
def test_a_trigger_put_beside_is_named(copied: Clinic) -> None:
    copied.execute("CREATE TRIGGER helpful AFTER INSERT ON audit_events BEGIN DELETE FROM people; END")
    assert "got a trigger put beside it: helpful" in (problem(copied) or "")


WEAKENED: list[tuple[str, str]] = [
    ("ALTER TABLE audit_events DISABLE TRIGGER audit_events_purged_only", "was removed: audit_events_purged_only"),
    ("DROP TRIGGER audit_purges_append_only ON audit_purges", "was removed: audit_purges_append_only"),
    (
        "CREATE OR REPLACE FUNCTION audit_events_purged_only() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RETURN old; END $$",
        "was weakened: audit_events_purged_only",
    ),
    (
        "CREATE OR REPLACE FUNCTION audit_append_only() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RETURN NULL; END $$",
        "was weakened: ",
    ),
    ("ALTER FUNCTION audit_events_purged_only() SET search_path = pg_temp", "was weakened: audit_events_purged_only"),
    (
        "CREATE OR REPLACE TRIGGER audit_leaves_append_only BEFORE UPDATE ON audit_leaves"
        " FOR EACH STATEMENT EXECUTE FUNCTION audit_append_only()",
        "was weakened: audit_leaves_append_only",
    ),
    (
        "CREATE OR REPLACE TRIGGER audit_leaves_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_leaves"
        " FOR EACH STATEMENT WHEN (false) EXECUTE FUNCTION audit_append_only()",
        "was weakened: audit_leaves_append_only",
    ),
    (
        "CREATE TRIGGER helpful AFTER INSERT ON audit_events FOR EACH STATEMENT EXECUTE FUNCTION audit_append_only()",
        "got a trigger put beside it: helpful",
    ),
]


@pytest.mark.skipif(not databases.POSTGRESQL, reason="about PostgreSQL")
@pytest.mark.parametrize(("statement", "words"), WEAKENED, ids=range(len(WEAKENED)))
def test_what_is_done_to_a_trigger_on_postgresql_is_named(copied: Clinic, statement: str, words: str) -> None:
    copied.execute(statement)
    assert words in (problem(copied) or "")
