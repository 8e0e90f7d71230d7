"""The allow-list on PostgreSQL: a role for each part, and the statements that give it what it may."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, text

from clinic_mcp.core.errors import Conflict
from clinic_mcp.core.grants import ALL, ALLOWED, PARTS, Access, role
from clinic_mcp.core.postgres import STATEMENT_TIMEOUT_MS


def statements(database: str, schema: str = "public") -> list[str]:
    """What makes the roles and gives each exactly its tables. Safe to repeat; passwords are left as they are.

    Args:
        database: The database's name.
        schema: Where the tables are.
    """
    return list(_statements(_quoted(database), _quoted(schema)))


def _statements(database: str, schema: str) -> Iterator[str]:
    roles = {part: _quoted(role(part)) for part in PARTS}
    for name in roles.values():
        yield (
            f"DO $$ BEGIN CREATE ROLE {name} LOGIN NOINHERIT NOCREATEDB NOCREATEROLE;"
            " EXCEPTION WHEN duplicate_object THEN NULL; END $$"
        )
    # Whatever everybody may do in a new database: connect, make temporary tables, and before PostgreSQL 15 any table.
    yield f"REVOKE ALL ON DATABASE {database} FROM PUBLIC"
    yield f"REVOKE ALL ON SCHEMA {schema} FROM PUBLIC"
    for kind in ("TABLES", "SEQUENCES", "FUNCTIONS"):
        yield f"REVOKE ALL ON ALL {kind} IN SCHEMA {schema} FROM PUBLIC"
    for part, name in roles.items():
        for kind in ("TABLES", "SEQUENCES", "FUNCTIONS"):
            yield f"REVOKE ALL ON ALL {kind} IN SCHEMA {schema} FROM {name}"
        yield f"REVOKE ALL ON SCHEMA {schema} FROM {name}"
        yield f"REVOKE ALL ON DATABASE {database} FROM {name}"
        yield f"GRANT CONNECT ON DATABASE {database} TO {name}"
        yield f"GRANT USAGE ON SCHEMA {schema} TO {name}"
        yield f"ALTER ROLE {name} IN DATABASE {database} SET statement_timeout = {STATEMENT_TIMEOUT_MS}"
        for table, access in ALLOWED[part].items():
            yield f"GRANT {', '.join(_privileges(access))} ON {schema}.{_quoted(table)} TO {name}"


def _privileges(access: Access) -> Iterator[str]:
    if access.select:
        yield "SELECT" + _columns(access.select)
    if access.insert:
        yield "INSERT"
    if access.update:
        yield "UPDATE" + _columns(access.update)
    if access.delete:
        yield "DELETE"


def _columns(columns: tuple[str, ...]) -> str:
    return "" if columns == ALL else f" ({', '.join(_quoted(column) for column in columns)})"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


_TOO_MUCH = text(
    """
    SELECT rolname FROM pg_roles
    WHERE rolname = ANY(:roles)
      AND (rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls
           OR EXISTS (SELECT 1 FROM pg_auth_members WHERE member = pg_roles.oid)
           OR EXISTS (SELECT 1 FROM pg_class WHERE relowner = pg_roles.oid))
    ORDER BY rolname
    """
)


def apply(connection: Connection, database: str, schema: str) -> int:
    """Make the roles and give them what they may, all in one transaction.

    Args:
        connection: An open write transaction of the role that owns the tables and may create roles.
        database: The database's name.
        schema: Where the tables are.

    Returns:
        How many statements ran.

    Raises:
        Conflict: A role of that name has powers that grants cannot take away: superuser, another role's, or its own
            tables.
    """
    wanted = statements(database, schema)
    for statement in wanted:
        connection.exec_driver_sql(statement)
    mighty = connection.execute(_TOO_MUCH, {"roles": [role(part) for part in PARTS]}).scalars().all()
    if mighty:
        raise Conflict(
            f"These roles can do more than grants say: {', '.join(mighty)}.",
            "Take superuser, membership in other roles and ownership of tables from them.",
        )
    return len(wanted)
