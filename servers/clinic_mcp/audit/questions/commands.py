"""The auditor's questions about calls: `clinic-mcp audit who`, `by`, `denied`, `in-doubt`, `trace`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from clinic_mcp.audit.questions import access_commands, disclosure_commands, explain_command, unusual_command
from clinic_mcp.audit.questions.shown import Before, Limit, Patient, Since, Until, asked, show_calls
from clinic_mcp.core.console import AsJson, friendly, say, show_table
from clinic_mcp.core.period import start_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement

    from clinic_mcp.audit.event import Phase
    from clinic_mcp.audit.questions.calls import Page


def register(app: typer.Typer) -> None:
    """Add the questions to the `audit` commands."""
    for name, command in (
        ("who", who),
        ("by", by),
        ("denied", denied),
        ("break-glass", access_commands.break_glass),
        ("overrides", access_commands.overrides),
        ("unusual", unusual_command.unusual),
        ("in-doubt", in_doubt),
        ("disclosures", disclosure_commands.disclosures),
        ("disclose", disclosure_commands.disclose),
        ("explain", explain_command.explain),
        ("trace", trace),
    ):
        app.command(name)(command)


@friendly
def who(
    patient: Patient,
    limit: Limit = 50,
    before: Before = None,
    since: Since = None,
    until: Until = None,
    as_json: AsJson = False,
) -> None:
    """Who saw or asked for this patient, through which agent, for whom, and why it was allowed or refused."""
    from clinic_mcp.audit.event import Phase
    from clinic_mcp.audit.questions.calls import PHASES, about

    phases = (*PHASES, Phase.DISCLOSURE)
    found = _page("who", [about(patient)], limit, before, since, until, patient=patient, phases=phases)
    show_calls(f"Calls about {patient}", found, as_json)


@friendly
def by(
    who_: Annotated[str, typer.Argument(metavar="WHO", help="A person's or an agent's id, e.g. dr-osei.")],
    limit: Limit = 50,
    before: Before = None,
    since: Since = None,
    until: Until = None,
    as_json: AsJson = False,
) -> None:
    """What a person or an agent did, beside tools too, and was refused."""
    from clinic_mcp.audit.questions.calls import DEEDS, made_by

    found = _page("by", [made_by(who_)], limit, before, since, until, about=who_, phases=DEEDS)
    show_calls(f"Calls by {who_}", found, as_json)


@friendly
def denied(
    policy: Annotated[str | None, typer.Option(help="Only refusals by this policy.")] = None,
    limit: Limit = 50,
    before: Before = None,
    since: Since = None,
    until: Until = None,
    as_json: AsJson = False,
) -> None:
    """Which calls were refused, and by which policies."""
    from clinic_mcp.audit.questions.calls import page, refused
    from clinic_mcp.audit.questions.counts import refusals_by_policy

    start, end = start_of(since), start_of(until)
    about = {"about": policy, "limit": limit, "before": before, "since": start, "until": end}
    with asked("denied", about) as connection:
        counted = refusals_by_policy(connection, start, end)
        found = page(connection, [refused(policy)], limit=limit, before=before, since=start, until=end)
    if not as_json:
        show_table("Refusals by policy", ("policy", "calls"), list(counted.items()))
    show_calls("Refused calls", found, as_json, {"by_policy": counted})


@friendly
def in_doubt(limit: Limit = 50, before: Before = None, as_json: AsJson = False) -> None:
    """Calls that were allowed and of which nothing says how they ended."""
    from clinic_mcp.audit.on_record import asking
    from clinic_mcp.audit.questions.doubt import in_doubt as look

    with asking("audit") as desk:
        desk.record("audit.in-doubt", {"limit": limit, "before": before})
        with desk.database.read() as connection:
            found = look(connection, limit=limit, before=before)
        if found.mark is not None:
            desk.append(found.mark.draft(desk.principal))
    if found.count and not as_json:
        say("A call that is being answered this moment is here too.")
    show_calls(f"In doubt ({found.count} in all)", found.page, as_json, {"count": found.count})


@friendly
def trace(
    name: Annotated[
        str,
        typer.Argument(metavar="ID", help="A call's, an event's, or a consultation's id, as a caller was given it."),
    ],
    limit: Limit = 200,
    before: Before = None,
    since: Since = None,
    until: Until = None,
    as_json: AsJson = False,
) -> None:
    """Everything about a consultation, or one call, by any id it is known by."""
    from clinic_mcp.audit.questions.calls import DEEDS, named

    found = _page("trace", [named(name)], limit, before, since, until, about=name, phases=DEEDS)
    show_calls(f"Calls of {name}", found, as_json)


def _page(
    question: str,
    conditions: list[ColumnElement[bool]],
    limit: int,
    before: int | None,
    since: str | None,
    until: str | None,
    *,
    phases: Sequence[Phase],
    patient: str | None = None,
    about: str | None = None,
) -> Page:
    from clinic_mcp.audit.questions.calls import page

    period = {"since": start_of(since), "until": start_of(until)}
    with asked(question, {"about": about, "limit": limit, "before": before, **period}, patient) as connection:
        return page(connection, conditions, limit=limit, before=before, phases=phases, **period)
