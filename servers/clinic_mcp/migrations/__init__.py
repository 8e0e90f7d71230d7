"""The schema's history. `upgrade` brings a database to the newest version; it is safe to repeat."""

from __future__ import annotations

from pathlib import Path

from clinic_mcp.core.db import Database


def upgrade(database: Database) -> None:
    """Apply the migrations a database has not had yet."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["database"] = database
    command.upgrade(config, "head")
