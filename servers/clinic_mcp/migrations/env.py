"""Alembic's entry: migrations run on the connection that `upgrade` was given."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, text

from clinic_mcp.audit import models as _audit  # noqa: F401 - for its tables
from clinic_mcp.core import clinic as _clinic  # noqa: F401 - for its tables
from clinic_mcp.core.db import Database, metadata
from clinic_mcp.core.errors import Misconfigured
from clinic_mcp.core.postgres import hold
from clinic_mcp.knowledge_base import models as _knowledge  # noqa: F401 - for its tables
from clinic_mcp.patient_records import models as _patients  # noqa: F401 - for its tables
from clinic_mcp.pharmacy import models as _pharmacy  # noqa: F401 - for its tables
from clinic_mcp.prescriptions import models as _prescriptions  # noqa: F401 - for its tables


def _check_postgres(connection: Connection) -> None:
    """One migration at a time, without a time limit, in a database that can hold every text."""
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    connection.execute(text("SET LOCAL lock_timeout = '60s'"))
    hold(connection, "migrations")
    encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
    if encoding != "UTF8":
        raise Misconfigured(f"The database's encoding is {encoding}.", "Create it with ENCODING 'UTF8'.")


database: Database = context.config.attributes["database"]

with database.write() as connection:
    if not database.sqlite:
        _check_postgres(connection)
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=database.sqlite)
    context.run_migrations()
