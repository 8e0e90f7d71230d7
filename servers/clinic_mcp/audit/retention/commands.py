"""`clinic-mcp audit detail|erase|purge|hold`: what is kept beside the log, and what goes from it."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clinic_mcp.audit.reading import counting
from clinic_mcp.audit.retention.ropa_command import ropa
from clinic_mcp.core.console import EXIT_REFUSED, AsJson, friendly, say, show_json, show_record, show_table

if TYPE_CHECKING:
    from clinic_mcp.audit.on_record import Asking
    from clinic_mcp.audit.retention.plan import Plan


def register(app: typer.Typer) -> None:
    """Add these to the `audit` commands."""
    for command in (detail, erase, purge, hold, ropa):
        app.command()(command)


class Switch(StrEnum):
    ON = "on"
    OFF = "off"


@friendly
def detail(
    event: Annotated[str, typer.Argument(help="The event's id.")],
    as_json: AsJson = False,
) -> None:
    """Show the arguments or the result kept of a call's event. That somebody looked is recorded with the patient.

    Exit: 0 shown, 1 it was altered, 4 there is none.
    """
    import json
    from dataclasses import asdict

    from sqlalchemy import select

    from clinic_mcp.audit.event import safe_id
    from clinic_mcp.audit.models import events
    from clinic_mcp.audit.on_record import asking
    from clinic_mcp.audit.retention.detail import of_event
    from clinic_mcp.core.errors import Unavailable

    with asking("audit") as desk:
        with desk.database.read() as connection:
            leaf = connection.execute(select(events.c.leaf).where(events.c.event_id == event)).scalar()
        patients = [] if leaf is None else json.loads(leaf).get("patients", [])
        desk.record("audit.detail", {"event": safe_id(event[:36])}, patients)
        if leaf is None:
            raise Unavailable("There is no such event in the log.")
        with desk.database.read() as connection:
            found = of_event(connection, event)
    if not found:
        raise Unavailable("No detail is kept of this event: it was erased, has expired, or was never kept.")
    if as_json:
        show_json([asdict(one) for one in found])
    else:
        rows = [(one.part, one.recorded, json.dumps(one.body, ensure_ascii=False, indent=2)) for one in found]
        show_table(f"Detail of {event}", ("part", "kept", "body"), rows)
    altered = [one.part for one in found if not one.holds]
    if altered:
        say(f"Altered, it is not what the event committed to: {', '.join(altered)}.")
        raise typer.Exit(EXIT_REFUSED)


def _reason(value: str) -> Any:
    from clinic_mcp.audit.retention.erasure import Reason

    try:
        return Reason(value)
    except ValueError as exc:
        raise typer.BadParameter(f"It is one of {', '.join(Reason)}.") from exc


@friendly
def erase(
    reason: Annotated[str, typer.Option(help="The ground: gdpr-17-1-a to gdpr-17-1-f (GDPR, Article 17(1)).")],
    patient: Annotated[str | None, typer.Argument(help="The patient's id, e.g. P001.")] = None,
    event: Annotated[str | None, typer.Option(help="Only this event's detail.")] = None,
    as_json: AsJson = False,
) -> None:
    """Erase the detail of the calls that named a patient: bodies and salts. Events, tree and proofs stay as they are.

    A call about several patients loses the whole of its detail.
    """
    from clinic_mcp.audit.event import safe_id
    from clinic_mcp.audit.on_record import asking
    from clinic_mcp.audit.retention.erasure import erase as carry_out

    if patient is None and event is None:
        raise typer.BadParameter("Name a patient, or an event with --event.")
    if safe_id(patient or event) is None or (event is not None and safe_id(event) is None):
        raise typer.BadParameter("That is not an id; what is typed here goes on the record.")
    ground = _reason(reason)
    with asking("audit") as desk:
        done = carry_out(desk, patient, event, ground)
    if as_json:
        show_json(done)
    else:
        show_record("Erased", done)
    if not done["flushed"]:
        say("Somebody was reading: older pages stay in the write-ahead log until it is reset. Run it again.")


def _years(value: str) -> int:
    found = re.fullmatch(r"(\d{1,3})y", value)
    if found is None:
        raise typer.BadParameter("It is a number of years, e.g. 6y.")
    return int(found[1])


@friendly
def purge(
    older_than: Annotated[
        str | None, typer.Option(help="For how long events stay, e.g. 10y; at least the clinic's retention.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go; change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove events after their retention, and detail after its own. Roots and proofs hold as before.

    Exit: 0 done, or nothing is old enough; 1 refused, e.g. on hold or altered; 4 cannot.
    """
    from datetime import UTC, datetime

    from clinic_mcp.audit.on_record import asking
    from clinic_mcp.audit.retention import expiry
    from clinic_mcp.audit.retention.detail import overdue
    from clinic_mcp.audit.retention.vanish import flush
    from clinic_mcp.core.errors import Conflict

    with asking("audit") as desk:
        years = desk.settings.audit_retention_years
        if older_than is not None:
            if _years(older_than) < years:
                raise Conflict(f"The clinic keeps events for {years} years.", "See CLINIC_AUDIT_RETENTION_YEARS.")
            years = _years(older_than)
        if years < 6:
            say(f"{years} years are fewer than the six of 45 CFR 164.316(b)(2)(i).")
        moment = datetime.now(UTC)
        before = expiry.cutoff(desk.settings.audit_detail_days, moment)
        if dry_run:
            with desk.database.read() as connection:
                shown: dict[str, Any] = {"dry_run": True, "details_expired": overdue(connection, before)}
            shown |= _planned(desk, years, moment)
        else:
            shown = {"dry_run": False, "details_expired": expiry.expire(desk, before), **_purged(desk, years, moment)}
            shown["flushed"] = flush(desk.database)
    if as_json:
        show_json(shown)
    else:
        show_record("Would be purged" if dry_run else "Purged", shown)


def _planned(desk: Asking, years: int, moment: Any) -> dict[str, Any]:
    from clinic_mcp.audit.retention.plan import choose, examine

    with desk.database.read() as connection:
        plan = choose(connection, years, moment)
    if plan is None:
        return {"events": 0}
    with counting("Reading what would go", plan.upto - plan.start) as progress:
        for _ in examine(desk.database, plan, progress):
            pass
    return _shown(plan)


def _shown(plan: Plan) -> dict[str, Any]:
    return {
        "events": plan.events,
        "upto": plan.upto,
        "from": plan.first,
        "to": plan.last,
        "cutoff": plan.cutoff,
        "patient_index": plan.patients,
        "details": plan.details,
        "in_doubt": len(plan.open),
    }


def _purged(desk: Asking, years: int, moment: Any) -> dict[str, Any]:
    """Finish a purge that was begun; else make one."""
    from clinic_mcp.audit.retention import purge as steps
    from clinic_mcp.audit.retention.plan import choose, examine

    with desk.database.read() as connection:
        begun, plan = steps.unfinished(connection), None
        if begun is None:
            plan = choose(connection, years, moment)
    if begun is not None:
        return {"resumed": True, **_carried_out(desk, begun.upto, begun.call_id, begun.cutoff)}
    if plan is None:
        return {"events": 0}
    _check_whole(desk)
    with counting("Reading what goes", plan.upto - plan.start) as progress:
        steps.stage(desk.database, examine(desk.database, plan, progress))
    call_id = steps.record(desk.settings, desk.log, plan, desk.principal)
    return {**_shown(plan), **_carried_out(desk, plan.upto, call_id, plan.cutoff)}


def _check_whole(desk: Asking) -> None:
    """What is to go was whole when it went: afterwards nobody can tell.

    Raises:
        Conflict: The log is not.
    """
    from clinic_mcp.audit.findings import Verdict
    from clinic_mcp.audit.reading import trusted_keys
    from clinic_mcp.audit.verify import verify
    from clinic_mcp.core.errors import Conflict
    from clinic_mcp.registry import SERVERS

    written = {table.name: table for load in SERVERS.values() for table in load().writes}
    with desk.database.read() as connection, counting("Verifying the audit log") as progress:
        report = verify(connection, trusted_keys(None), effects=list(written.values()), details=True, progress=progress)
    if report.verdict in (Verdict.ALTERED, Verdict.TRUNCATED, Verdict.CANNOT_CHECK):
        raise Conflict(f"A log that is not whole is not purged. {report.problem}", "Run `clinic-mcp audit verify`.")


def _carried_out(desk: Asking, upto: int, call_id: str, cutoff: str) -> dict[str, Any]:
    from clinic_mcp.audit.retention import purge as steps
    from clinic_mcp.audit.retention import texts

    with desk.database.read() as connection:
        in_force = texts.in_force(connection)
    steps.sign(desk.settings, desk.database, call_id)
    with counting("Purging", upto) as progress:
        gone = steps.remove(desk.database, upto, progress)
    with counting("Looking for texts that nothing names") as progress:
        forgotten = texts.forget(desk.database, cutoff, in_force, progress)
    return {"removed": gone, "upto": upto, **forgotten}


@friendly
def hold(
    switch: Annotated[Switch, typer.Argument(help="`on` or `off`.")],
    reason: Annotated[str, typer.Option(help="litigation, investigation, regulator, incident, or over.")],
    as_json: AsJson = False,
) -> None:
    """Hold the log: nothing is purged and no detail erased until the hold is off again. Both are on the record."""
    from clinic_mcp.audit.event import Draft, Phase, uuid7
    from clinic_mcp.audit.on_record import asking
    from clinic_mcp.audit.retention import hold as holds

    if reason not in tuple(holds.Reason):
        raise typer.BadParameter(f"The reason is one of {', '.join(holds.Reason)}.")
    code = holds.ON if switch is Switch.ON else holds.OFF
    with asking("audit") as desk:
        body = {"principal": desk.principal, "hold": {"reason": reason}}
        desk.log.append(Draft(Phase.ADMIN, code, uuid7(), body))
    shown = {"hold": str(switch), "reason": reason}
    if as_json:
        show_json(shown)
    else:
        show_record("Hold", shown)
