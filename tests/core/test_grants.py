"""The allow-list: what is not in it, the database refuses, on both databases, whatever a server's code does."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from clinic_mcp.core.authorizer import authorizer
from clinic_mcp.core.db import Database, metadata
from clinic_mcp.core.grants import ALL, ALLOWED, PARTS, role
from clinic_mcp.core.settings import SERVERS
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError
from support import databases
from support.clinic import Clinic
from support.forbidden import on_postgresql, on_sqlite

REFUSED = r"not authorized|authorization denied|prohibited|may not be modified|no such function"
LEAST = 40
"""Forbidden statements each part is tried with, at least."""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite clinic, whatever the session's tests run on."""
    home = tmp_path_factory.mktemp("sqlite") / "home"
    Clinic(home).run("init", "--demo", CLINIC_DATABASE_URL="")
    return home / "clinic.db"


@pytest.fixture(scope="module")
def granted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinic]:
    """A PostgreSQL clinic with its roles, whatever the session's tests run on."""
    home = tmp_path_factory.mktemp("postgresql") / "home"
    databases.place(home, databases.session_cluster())
    clinic = Clinic(home)
    clinic.run("init", "--demo")
    clinic.run("db", "grants", "--apply")
    yield clinic
    databases.forget(home)


def as_role(clinic: Clinic, part: str) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(databases.url(clinic.home, role(part)), autocommit=True)


def sqlite_refuses(connection: sqlite3.Connection, statement: str) -> bool:
    try:
        connection.execute(statement).fetchall()
    except sqlite3.Error as exc:
        return re.search(REFUSED, str(exc)) is not None
    return False


def postgresql_refuses(connection: psycopg.Connection[tuple[object, ...]], statement: str) -> bool:
    try:
        connection.execute(statement)  # type: ignore[call-overload]
    except psycopg.errors.InsufficientPrivilege:
        return True
    finally:
        connection.rollback()
    return False


def test_the_list_names_tables_and_columns_that_exist() -> None:
    assert set(ALLOWED) == set(PARTS)
    for tables in ALLOWED.values():
        for name, access in tables.items():
            columns = {column.name for column in metadata.tables[name].columns}
            assert {*access.select, *access.update} - {*ALL} <= columns, name


def test_nobody_may_change_or_remove_what_is_on_the_record() -> None:
    for tables in ALLOWED.values():
        assert not [
            name for name, access in tables.items() if name.startswith("audit_") and (access.update or access.delete)
        ]


@pytest.mark.parametrize("part", PARTS)
def test_sqlite_refuses_every_forbidden_statement(file: Path, part: str) -> None:
    statements = on_sqlite(part, str(file))
    assert len(statements) >= LEAST
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.set_authorizer(authorizer(part))
        assert [statement for statement in statements if not sqlite_refuses(connection, statement)] == []


@pytest.mark.parametrize("part", PARTS)
def test_postgresql_refuses_every_forbidden_statement(granted: Clinic, part: str) -> None:
    statements = on_postgresql(part)
    assert len(statements) >= LEAST
    with as_role(granted, part) as connection:
        assert [statement for statement in statements if not postgresql_refuses(connection, statement)] == []


def test_the_knowledge_base_reads_articles_and_no_patient(file: Path, granted: Clinic) -> None:
    for url in (f"sqlite:///{file}", databases.url(granted.home, role("knowledge-base"))):
        with closing(Database(url, part="knowledge-base")) as database:
            with database.read() as connection:
                assert connection.execute(text("SELECT count(*) FROM articles")).scalar_one() > 0
            with database.engine.connect() as connection, pytest.raises(DatabaseError) as refusal:
                connection.execute(text("SELECT name FROM patients"))
            assert "Thompson" not in str(refusal.value)


@pytest.mark.parametrize("part", PARTS)
def test_a_part_reads_what_the_list_gives_it(file: Path, granted: Clinic, part: str) -> None:
    with closing(sqlite3.connect(file)) as plain, as_role(granted, part) as postgres:
        plain.set_authorizer(authorizer(part))
        for name, access in ALLOWED[part].items():
            if access.select:
                columns = ", ".join("*" if column == "*" else f'"{column}"' for column in access.select)
                for connection in (plain, postgres):
                    connection.execute(f"SELECT {columns} FROM {name}")  # type: ignore[union-attr,call-overload]  # noqa: S608


def test_the_grants_may_be_applied_again_and_take_back_what_was_given_beside_them(granted: Clinic) -> None:
    granted.execute("GRANT SELECT ON patients TO clinic_knowledge_base")
    granted.execute("GRANT SELECT (name) ON patients TO clinic_pharmacy")
    applied = granted.json("db", "grants", "--apply")
    assert {row["part"] for row in applied} == set(PARTS)
    for part in ("knowledge-base", "pharmacy"):
        with as_role(granted, part) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT name FROM patients")
    assert granted.execute("SELECT code FROM audit_events ORDER BY id DESC LIMIT 1")[0]["code"] == "database.granted"


def test_a_role_that_is_mightier_than_grants_is_not_accepted(granted: Clinic) -> None:
    with databases.session_cluster().admin() as admin:
        admin.execute("ALTER ROLE clinic_review BYPASSRLS")
        try:
            refused = granted.run("db", "grants", "--apply", code=1)
        finally:
            admin.execute("ALTER ROLE clinic_review NOBYPASSRLS")
    assert "clinic_review" in refused.stderr


def test_what_is_printed_is_what_is_applied(granted: Clinic) -> None:
    printed = granted.json("db", "grants")
    assert granted.run("db", "grants").stdout.split(";\n")[0] in printed[0]
    assert not [line for line in printed if "PASSWORD" in line.upper()]
    with closing(psycopg.connect(granted.url, autocommit=True)) as owner:
        for statement in printed:
            owner.execute(statement)  # type: ignore[call-overload]


def test_sqlite_has_nothing_to_grant(file: Path) -> None:
    refused = Clinic(file.parent).run("db", "grants", code=4, CLINIC_DATABASE_URL="")
    assert "nothing to grant" in refused.stderr


def test_every_server_opens_the_database_as_itself() -> None:
    assert set(SERVERS) <= set(PARTS)
