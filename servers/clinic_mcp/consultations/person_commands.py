"""`clinic-mcp person …`: who works at the clinic."""

from __future__ import annotations

from typing import Annotated

import typer

from clinic_mcp.consultations.operator import as_operator
from clinic_mcp.core.console import AsJson, friendly, show_json, show_record, show_table
from clinic_mcp.core.roles import Role

app = typer.Typer(no_args_is_help=True, help="The people who work at the clinic.")

PersonId = Annotated[str, typer.Argument(metavar="ID", help="The person's id, e.g. dr-osei.")]


@app.command()
@friendly
def add(
    person_id: PersonId,
    role: Annotated[Role, typer.Option(help="Their role; a patient's record, not this, makes them one.")],
    name: Annotated[str, typer.Option(help="Their name.")],
    as_json: AsJson = False,
) -> None:
    """Add a person; an OpenID provider's token, or `token issue --as`, then speaks for them by this id."""
    from clinic_mcp.audit.event import uuid7
    from clinic_mcp.consultations import people

    with as_operator() as operator, operator.log.transaction() as transaction:
        call_id = uuid7()
        clinic_id = operator.settings.id
        kind = people.add(transaction.connection, clinic_id, person_id, role, name, call_id)
        about = {"type": kind, "id": person_id, "role": role.value}
        transaction.record(operator.event("person.added", call_id=call_id, about=about))
    shown = {"id": person_id, "role": role.value, "name": name, "active": True}
    show_json(shown) if as_json else show_record("Person added", shown)


@app.command("list")
@friendly
def list_(as_json: AsJson = False) -> None:
    """List everybody who works or worked here."""
    from clinic_mcp.consultations import people

    with as_operator() as operator, operator.log.database.read() as connection:
        found = people.listed(connection, operator.settings.id)
    if as_json:
        show_json(found)
    else:
        show_table("People", ("id", "role", "name", "active"), [[*row.values()] for row in found])


@app.command()
@friendly
def deactivate(person_id: PersonId, as_json: AsJson = False) -> None:
    """Say that somebody no longer works here: their next call is refused. Doing it twice changes nothing."""
    _set_active(person_id, False, as_json)


@app.command()
@friendly
def activate(person_id: PersonId, as_json: AsJson = False) -> None:
    """Say that somebody works here again. Doing it twice changes nothing."""
    _set_active(person_id, True, as_json)


def _set_active(person_id: str, active: bool, as_json: bool) -> None:
    from clinic_mcp.audit.event import uuid7
    from clinic_mcp.consultations import people

    with as_operator() as operator, operator.log.transaction() as transaction:
        call_id = uuid7()
        clinic_id = operator.settings.id
        kind, changed = people.set_active(transaction.connection, clinic_id, person_id, active, call_id)
        if changed:
            code = "person.activated" if active else "person.deactivated"
            transaction.record(operator.event(code, call_id=call_id, about={"type": kind, "id": person_id}))
    shown = {"id": person_id, "active": active}
    show_json(shown) if as_json else show_record("Person", shown)
