"""`clinic-mcp init`: data folder, database, keys, credentials, and with --demo the starter data. Repeatable."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import Annotated, Any

import typer

from clinic_mcp.core.console import AsJson, friendly, show_json, show_table


@friendly
def init(
    demo: Annotated[bool, typer.Option("--demo", help="Add the starter people, patients, stock and articles.")] = False,
    as_json: AsJson = False,
) -> None:
    """Set up a data folder. Overwrites nothing: what is there stays as it is."""
    from clinic_mcp.core.settings import Settings

    settings = Settings()
    steps = prepare(settings, demo=demo)
    if as_json:
        show_json({"home": str(settings.home), "steps": steps})
    else:
        show_table(f"Data folder {settings.home}", ("part", "state"), list(steps.items()))


def prepare(settings: Any, *, demo: bool) -> dict[str, str]:
    """Create what is missing.

    Args:
        settings: The operator's settings.
        demo: Whether to add the starter data.

    Returns:
        What was done about each part.

    Raises:
        Misconfigured: The folder cannot be written.
        AuditUnavailable: The database cannot be written.
    """
    from clinic_mcp.audit import keys as checkpoint_keys
    from clinic_mcp.audit.checkpoint import origin_of
    from clinic_mcp.audit.event import Draft, Phase, Writer, uuid7
    from clinic_mcp.audit.log import AuditLog
    from clinic_mcp.audit.sequencer import Sequencer
    from clinic_mcp.consultations.keys import ensure_signing_key
    from clinic_mcp.core.db import Database
    from clinic_mcp.core.errors import Misconfigured
    from clinic_mcp.migrations import upgrade
    from clinic_mcp.starter.load import load, starter_people

    try:
        settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as exc:
        raise Misconfigured(
            f"{settings.home} cannot be created ({exc.strerror}).", "Set CLINIC_HOME to a folder you own."
        ) from exc
    steps = {"signing key": "created" if ensure_signing_key(settings.keys) else "kept"}
    steps["checkpoint key"] = "created" if checkpoint_keys.ensure(settings.keys, origin_of(settings.id)) else "kept"
    _private_file(settings.url)
    database = Database(settings.url, create=True)
    try:
        upgrade(database)
        steps["database"] = "ready"
        log = AuditLog(database, Writer("init", settings.id, f"clinic-mcp/{settings.id}"), announce=False)
        with log.transaction() as transaction:
            connection = transaction.connection
            added: dict[str, int] = {"agents": _agents(connection, settings.id)}
            if demo:
                added |= load(connection, settings.id)
            people = [p["id"] for p in starter_people() if p["kind"] == "Clinician"] if demo else []
            credentials = [_credential(connection, settings, "clinic-agent", None)]
            credentials += [_credential(connection, settings, person, person) for person in people]
            if any(added.values()) or any(credentials):
                body = {"principal": _operator(settings.id), "added": {k: v for k, v in added.items() if v}}
                transaction.record(Draft(Phase.ADMIN, "clinic.initialised", uuid7(), body))
        Sequencer(settings, database).step()  # from now on, a log without a checkpoint is a truncated one
        steps |= {name: f"{count} added" if count else "kept" for name, count in added.items()}
        steps["credentials"] = f"{sum(credentials)} written" if any(credentials) else "kept"
    finally:
        database.close()
    return steps


def _private_file(url: str) -> None:
    """A new SQLite file is its owner's alone, whatever the folder's mode; its companions take over its mode."""
    from sqlalchemy import make_url

    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        with suppress(FileExistsError):
            os.close(os.open(parsed.database, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _agents(connection: Any, clinic_id: str) -> int:
    from sqlalchemy import insert, select

    from clinic_mcp.consultations.rows import AGENTS
    from clinic_mcp.core.clinic import agents

    known = set(connection.execute(select(agents.c.id)).scalars())
    missing = [agent for agent in AGENTS if agent not in known]
    for agent in missing:
        row = {"id": agent, "clinic_id": clinic_id, "role": agent, "active": True, "call_id": "init"}
        connection.execute(insert(agents), row)
    return len(missing)


def _credential(connection: Any, settings: Any, client_id: str, person: str | None) -> bool:
    """A key pair of which the client keeps the private half in a 0600 file and the clinic the public one."""
    from sqlalchemy import delete, insert, select

    from clinic_mcp.consultations.keys import CLIENT_AUDIENCE, new_key, public_part, write_secret
    from clinic_mcp.consultations.rows import AGENTS
    from clinic_mcp.core.clinic import clients

    path = settings.credentials / f"{client_id}.json"
    known = connection.execute(select(clients.c.id).where(clients.c.id == client_id)).first()
    if path.exists() and known is not None:
        return False
    key = new_key()
    document: dict[str, Any] = {"client_id": client_id}
    if person is None:
        document["agents"] = list(AGENTS)
    document |= {
        "token_endpoint": f"{settings.consultations_url.rstrip('/')}/oauth/token",
        "audience": CLIENT_AUDIENCE,
        "private_key": key,
    }
    if path.exists():  # the database is new and the file is not: the file's key stays the client's
        key = json.loads(path.read_text("utf-8"))["private_key"]
    elif known is not None:  # the file was lost; nobody holds the old key any more
        connection.execute(delete(clients).where(clients.c.id == client_id))
    row = {
        "id": client_id,
        "clinic_id": settings.id,
        "public_key": json.dumps(public_part(key)),
        "person_id": person,
        "agent_ids": "" if person else " ".join(AGENTS),
        "active": True,
        "call_id": "init",
    }
    connection.execute(insert(clients), row)
    write_secret(path, document)
    return True


def _operator(clinic_id: str) -> dict[str, str]:
    from clinic_mcp.core.who import operator_name

    return {"type": "Operator", "id": operator_name(), "clinic": clinic_id}
