"""What the knowledge-base tool takes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from clinic_mcp.core.tool import Arguments


class Search(Arguments):
    """A question in words."""

    query: Annotated[
        str, Field(min_length=1, max_length=500, description="What to look up, in words, e.g. fever in adults")
    ]
