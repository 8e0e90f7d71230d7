"""A period of time as a person at a terminal names it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import typer

_UNITS = {"d": "days", "h": "hours", "m": "minutes"}


def start_of(text: str | None) -> str | None:
    """When a period starts or ends, as the audit log writes times.

    Args:
        text: `7d`, `24h` or `30m` ago, or ISO 8601; a time without an offset is UTC.

    Raises:
        BadParameter: It is neither.
    """
    from clinic_mcp.core.clinic import timestamp

    if text is None:
        return None
    ago = re.fullmatch(r"(\d{1,5})([dhm])", text)
    if ago:
        return timestamp(datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])}))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as exc:
        raise typer.BadParameter(f"{text!r} is neither ISO 8601 nor a span such as 7d, 24h or 30m.") from exc
    return timestamp(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
