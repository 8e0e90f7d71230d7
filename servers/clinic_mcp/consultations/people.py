"""The people who work at the clinic: who they are to the policies, and whether they still do."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Connection, insert, select, update

from clinic_mcp.consultations.rows import check_text
from clinic_mcp.core.clinic import people
from clinic_mcp.core.errors import Conflict, InvalidArguments, Refused
from clinic_mcp.core.roles import KINDS, PERSON_ID, Role

MAX_NAME = 200
"""Characters a name may have."""


def add(connection: Connection, clinic_id: str, person_id: str, role: Role, name: str, call_id: str) -> str:
    """Add a person. Their id is what the OpenID provider's claim, or `token issue --as`, names them by.

    Args:
        connection: An open write transaction.
        clinic_id: The clinic.
        person_id: Their id.
        role: Their role; not `patient`.
        name: Their name.
        call_id: What the row carries.

    Returns:
        What they are to the policies: Clinician, Auditor or Administrator.

    Raises:
        InvalidArguments: The id or the name cannot be one, or patients are not added here.
        Conflict: There is a person of that id.
    """
    if not re.fullmatch(PERSON_ID, person_id):
        raise InvalidArguments("A person's id is 1 to 64 letters, digits, dots, dashes, underscores and @.")
    kind = KINDS.get(role)
    if kind is None:
        raise InvalidArguments("Patients are not people who work here: their record makes them one.")
    check_text("name", name)
    if len(name) > MAX_NAME:
        raise InvalidArguments(f"A name has at most {MAX_NAME} characters.")
    if connection.execute(select(people.c.id).where(people.c.id == person_id)).first() is not None:
        raise Conflict("There is a person of that id.", "Somebody who comes back: `clinic-mcp person activate ID`.")
    row = {
        "id": person_id,
        "clinic_id": clinic_id,
        "kind": kind,
        "role": str(role),
        "name": name,
        "active": True,
        "call_id": call_id,
    }
    connection.execute(insert(people), row)
    return kind


def set_active(connection: Connection, clinic_id: str, person_id: str, active: bool, call_id: str) -> tuple[str, bool]:
    """Say whether a person still works here. It counts from their next call.

    Returns:
        What they are to the policies, and whether that changed anything.

    Raises:
        Refused: Nobody of that id works at this clinic.
    """
    mine = (people.c.id == person_id) & (people.c.clinic_id == clinic_id)
    row = connection.execute(select(people.c.kind, people.c.active).where(mine)).first()
    if row is None:
        raise Refused("No such person works at this clinic.")
    changes = bool(row.active) != active
    if changes:
        connection.execute(update(people).where(mine).values(active=active, call_id=call_id))
    return row.kind, changes


def listed(connection: Connection, clinic_id: str) -> list[dict[str, Any]]:
    """Everybody who works or worked at the clinic."""
    rows = connection.execute(select(people).where(people.c.clinic_id == clinic_id).order_by(people.c.id))
    return [{"id": row.id, "role": row.role, "name": row.name, "active": bool(row.active)} for row in rows]
