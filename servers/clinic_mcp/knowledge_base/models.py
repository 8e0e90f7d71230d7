"""What the knowledge base keeps: short articles with their source, version and review date."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, String, Table, Text

from clinic_mcp.core.db import metadata

articles = Table(
    "articles",
    metadata,
    Column(
        "rowid", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    ),  # the key the full-text index shares
    Column("id", String(64), nullable=False, unique=True),
    Column("clinic_id", String(32), nullable=False),
    Column("topic", Text, nullable=False),
    Column("content", Text, nullable=False),
    Column("category", String(64), nullable=False),
    Column("source", Text, nullable=False),
    Column("version", String(32), nullable=False),
    Column("reviewed", String(10), nullable=False),  # ISO 8601 date
    Column("licence", String(64), nullable=False),
    Column("call_id", String(36)),
)
