"""`clinic-mcp consultation …`, `grant`, `token`: the operator's way to what the consultations service does."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clinic_mcp.core.console import AsJson, friendly, show_json, show_record

if TYPE_CHECKING:
    from clinic_mcp.audit.log import AuditLog
    from clinic_mcp.consultations.grants import Mint
    from clinic_mcp.consultations.store import Actor, Consultations

app = typer.Typer(no_args_is_help=True, help="Open, show, sign off and close consultations.")
token_app = typer.Typer(no_args_is_help=True, help="Tokens for people, where the clinic has no OpenID provider.")

Session = Annotated[str, typer.Argument(help="The consultation's session id.")]


@app.command("open")
@friendly
def open_(
    patient: Annotated[str, typer.Option(help="The patient's id, e.g. P001.")],
    symptoms: Annotated[str, typer.Option(help="What the patient says.")],
    as_json: AsJson = False,
) -> None:
    """Open a consultation; prints its session id."""
    with _desk() as desk:
        opened = desk.consultations.open(desk.actor, patient, symptoms)
    if as_json:
        show_json(opened)
    else:
        typer.echo(opened["session_id"])


@app.command()
@friendly
def show(session: Session, as_json: AsJson = False) -> None:
    """Show where a consultation stands."""
    with _desk() as desk, desk.log.database.read() as connection:
        _shown(desk.consultations.show(connection, session), as_json)


@app.command()
@friendly
def assign(
    session: Session,
    clinician: Annotated[str, typer.Option(help="The physician's id.")],
    as_json: AsJson = False,
) -> None:
    """Assign a physician to a consultation."""
    with _desk() as desk:
        _shown(desk.consultations.assign(desk.actor, session, clinician), as_json)


@app.command("sign-off")
@friendly
def sign_off(
    session: Session,
    clinician: Annotated[str, typer.Option(help="The physician's id.")],
    notes: Annotated[str, typer.Option(help="What the physician decided; what it names may be prescribed.")],
    as_json: AsJson = False,
) -> None:
    """Record a physician's sign-off. The same notes again change nothing."""
    with _desk() as desk:
        signed, _new = desk.consultations.sign_off(clinician, session, notes, recorded_by=desk.actor)
        _shown(signed, as_json)


@app.command()
@friendly
def close(session: Session, as_json: AsJson = False) -> None:
    """Close a consultation: its grants end with the next call."""
    with _desk() as desk:
        _shown(desk.consultations.close(desk.actor, session), as_json)


@friendly
def grant(
    session: Session,
    agent: Annotated[str, typer.Option(help="intake_agent or prescription_agent.")],
    server: Annotated[str | None, typer.Option(help="The one server it is good for; without it, the four.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print a signed grant, good for 15 minutes, for an agent in a consultation.

    It may be asked for before the sign-off, so that the refusal can be tried; agents get theirs only afterwards.
    """
    from clinic_mcp.audit.event import Draft, Phase, uuid7
    from clinic_mcp.core.settings import SUITE

    with _desk() as desk, desk.log.database.read() as connection:
        minted = desk.mint().grant(connection, session, agent, server or SUITE, early=True)
        patient = desk.consultations.show(connection, session)["patient_id"]
        body = {
            "principal": desk.principal,
            "agent": {"id": agent},
            "delegation": [{"sub": minted.subject}, {"act": agent}],
            "session": {"consultation": session, "jti": minted.jti},
        }
        desk.log.append(Draft(Phase.ADMIN, "grant.issued", uuid7(), body, (patient,)))
    _print_token(minted.token, minted.expires_in, as_json)


@token_app.command("issue")
@friendly
def issue(
    person: Annotated[str, typer.Option("--as", help="The person's id, e.g. dr-osei.")],
    server: Annotated[str | None, typer.Option(help="The one server it is good for; without it, the four.")] = None,
    minutes: Annotated[int, typer.Option(min=1, max=720, help="How long it lives.")] = 60,
    as_json: AsJson = False,
) -> None:
    """Print a signed token for a person."""
    from clinic_mcp.audit.event import Draft, Phase, uuid7
    from clinic_mcp.core.settings import SUITE

    with _desk() as desk, desk.log.database.read() as connection:
        minted = desk.mint().person(connection, person, server or SUITE, minutes * 60)
        body = {"principal": desk.principal, "about": {"id": person}, "session": {"jti": minted.jti}}
        desk.log.append(Draft(Phase.ADMIN, "token.issued", uuid7(), body))
    _print_token(minted.token, minted.expires_in, as_json)


class _Desk:
    """What these commands work with."""

    def __init__(self, log: AuditLog, consultations: Consultations, actor: Actor) -> None:
        self.log = log
        self.consultations = consultations
        self.actor = actor

    @property
    def principal(self) -> dict[str, str]:
        return {"type": self.actor.type, "id": self.actor.id, "clinic": self.consultations.clinic_id}

    def mint(self) -> Mint:
        from clinic_mcp.consultations.grants import Mint
        from clinic_mcp.consultations.keys import read_signing_key
        from clinic_mcp.core.settings import Settings

        settings = Settings()
        return Mint(read_signing_key(settings.keys), settings.issuer, settings.id)


@contextmanager
def _desk() -> Iterator[_Desk]:
    from clinic_mcp.audit.event import Writer
    from clinic_mcp.audit.log import AuditLog
    from clinic_mcp.consultations.store import Actor, Consultations
    from clinic_mcp.core.db import Database
    from clinic_mcp.core.settings import CONSULTATIONS, Settings

    settings = Settings()
    database = Database(settings.url)
    log = AuditLog(database, Writer(CONSULTATIONS, settings.id, f"clinic-mcp/{settings.id}"), announce=False)
    try:
        yield _Desk(log, Consultations(log, settings.id), Actor("Operator", getpass.getuser()))
    finally:
        log.close()
        database.close()


def _shown(record: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show_json(record)
    else:
        show_record("Consultation", {key: value for key, value in record.items() if value not in (None, [])})


def _print_token(token: str, expires_in: int, as_json: bool) -> None:
    if as_json:
        show_json({"token": token, "expires_in": expires_in})
    else:
        typer.echo(token)
