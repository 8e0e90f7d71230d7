"""`clinic-mcp audit break-glass|overrides`: what people did beyond the ordinary, and what the review said of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clinic_mcp.audit.questions.shown import BeforeRow, Limit, Since, Until, asked, show_rows
from clinic_mcp.core.console import AsJson, friendly, show_json
from clinic_mcp.core.period import start_of

if TYPE_CHECKING:
    from clinic_mcp.audit.questions.accesses import Rows


@friendly
def break_glass(
    limit: Limit = 50, before: BeforeRow = None, since: Since = None, until: Until = None, as_json: AsJson = False
) -> None:
    """Every emergency access: whose record, why, until when, how often it was used, and what the review said."""
    from clinic_mcp.audit.questions.accesses import emergency_accesses

    period = {"since": start_of(since), "until": start_of(until)}
    with asked("break-glass", {"limit": limit, "before": before, **period}) as connection:
        found = emergency_accesses(connection, limit=limit, before=before, **period)
    _show("Emergency accesses", "accesses", found, as_json)


@friendly
def overrides(
    limit: Limit = 50, before: BeforeRow = None, since: Since = None, until: Until = None, as_json: AsJson = False
) -> None:
    """Every guardrail a physician set aside: for which medication, why, and what the review said."""
    from clinic_mcp.audit.questions.accesses import overrides as found_overrides

    period = {"since": start_of(since), "until": start_of(until)}
    with asked("overrides", {"limit": limit, "before": before, **period}) as connection:
        found = found_overrides(connection, limit=limit, before=before, **period)
    _show("Overridden guardrails", "overrides", found, as_json)


def _show(title: str, name: str, found: Rows, as_json: bool) -> None:
    if as_json:
        show_json({name: found.rows, "more": found.more})
    else:
        show_rows(title, found.rows, found.more)
