"""`clinic-mcp audit unusual`: accesses worth a second look."""

from __future__ import annotations

from typing import Annotated

import typer

from clinic_mcp.audit.questions.shown import Before, Limit, Since, Until, asked, say_more
from clinic_mcp.core.console import AsJson, friendly, show_json, show_table
from clinic_mcp.core.period import start_of


@friendly
def unusual(
    since: Since = "7d",
    until: Until = None,
    limit: Limit = 200,
    before: Before = None,
    opens: Annotated[int, typer.Option(min=0, max=23, help="First hour people are expected here.")] = 6,
    closes: Annotated[int, typer.Option(min=1, max=24, help="Hour from which they are not.")] = 22,
    zone: Annotated[str, typer.Option(help="The clinic's time zone, e.g. Africa/Accra.")] = "UTC",
    as_json: AsJson = False,
) -> None:
    """What stands out: many patients in an hour, repeated refusals, people out of hours or with no relation to the
    patient, records of their own or of a namesake, broken glass.
    """
    from collections import deque
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    from clinic_mcp.audit.questions.calls import every
    from clinic_mcp.audit.questions.counts import counts
    from clinic_mcp.audit.questions.relations import Relations
    from clinic_mcp.audit.questions.unusual import Finding, Hours
    from clinic_mcp.audit.questions.unusual import unusual as look
    from clinic_mcp.audit.reading import counting, each

    try:
        hours = Hours(opens, closes, ZoneInfo(zone))
    except (ZoneInfoNotFoundError, ValueError) as exc:
        raise typer.BadParameter(f"There is no time zone {zone!r}.") from exc
    period = {"since": start_of(since), "until": start_of(until)}
    newest: deque[list[Finding]] = deque()  # the findings of one call stay on one page
    kept, cut = 0, False
    with asked("unusual", {"limit": limit, "before": before, **period}) as connection:
        total = counts(connection, **period).calls
        with counting("Looking through the log", total, "calls") as progress:
            read = each(every(connection, **period), progress)
            for finding in look(read, hours, Relations(connection)):
                if before is not None and finding.number >= before:
                    break
                if newest and newest[-1][0].number == finding.number:
                    newest[-1].append(finding)
                else:
                    newest.append([finding])
                kept += 1
                while kept - len(newest[0]) >= limit:
                    kept -= len(newest.popleft())
                    cut = True
    findings = [vars(finding) for found in reversed(newest) for finding in found]
    more = newest[0][0].number if cut else None
    if as_json:
        show_json({"calls": total, "findings": findings, "more": more})
        return
    shown = ("rule", "time", "says", "call_id")
    rows = [tuple(finding[name] for name in shown) for finding in findings]
    show_table(f"Of {total} calls", ("rule", "time (UTC)", "what was seen", "call"), rows)
    say_more(more)
