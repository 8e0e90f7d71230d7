"""What the pharmacy tools take."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from clinic_mcp.core.tool import Arguments

MedicationName = Annotated[
    str, Field(min_length=2, max_length=120, description="Brand or generic name, e.g. Amoxicillin 500mg")
]
Quantity = Annotated[int, Field(ge=1, le=100_000, description="How many of the item's unit")]


class OfMedication(Arguments):
    """A medication by name."""

    medication_name: MedicationName


class Delivery(OfMedication):
    """A lot that arrived."""

    quantity: Quantity
    lot: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ./-]{0,31}$", description="The lot's number")]
    expires: Annotated[
        str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", description="Last day it may be used, ISO 8601")
    ]


class Dispensing(OfMedication):
    """A medication handed out for a prescription."""

    prescription_id: Annotated[str, Field(pattern=r"^RX-[0-9a-f]{12}$", description="The prescription's id")]
    quantity: Quantity
