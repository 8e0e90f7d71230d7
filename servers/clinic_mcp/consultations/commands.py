"""`clinic-mcp consultation …`: the operator's way to what the consultations service does."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from clinic_mcp.consultations.operator import as_operator
from clinic_mcp.core.console import AsJson, friendly, show_json, show_record

app = typer.Typer(no_args_is_help=True, help="Open, show, sign off and close consultations.")

Session = Annotated[str, typer.Argument(help="The consultation's session id.")]


@app.command("open")
@friendly
def open_(
    patient: Annotated[str, typer.Option(help="The patient's id, e.g. P001.")],
    symptoms: Annotated[str, typer.Option(help="What the patient says.")],
    as_json: AsJson = False,
) -> None:
    """Open a consultation; prints its session id."""
    with as_operator() as operator:
        opened = operator.consultations.open(operator.actor, patient, symptoms)
    if as_json:
        show_json(opened)
    else:
        typer.echo(opened["session_id"])


@app.command()
@friendly
def show(session: Session, as_json: AsJson = False) -> None:
    """Show where a consultation stands."""
    with as_operator() as operator, operator.log.database.read() as connection:
        _shown(operator.consultations.show(connection, session), as_json)


@app.command()
@friendly
def assign(
    session: Session,
    clinician: Annotated[str, typer.Option(help="The physician's id.")],
    as_json: AsJson = False,
) -> None:
    """Assign a physician to a consultation."""
    with as_operator() as operator:
        _shown(operator.consultations.assign(operator.actor, session, clinician), as_json)


@app.command("sign-off")
@friendly
def sign_off(
    session: Session,
    clinician: Annotated[str, typer.Option(help="The physician's id.")],
    notes: Annotated[str, typer.Option(help="What the physician decided; what it names may be prescribed.")],
    as_json: AsJson = False,
) -> None:
    """Record a physician's sign-off. The same notes again change nothing."""
    with as_operator() as operator:
        signed, _new = operator.consultations.sign_off(clinician, session, notes, recorded_by=operator.actor)
        _shown(signed, as_json)


@app.command()
@friendly
def close(session: Session, as_json: AsJson = False) -> None:
    """Close a consultation: its grants end with the next call."""
    with as_operator() as operator:
        _shown(operator.consultations.close(operator.actor, session), as_json)


def _shown(record: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show_json(record)
    else:
        show_record("Consultation", {key: value for key, value in record.items() if value not in (None, [])})
