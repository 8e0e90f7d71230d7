"""`clinic-mcp audit disclosures|disclose`: to whom outside the clinic a patient's data went."""

from __future__ import annotations

from typing import Annotated

import typer

from clinic_mcp.audit.event import safe_id
from clinic_mcp.audit.questions.disclosure_codes import Purpose, What
from clinic_mcp.audit.questions.shown import Before, Limit, Patient, Until, asked, say_more
from clinic_mcp.core.console import AsJson, friendly, show_json, show_record, show_table
from clinic_mcp.core.period import start_of


@friendly
def disclosures(
    patient: Patient,
    limit: Limit = 200,
    before: Before = None,
    since: Annotated[str | None, typer.Option(help="From when on; six years ago if not given.")] = None,
    until: Until = None,
    ordinary: Annotated[
        bool, typer.Option("--ordinary", help="Also what the servers answered, for treatment and otherwise.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """A patient's accounting of disclosures: date, recipient, what, and what for (45 CFR 164.528(b)(2))."""
    from clinic_mcp.audit.questions.disclosures import YEARS, accounting

    period = {"since": start_of(since) or start_of(f"{YEARS * 366}d"), "until": start_of(until)}
    about = {"limit": limit, "before": before, "ordinary": ordinary, **period}
    with asked("disclosures", about, patient) as connection:
        found = accounting(connection, patient, limit=limit, before=before, ordinary=ordinary, **period)
    if as_json:
        shown = {"patient": patient, **period, "disclosures": [vars(line) for line in found.lines], "more": found.more}
        show_json(shown)
        return
    rows = [
        (line.date[:10], ", ".join(filter(None, (line.recipient, line.address))), line.description, line.basis)
        for line in found.lines
    ]
    show_table(f"Disclosures of {patient}: {len(rows)}", ("date", "to", "what", "what for"), rows)
    say_more(found.more)


@friendly
def disclose(
    patient: Patient,
    to: Annotated[str, typer.Option(help="Who received it: a name of one line, never the patient's.")],
    what: Annotated[list[What], typer.Option(help="Which part of the record; may be given several times.")],
    purpose: Annotated[Purpose, typer.Option(help="What for, as an HL7 v3 PurposeOfUse.")],
    address: Annotated[str | None, typer.Option(help="The recipient's address, if it is known.")] = None,
    on: Annotated[str | None, typer.Option(help="The day, ISO 8601; today if not given.")] = None,
    as_json: AsJson = False,
) -> None:
    """Put on the record that data of a patient went to somebody outside the clinic.

    Not for treatment, payment or the clinic's operations, which no accounting lists: what the servers answer is on the
    record anyway.
    """
    from datetime import UTC, date, datetime

    from clinic_mcp.audit.on_record import asking
    from clinic_mcp.audit.questions.disclosures import draft
    from clinic_mcp.core.errors import InvalidArguments

    today = datetime.now(UTC).date()
    try:
        day = today if on is None else date.fromisoformat(on)
    except ValueError as exc:
        raise typer.BadParameter(f"{on!r} is no day such as {today}.", param_hint="--on") from exc
    if day > today:
        raise typer.BadParameter("A disclosure is recorded when it was made.", param_hint="--on")
    if safe_id(patient) is None:
        raise InvalidArguments("There is no such patient at this clinic.")
    with asking("audit") as desk:
        with desk.database.read() as connection:
            made = draft(
                connection,
                desk.settings.id,
                patient,
                desk.principal,
                to=to.strip(),
                address=None if address is None else address.strip(),
                what=what,
                purpose=purpose,
                on=day,
            )
        desk.append(made)
    shown = {"call_id": made.call_id, "patient": patient, **made.body["disclosure"], "purpose": purpose.value}
    if as_json:
        show_json(shown)
    else:
        recipient = ", ".join(made.body["disclosure"]["recipient"].values())
        show_record("Disclosure on record", {**shown, "recipient": recipient, "what": ", ".join(shown["what"])})
