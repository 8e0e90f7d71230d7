"""Alembic's entry: migrations run on the connection that `upgrade` was given."""

from __future__ import annotations

from alembic import context

from clinic_mcp.audit import models as _audit  # noqa: F401 - for its tables
from clinic_mcp.core import clinic as _clinic  # noqa: F401 - for its tables
from clinic_mcp.core.db import Database, metadata
from clinic_mcp.knowledge_base import models as _knowledge  # noqa: F401 - for its tables
from clinic_mcp.patient_records import models as _patients  # noqa: F401 - for its tables
from clinic_mcp.pharmacy import models as _pharmacy  # noqa: F401 - for its tables
from clinic_mcp.prescriptions import models as _prescriptions  # noqa: F401 - for its tables

database: Database = context.config.attributes["database"]

with database.write() as connection:
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=database.sqlite)
    context.run_migrations()
