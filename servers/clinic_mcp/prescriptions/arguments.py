"""What the prescriptions tool takes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from clinic_mcp.core.tool import Arguments, SessionId


class Record(Arguments):
    """A prescription for a consultation."""

    session_id: SessionId
    prescription: Annotated[
        str, Field(min_length=1, max_length=4000, description="The prescription's full text, one medication a line")
    ]
