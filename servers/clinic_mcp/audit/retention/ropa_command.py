"""`clinic-mcp audit ropa`."""

from __future__ import annotations

from clinic_mcp.core.console import AsJson, friendly


@friendly
def ropa(as_json: AsJson = False) -> None:
    """The record of processing activities."""
