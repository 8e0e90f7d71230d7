"""`clinic-mcp db …`: who may touch which table of a PostgreSQL database."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from clinic_mcp.core.console import AsJson, friendly, say, show_json, show_table

app = typer.Typer(no_args_is_help=True, help="The clinic's database: what each server may touch in it.")


@app.callback()
def db() -> None:
    """The clinic's database: what each server may touch in it."""


@app.command()
@friendly
def grants(
    apply: Annotated[bool, typer.Option("--apply", help="Run the statements instead of printing them.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print the SQL that makes one PostgreSQL role per server and gives it its tables, or apply it.

    Apply it as the role that owns the tables, after every `clinic-mcp init`. Passwords are yours to set. On SQLite each
    server holds its own connections to the same list, and there is nothing to grant.
    """
    from sqlalchemy import make_url

    from clinic_mcp.core.errors import Misconfigured
    from clinic_mcp.core.postgres_roles import statements
    from clinic_mcp.core.settings import Settings

    settings = Settings()
    url = make_url(settings.url)
    if url.get_backend_name() not in ("postgresql", "postgres"):
        raise Misconfigured(
            "There is nothing to grant: on SQLite every server holds its own connections to the list.",
            "Set CLINIC_DATABASE_URL to a PostgreSQL database.",
        )
    if apply:
        _show(_apply(settings), as_json)
        return
    wanted = statements(url.database or "clinic")
    if as_json:
        show_json(wanted)
    else:
        typer.echo("\n".join(f"{statement};" for statement in wanted))


def _apply(settings: Any) -> list[dict[str, Any]]:
    from sqlalchemy import text

    from clinic_mcp.audit.event import Draft, Phase, Writer, uuid7
    from clinic_mcp.audit.log import AuditLog
    from clinic_mcp.core.db import Database
    from clinic_mcp.core.grants import ALLOWED, PARTS, role
    from clinic_mcp.core.postgres_roles import apply
    from clinic_mcp.core.who import operator_name

    database = Database(settings.url)
    try:
        log = AuditLog(database, Writer("init", settings.id, f"clinic-mcp/{settings.id}"), announce=False)
        with log.transaction() as transaction:
            where = transaction.connection.execute(text("SELECT current_database(), current_schema()")).one()
            apply(transaction.connection, where[0], where[1])
            operator = {"type": "Operator", "id": operator_name(), "clinic": settings.id}
            body = {"principal": operator, "roles": [role(part) for part in PARTS]}
            transaction.record(Draft(Phase.ADMIN, "database.granted", uuid7(), body))
    finally:
        database.close()
    return [{"part": part, "role": role(part), "tables": len(ALLOWED[part])} for part in PARTS]


def _show(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        show_json(rows)
        return
    show_table("Roles and their tables", ("part", "role", "tables"), [[*row.values()] for row in rows])
    say("A role without a password: ALTER ROLE … PASSWORD in psql (\\password clinic_desk), or peer or certificate.")
