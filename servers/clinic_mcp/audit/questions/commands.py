"""The auditor's questions: `clinic-mcp audit who`, `by`, `denied`, `break-glass` and the others."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clinic_mcp.core.console import AsJson, friendly, say, show_json, show_table
from clinic_mcp.core.period import start_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement

    from clinic_mcp.audit.event import Phase
    from clinic_mcp.audit.questions.calls import Call, Page

Limit = Annotated[int, typer.Option(min=1, max=1_000, help="Calls at most, the newest first.")]
Before = Annotated[int | None, typer.Option(help="Where the last page ended.")]
Since = Annotated[str | None, typer.Option(help="From when on: ISO 8601, or 7d, 24h, 30m ago.")]
Until = Annotated[str | None, typer.Option(help="Until before when.")]
Patient = Annotated[str, typer.Argument(help="The patient's id, e.g. P001.")]


def register(app: typer.Typer) -> None:
    """Add the questions to the `audit` commands."""
    for name, command in (
        ("who", who),
        ("by", by),
        ("denied", denied),
        ("break-glass", break_glass),
        ("overrides", overrides),
        ("unusual", unusual),
        ("in-doubt", in_doubt),
        ("disclosures", disclosures),
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
    from clinic_mcp.audit.questions.calls import about

    found = _page("who", [about(patient)], limit, before, since, until, patient=patient)
    _show(f"Calls about {patient}", found, as_json)


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
    from sqlalchemy import or_

    from clinic_mcp.audit.models import events
    from clinic_mcp.audit.questions.calls import DEEDS

    kinds = ("Clinician", "Auditor", "Administrator", "Patient", "Agent", "Client", "Operator")
    condition = or_(events.c.agent == who_, events.c.principal.in_([f"{kind}:{who_}" for kind in kinds]))
    _show(f"Calls by {who_}", _page("by", [condition], limit, before, since, until, about=who_, phases=DEEDS), as_json)


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
    from clinic_mcp.audit.models import events

    conditions = [events.c.decision == "deny"]
    if policy is not None:
        conditions.append((" " + events.c.policies + " ").contains(f" {policy} ", autoescape=True))
    found = _page("denied", conditions, limit, before, since, until, about=policy)
    counts = Counter(name for call in found.calls for name in call.policies)
    if not as_json:
        show_table("Refusals by policy", ("policy", "calls"), counts.most_common())
    _show("Refused calls", found, as_json, {"by_policy": dict(counts)})


@friendly
def break_glass(limit: Limit = 50, since: Since = None, as_json: AsJson = False) -> None:
    """Every emergency access: whose record, why, until when, how often it was used, and what the review said."""
    from sqlalchemy import column, func, select, table

    from clinic_mcp.audit.models import events
    from clinic_mcp.core.clinic import review_items

    access = table(
        "emergency_access",
        *(column(name) for name in ("id", "patient_id", "clinician_id", "reason_code", "granted_at", "expires_at")),
    )
    used = (
        select(func.count())
        .where(
            events.c.phase == "intent",
            events.c.patient == access.c.patient_id,
            events.c.principal == "Clinician:" + access.c.clinician_id,
            events.c.policies.contains("physician-breaks-glass"),
            events.c.recorded >= access.c.granted_at,
            events.c.recorded < access.c.expires_at,
        )
        .correlate(access)
        .scalar_subquery()
    )
    query = (
        select(access, used.label("used"), review_items.c.verdict)
        .join(review_items, review_items.c.row_id == access.c.id)
        .order_by(access.c.granted_at.desc())
        .limit(limit)
    )
    start = start_of(since)
    if start is not None:
        query = query.where(access.c.granted_at >= start)
    rows = _rows("break-glass", query, since=start)
    _show_rows("Emergency accesses", rows, as_json)


@friendly
def overrides(limit: Limit = 50, since: Since = None, as_json: AsJson = False) -> None:
    """Every guardrail a physician set aside: for which medication, why, and what the review said."""
    from sqlalchemy import select

    from clinic_mcp.core.clinic import guardrail_overrides, review_items

    query = (
        select(
            guardrail_overrides.c.signed_at,
            guardrail_overrides.c.clinician_id,
            review_items.c.patient_id,
            guardrail_overrides.c.consultation_id,
            guardrail_overrides.c.rule,
            guardrail_overrides.c.item_id,
            guardrail_overrides.c.reason_code,
            review_items.c.verdict,
        )
        .join(review_items, review_items.c.row_id == guardrail_overrides.c.id)
        .order_by(guardrail_overrides.c.signed_at.desc())
        .limit(limit)
    )
    start = start_of(since)
    if start is not None:
        query = query.where(guardrail_overrides.c.signed_at >= start)
    _show_rows("Overridden guardrails", _rows("overrides", query, since=start), as_json)


@friendly
def unusual(
    since: Since = "7d",
    opens: Annotated[int, typer.Option(min=0, max=23, help="First hour people are expected here.")] = 6,
    closes: Annotated[int, typer.Option(min=1, max=24, help="Hour from which they are not.")] = 22,
    zone: Annotated[str, typer.Option(help="The clinic's time zone, e.g. Africa/Accra.")] = "UTC",
    as_json: AsJson = False,
) -> None:
    """What stands out: many patients in an hour, repeated refusals, people out of hours, broken glass."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    from clinic_mcp.audit.on_record import asking
    from clinic_mcp.audit.questions.calls import page
    from clinic_mcp.audit.questions.unusual import Hours
    from clinic_mcp.audit.questions.unusual import unusual as look

    try:
        hours = Hours(opens, closes, ZoneInfo(zone))
    except (ZoneInfoNotFoundError, ValueError) as exc:
        raise typer.BadParameter(f"There is no time zone {zone!r}.") from exc
    start = start_of(since)
    with asking("audit") as desk:
        desk.record("audit.unusual", {"since": start})
        calls: list[Call] = []
        with desk.database.read() as connection:
            before: int | None = None
            while True:
                found = page(connection, [], limit=1_000, before=before, since=start)
                calls += found.calls
                if found.more is None:
                    break
                before = found.more
    findings = [vars(finding) for finding in look(reversed(calls), hours)]
    if as_json:
        show_json({"calls": len(calls), "findings": findings})
    else:
        rows = [tuple(finding.values()) for finding in findings]
        show_table(f"Of {len(calls)} calls", ("rule", "who", "time", "call", "count"), rows)


@friendly
def in_doubt(limit: Limit = 50, as_json: AsJson = False) -> None:
    """Calls that were allowed and of which nothing says how they ended."""
    from sqlalchemy import exists, select

    from clinic_mcp.audit.models import events

    outcome = events.alias()
    closed = exists(select(outcome.c.id).where(outcome.c.call_id == events.c.call_id, outcome.c.phase == "outcome"))
    _show("In doubt", _page("in-doubt", [events.c.phase == "intent", ~closed], limit), as_json)


@friendly
def disclosures(
    patient: Patient,
    limit: Limit = 200,
    before: Before = None,
    since: Since = None,
    until: Until = None,
    without_treatment: Annotated[
        bool, typer.Option("--without-treatment", help="Leave out what was for treatment (45 CFR 164.528(a)(1)(i)).")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """To whom this patient's data went: date, recipient, what, and for which purpose (45 CFR 164.528(b)(2))."""
    from clinic_mcp.audit.models import events
    from clinic_mcp.audit.questions.calls import Page, about

    condition = [about(patient), events.c.phase == "outcome", events.c.outcome == "ok"]
    found = _page("disclosures", condition, limit, before, since, until, patient=patient)
    kept = [call for call in found.calls if not (without_treatment and call.purpose == "TREAT")]
    _show(f"Disclosures of {patient}", Page(kept, found.more), as_json)


@friendly
def trace(
    name: Annotated[
        str,
        typer.Argument(metavar="ID", help="A call's, an event's, or a consultation's id, as a caller was given it."),
    ],
    limit: Limit = 200,
    as_json: AsJson = False,
) -> None:
    """Everything about a consultation, or one call, by any id it is known by."""
    from sqlalchemy import or_, select

    from clinic_mcp.audit.models import events
    from clinic_mcp.audit.questions.calls import DEEDS

    of_event = select(events.c.call_id).where(events.c.event_id == name).scalar_subquery()
    condition = or_(events.c.call_id == name, events.c.consultation == name, events.c.call_id == of_event)
    _show(f"Calls of {name}", _page("trace", [condition], limit, about=name, phases=DEEDS), as_json)


def _page(
    question: str,
    conditions: list[ColumnElement[bool]],
    limit: int,
    before: int | None = None,
    since: str | None = None,
    until: str | None = None,
    *,
    patient: str | None = None,
    about: str | None = None,
    phases: Sequence[Phase] | None = None,
) -> Page:
    from clinic_mcp.audit.on_record import asking
    from clinic_mcp.audit.questions.calls import PHASES, page

    period = {"since": start_of(since), "until": start_of(until)}
    asked = {"about": _known(about), "limit": limit, "before": before, **period}
    with asking("audit") as desk:
        desk.record(f"audit.{question}", asked, [patient] if patient else [])
        with desk.database.read() as connection:
            return page(connection, conditions, limit=limit, before=before, phases=phases or PHASES, **period)


def _rows(question: str, query: Any, **asked: Any) -> list[dict[str, Any]]:
    from clinic_mcp.audit.on_record import asking

    with asking("audit") as desk:
        desk.record(f"audit.{question}", asked)
        with desk.database.read() as connection:
            return [dict(row._mapping) for row in connection.execute(query)]


def _known(text: str | None) -> str | None:
    """What was asked about, where it looks like an id: the log keeps no other text somebody typed."""
    from clinic_mcp.audit.event import safe_label

    return safe_label(text)


def _show(title: str, found: Page, as_json: bool, more: dict[str, Any] | None = None) -> None:
    if as_json:
        show_json({"calls": [vars(call) for call in found.calls], "more": found.more, **(more or {})})
        return
    rows = [
        (
            call.time[:19].replace("T", " "),
            _actor(call),
            call.tool or call.server,
            ", ".join(call.patients[:3]) + (" …" if len(call.patients) > 3 else ""),
            call.ended,
            " · ".join(filter(None, (*call.policies, call.reason))),
        )
        for call in found.calls
    ]
    show_table(f"{title}: {len(rows)}", ("time (UTC)", "who", "what", "patients", "ended", "why"), rows)
    if found.more is not None:
        say(f"There are more: add --before {found.more}.")


def _actor(call: Call) -> str:
    if call.agent is not None:
        return f"{call.agent} for {call.behalf}" if call.behalf else call.agent
    return call.who or f"somebody at {call.peer}"


def _show_rows(title: str, rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        show_json(rows)
    elif rows:
        show_table(f"{title}: {len(rows)}", tuple(rows[0]), [tuple(row.values()) for row in rows])
    else:
        say(f"{title}: none.")
