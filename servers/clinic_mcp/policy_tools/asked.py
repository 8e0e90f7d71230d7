"""A call that somebody only asks about: the caller, the arguments and the record as the database has them now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection, select

from clinic_mcp.core.clinic import consultations, now
from clinic_mcp.core.errors import InvalidArguments, Refused, Unauthenticated, UnknownTool
from clinic_mcp.core.identity import PATIENT_SUBJECT, Caller, resolve
from clinic_mcp.core.policy import Request
from clinic_mcp.core.question import ask
from clinic_mcp.core.tokens import Claims
from clinic_mcp.core.tool import Target
from clinic_mcp.policy_tools.tools import every_tool

TRANSPORT = "cli"
"""What stands in the context for a transport: nobody called."""


@dataclass(frozen=True)
class Who:
    """Whom a call is asked about for: a person, an agent in a consultation, or a patient.

    Args:
        person: A person's id.
        agent: An agent's name.
        session: The consultation it acts in.
        patient: A patient's id.
    """

    person: str | None = None
    agent: str | None = None
    session: str | None = None
    patient: str | None = None


@dataclass(frozen=True)
class Asked:
    """A call as the policies would be asked about it."""

    caller: Caller
    target: Target
    request: Request


def asked(connection: Connection, clinic_id: str, who: Who, tool_name: str, words: dict[str, str]) -> Asked:
    """The question that a call would be to the policies, now.

    Args:
        connection: An open read transaction.
        clinic_id: The clinic.
        who: The caller.
        tool_name: The tool.
        words: Its arguments as text.

    Raises:
        UnknownTool: No server has such a tool.
        InvalidArguments: They do not fit its schema.
        Refused: The database does not know the caller.
    """
    tool = every_tool().get(tool_name)
    if tool is None:
        raise UnknownTool(f"No server has a tool {tool_name!r}.", "`clinic-mcp policy matrix` lists them.")
    try:
        arguments = tool.arguments.model_validate_strings(words)
    except ValidationError as exc:
        names = sorted({str(error["loc"][0]) for error in exc.errors() if error["loc"]})
        fields = ", ".join(tool.arguments.model_fields) or "none"
        raise InvalidArguments(
            f"The arguments do not fit {tool_name} ({', '.join(names)}).", f"It takes: {fields}."
        ) from exc
    caller = _caller(connection, clinic_id, who)
    target: Target = tool.target(connection, arguments, clinic_id, caller)
    inputs: dict[str, Any] = arguments.model_dump(exclude_none=True)
    request = ask(caller, tool_name, inputs, target, transport=TRANSPORT, started=now())
    return Asked(caller, target, request)


def _caller(connection: Connection, clinic_id: str, who: Who) -> Caller:
    if who.agent is not None:
        about = select(consultations.c.patient_id).where(
            consultations.c.id == who.session, consultations.c.clinic_id == clinic_id
        )
        patient = connection.execute(about).scalar()
        if patient is None:
            raise Refused(f"This clinic has no consultation {who.session}.")
        claims = _claims(clinic_id, f"{PATIENT_SUBJECT}{patient}", who.agent, who.session, patient)
    else:
        claims = _claims(clinic_id, who.person or f"{PATIENT_SUBJECT}{who.patient}")
    try:
        return resolve(connection, claims)
    except Unauthenticated as exc:
        name = who.agent or who.person or who.patient
        raise Refused(f"This clinic would not take {name} for a caller ({exc.reason}).") from exc


def _claims(
    clinic_id: str, subject: str, agent: str | None = None, session: str | None = None, patient: str | None = None
) -> Claims:
    """What a token of theirs would say; none is made."""
    return Claims(
        subject, clinic_id, jti="none", expires=0, client="cli", agent=agent, consultation=session, patient=patient
    )
