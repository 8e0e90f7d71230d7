"""`clinic-mcp client …`: programs that may act as agents, and the credentials they hold."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clinic_mcp.consultations.operator import as_operator
from clinic_mcp.core.console import AsJson, friendly, show_json, show_record, show_table

app = typer.Typer(no_args_is_help=True, help="Clients of the consultations service and their credentials.")

ClientId = Annotated[str, typer.Argument(metavar="ID", help="The client's id.")]


@app.command()
@friendly
def add(
    client_id: ClientId,
    agents: Annotated[list[str] | None, typer.Option("--agent", help="An agent it may act as; repeatable.")] = None,
    secret_file: Annotated[
        Path | None, typer.Option(help="Give it a secret, written to this new file, instead of a private key.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Add a client and write its credential file, which only you can read."""
    from clinic_mcp.audit.event import uuid7
    from clinic_mcp.consultations import clients

    call_id, allowed = uuid7(), list(dict.fromkeys(agents or []))
    kind = "private key" if secret_file is None else "secret"
    with as_operator() as operator:
        credential = clients.new_credential(operator.settings, client_id, allowed, secret_file)
        with credential.written(), operator.log.transaction() as transaction:
            clients.add(transaction.connection, operator.settings.id, client_id, allowed, credential, call_id)
            about = {"type": "Client", "id": client_id, "agents": allowed, "credential": kind}
            transaction.record(operator.event("client.added", call_id=call_id, about=about))
    shown = {"id": client_id, "credential": kind, "agents": allowed, "file": str(credential.path)}
    show_json(shown) if as_json else show_record("Client added", {**shown, "agents": ", ".join(allowed)})


@app.command("list")
@friendly
def list_(as_json: AsJson = False) -> None:
    """List the clients; nothing of their credentials but the kind."""
    from clinic_mcp.consultations import clients

    with as_operator() as operator, operator.log.database.read() as connection:
        found = clients.listed(connection, operator.settings.id)
    if as_json:
        show_json(found)
    else:
        rows = [[*(row | {"agents": ", ".join(row["agents"])}).values()] for row in found]
        show_table("Clients", ("id", "credential", "agents", "person", "active"), rows)


@app.command()
@friendly
def revoke(client_id: ClientId, as_json: AsJson = False) -> None:
    """Take a client's credential out of force: it gets no more tokens. Revoking twice changes nothing."""
    from clinic_mcp.audit.event import uuid7
    from clinic_mcp.consultations import clients

    with as_operator() as operator, operator.log.transaction() as transaction:
        call_id = uuid7()
        if clients.revoke(transaction.connection, operator.settings.id, client_id, call_id):
            about = {"type": "Client", "id": client_id}
            transaction.record(operator.event("client.revoked", call_id=call_id, about=about))
    shown = {"id": client_id, "active": False}
    show_json(shown) if as_json else show_record("Client revoked", shown)
