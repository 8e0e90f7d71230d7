"""What no part of the suite may do in the database: statements made from the allow-list, and from what databases do."""

# ruff: noqa: S608 - the names are the code's own

from __future__ import annotations

from collections.abc import Iterator

from clinic_mcp.audit import models as _audit  # noqa: F401 - for its tables
from clinic_mcp.core import clinic as _clinic  # noqa: F401 - for its tables
from clinic_mcp.core.db import metadata
from clinic_mcp.core.grants import ALL, ALLOWED, Access, role
from clinic_mcp.knowledge_base import models as _knowledge  # noqa: F401 - for its tables
from clinic_mcp.patient_records import models as _patients  # noqa: F401 - for its tables
from clinic_mcp.pharmacy import models as _pharmacy  # noqa: F401 - for its tables
from clinic_mcp.prescriptions import models as _prescriptions  # noqa: F401 - for its tables

LOG = ("audit_events", "audit_event_patients", "audit_policy_texts", "audit_slices")

SCHEMA = (
    "CREATE TABLE mine (x integer)",
    "CREATE TEMPORARY TABLE mine (x integer)",
    "CREATE VIEW mine AS SELECT 1",
    "CREATE INDEX mine ON audit_events (call_id)",
    "DROP TABLE audit_events",
    "DROP TABLE people",
    "DROP INDEX ix_audit_events_patient",
    "ALTER TABLE audit_events RENAME TO gone",
    "ALTER TABLE audit_events ADD COLUMN x integer",
    "ALTER TABLE people DROP COLUMN role",
    "SELECT * FROM alembic_version",
)

SQLITE = (
    "ATTACH '{file}' AS other",
    "ATTACH ':memory:' AS other",
    "ATTACH '' AS other",
    "DETACH main",
    "VACUUM",
    "VACUUM INTO '{file}.copy'",
    "REINDEX",
    "ANALYZE",
    "CREATE VIRTUAL TABLE mine USING fts5(x)",
    "CREATE TRIGGER mine AFTER INSERT ON audit_events BEGIN SELECT 1; END",
    "DROP TRIGGER audit_events_no_update",
    "DROP TRIGGER audit_events_no_replace",
    "PRAGMA writable_schema = ON",
    "PRAGMA synchronous = OFF",
    "PRAGMA journal_mode = DELETE",
    "PRAGMA foreign_keys = OFF",
    "PRAGMA ignore_check_constraints = ON",
    "PRAGMA recursive_triggers = OFF",
    "PRAGMA wal_checkpoint(TRUNCATE)",
    "PRAGMA table_info(people)",
    "PRAGMA database_list",
    "PRAGMA trusted_schema = ON",
    "PRAGMA temp_store_directory = '/tmp'",
    "SELECT * FROM pragma_table_info('people')",
    "SELECT * FROM sqlite_master",
    "SELECT sql FROM sqlite_schema",
    "INSERT INTO sqlite_master VALUES ('table', 'x', 'x', 0, '')",
    "DELETE FROM sqlite_master",
    "UPDATE sqlite_master SET sql = NULL",
    "SELECT load_extension('/tmp/evil.so')",
    "SELECT readfile('/etc/passwd')",
    "SELECT writefile('/tmp/x', 'x')",
    "SELECT edit('x')",
    "SELECT fts3_tokenizer('simple')",
    "SELECT zeroblob(1000000000)",
    "SELECT randomblob(1000000000)",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
    "REPLACE INTO people (id) VALUES ('x')",
    "UPDATE OR REPLACE audit_events SET id = 1",
)

POSTGRESQL = (
    *(f"TRUNCATE {table}" for table in LOG),
    "TRUNCATE people",
    "COPY audit_events TO '/tmp/log.csv'",
    "COPY audit_events FROM '/etc/passwd'",
    "COPY audit_events TO PROGRAM 'cat'",
    "COPY audit_events FROM PROGRAM 'id'",
    "COPY alembic_version TO STDOUT",
    "COPY alembic_version FROM STDIN",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_read_binary_file('/etc/passwd')",
    "SELECT pg_ls_dir('/')",
    "SELECT pg_stat_file('/etc/passwd')",
    "SELECT pg_rotate_logfile()",
    "SELECT pg_reload_conf()",
    "SELECT lo_import('/etc/passwd')",
    "SELECT lo_export(1, '/tmp/x')",
    "SELECT * FROM pg_authid",
    "SELECT * FROM pg_shadow",
    "SELECT * FROM pg_hba_file_rules",
    "CREATE ROLE mine",
    "ALTER ROLE {role} SUPERUSER",
    "ALTER ROLE {role} CREATEROLE",
    "GRANT clinic_owner TO {role}",
    "GRANT pg_read_all_data TO {role}",
    "SET ROLE clinic_owner",
    "SET SESSION AUTHORIZATION postgres",
    "SET session_replication_role = replica",
    "SET log_min_messages = fatal",
    "ALTER SYSTEM SET fsync = off",
    "CREATE SCHEMA mine",
    "CREATE DATABASE mine",
    "DROP DATABASE template1",
    "CREATE EXTENSION dblink",
    "CREATE FUNCTION mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "CREATE FUNCTION mine() RETURNS integer LANGUAGE c AS '/tmp/evil.so'",
    "CREATE OR REPLACE FUNCTION audit_append_only() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
    "DROP FUNCTION audit_append_only() CASCADE",
    "ALTER TABLE audit_events DISABLE TRIGGER ALL",
    "DROP TRIGGER audit_events_append_only ON audit_events",
    "CREATE TRIGGER mine BEFORE INSERT ON audit_events EXECUTE FUNCTION audit_append_only()",
    "CREATE RULE mine AS ON INSERT TO audit_events DO INSTEAD NOTHING",
    "ALTER TABLE audit_events OWNER TO {role}",
    "BEGIN; LOCK TABLE audit_events IN ACCESS EXCLUSIVE MODE",
    "BEGIN; LOCK TABLE people IN ACCESS EXCLUSIVE MODE",
    "SELECT * FROM audit_events FOR UPDATE",
    "SELECT id FROM people FOR SHARE",
    "CHECKPOINT",
    "COMMENT ON TABLE audit_events IS 'x'",
)


def of_tables(part: str) -> Iterator[str]:
    """Every table and column the list keeps from a part, each verb in a statement of its own."""
    for name, table in metadata.tables.items():
        access = ALLOWED[part].get(name, Access())
        key = next(iter(table.columns)).name
        if not access.select:
            yield f"SELECT count(*) FROM {name}"
        if access.select != ALL:
            yield f"SELECT * FROM {name}"
            yield from (
                f'SELECT "{column.name}" FROM {name}' for column in table.columns if column.name not in access.select
            )
        if not access.insert:
            yield f"INSERT INTO {name} ({key}) SELECT NULL"
        yield from (
            f'UPDATE {name} SET "{column.name}" = NULL' for column in table.columns if column.name not in access.update
        )
        if not access.delete:
            yield f"DELETE FROM {name}"


def on_sqlite(part: str, file: str) -> list[str]:
    return [*of_tables(part), *SCHEMA, *(statement.format(file=file) for statement in SQLITE)]


def on_postgresql(part: str) -> list[str]:
    return [*of_tables(part), *SCHEMA, *(statement.format(role=role(part)) for statement in POSTGRESQL)]
