"""What the pharmacy keeps: the formulary and the stock ledger, named after FHIR InventoryItem."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, ForeignKey, Index, Integer, String, Table, Text, false

from clinic_mcp.core.db import metadata

inventory_items = Table(
    "inventory_items",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("clinic_id", String(32), nullable=False),
    Column("medication", Text, nullable=False),  # name, strength, form: what the label says
    Column("inn", Text, nullable=False),  # international non-proprietary name
    Column("generic_name", Text, nullable=False),  # the name the seed gives beside it (often the US one)
    Column("strength", String(64), nullable=False),
    Column("unit", String(32), nullable=False),  # the unit stock is counted in
    Column("classes", Text, nullable=False),  # allergy-relevant classes, space-separated
    Column("atc", String(7), nullable=False),  # WHO ATC code
    Column("alternatives", Text, nullable=False, default=""),  # ids of listed equivalents, space-separated
    Column("controlled", Boolean, nullable=False, server_default=false()),  # no agent prescribes it
    Column("source", Text, nullable=False),
    Column("call_id", String(36)),
)

stock_entries = Table(
    "stock_entries",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("clinic_id", String(32), nullable=False),
    Column("item_id", String(64), ForeignKey("inventory_items.id"), nullable=False),
    Column("kind", String(16), nullable=False),  # received, dispensed, returned, expired, counted
    Column("quantity", Integer, nullable=False),  # signed, in the item's unit
    Column("lot", String(64), nullable=False),
    Column("expires", String(10), nullable=False),  # ISO 8601 date; expired stock never counts
    Column("recorded", String(32), nullable=False),
    Column("prescription_id", String(64)),  # what a dispensed entry was dispensed for
    Column("call_id", String(36)),
    Index("ix_stock_entries_item", "item_id", "expires"),
)
