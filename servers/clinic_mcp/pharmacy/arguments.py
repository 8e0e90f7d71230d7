"""What the pharmacy tool takes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from clinic_mcp.core.tool import Arguments


class OfMedication(Arguments):
    """A medication by name."""

    medication_name: Annotated[
        str, Field(min_length=2, max_length=120, description="Brand or generic name, e.g. Amoxicillin 500mg")
    ]
