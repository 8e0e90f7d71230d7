"""`clinic-mcp grant …` and `token issue`: signed tokens from the terminal, where the clinic has no OpenID provider."""

from __future__ import annotations

from typing import Annotated

import typer

from clinic_mcp.consultations.operator import as_operator
from clinic_mcp.core.console import AsJson, friendly, show_json

app = typer.Typer(no_args_is_help=True, help="Tokens for people, where the clinic has no OpenID provider.")

Server = Annotated[str | None, typer.Option(help="The one server it is good for; without it, all MCP servers.")]
HOUR = 60


@app.callback()
def token() -> None:
    """Tokens for people, where the clinic has no OpenID provider."""


@friendly
def grant(
    session: Annotated[str, typer.Argument(help="The consultation's session id.")],
    agent: Annotated[str, typer.Option(help="intake_agent or prescription_agent.")],
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Print a signed grant, good for 15 minutes, for an agent in a consultation.

    It may be asked for before the sign-off, so that the refusal can be tried; agents get theirs only afterwards.
    """
    from clinic_mcp.core.settings import SUITE

    with as_operator() as operator, operator.log.database.read() as connection:
        minted = operator.mint().grant(connection, session, agent, server or SUITE, early=True)
        patient = operator.consultations.show(connection, session)["patient_id"]
        event = operator.event(
            "grant.issued",
            patient,
            agent={"id": agent},
            delegation=[{"sub": minted.subject}, {"act": agent}],
            session={"consultation": session, "jti": minted.jti},
        )
        operator.log.append(event)
    _print_token(minted.token, minted.expires_in, as_json)


@app.command("issue")
@friendly
def issue(
    person: Annotated[str | None, typer.Option("--as", help="The person's id, e.g. dr-osei.")] = None,
    patient: Annotated[str | None, typer.Option(help="Instead, a patient's id, e.g. P001: an hour at most.")] = None,
    server: Server = None,
    minutes: Annotated[int, typer.Option(min=1, max=720, help="How long it lives.")] = HOUR,
    as_json: AsJson = False,
) -> None:
    """Print a signed token for a person who works at the clinic, or for a patient in their own name."""
    from clinic_mcp.core.settings import SUITE

    if (person is None) == (patient is None):
        raise typer.BadParameter("Give either --as PERSON or --patient PATIENT.")
    if patient is not None and minutes > HOUR:
        raise typer.BadParameter("A patient's token lives an hour at most.", param_hint="--minutes")
    with as_operator() as operator, operator.log.database.read() as connection:
        mint, audience, lifetime = operator.mint(), server or SUITE, minutes * 60
        if patient is not None:
            minted = mint.patient(connection, patient, audience, lifetime)
            about, patients = {"type": "Patient", "id": patient}, [patient]
        else:
            minted = mint.person(connection, str(person), audience, lifetime)
            about, patients = {"id": str(person)}, []
        operator.log.append(operator.event("token.issued", *patients, about=about, session={"jti": minted.jti}))
    _print_token(minted.token, minted.expires_in, as_json)


def _print_token(token: str, expires_in: int, as_json: bool) -> None:
    if as_json:
        show_json({"token": token, "expires_in": expires_in})
    else:
        typer.echo(token)
