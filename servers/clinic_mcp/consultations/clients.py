"""The clinic's clients: programs that may act as agents, and the credentials they hold."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert, select, update

from clinic_mcp.consultations.keys import CLIENT_AUDIENCE, new_key, public_part, write_secret
from clinic_mcp.core.clinic import agents, clients
from clinic_mcp.core.errors import Conflict, InvalidArguments, Refused
from clinic_mcp.core.settings import Settings

CLIENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
"""What a client's id may be. It names a file: no separator, and no leading dot."""


@dataclass(frozen=True)
class Credential:
    """What a new client keeps, and what the clinic keeps of it.

    Args:
        path: The credential file.
        files: What is written to which file, each for its owner's eyes only.
        public_key: The public half of the client's key (JWK), or the empty text.
        secret_sha256: The SHA-256 of the client's secret in hex, or none.
    """

    path: Path
    files: Mapping[Path, Any]
    public_key: str
    secret_sha256: str | None

    @contextmanager
    def written(self) -> Iterator[None]:
        """Its files are there inside and after, unless something goes wrong inside.

        Raises:
            Conflict: A file is in the way.
            Misconfigured: A file cannot be written.
        """
        done: list[Path] = []
        try:
            for path, document in self.files.items():
                if not write_secret(path, document):
                    raise Conflict(f"{path} is in the way.", "Move it away, or choose another name.")
                done.append(path)
            yield
        except BaseException:
            for path in done:
                path.unlink(missing_ok=True)
            raise


def new_credential(
    settings: Settings, client_id: str, agent_ids: Sequence[str], secret_file: Path | None = None
) -> Credential:
    """A credential for a new client. Nothing is written yet.

    Args:
        settings: The operator's settings.
        client_id: The client's id.
        agent_ids: The agents it may act as.
        secret_file: Where its secret goes, 32 random bytes in base64url; none gives it a private key.

    Raises:
        InvalidArguments: The id cannot be one.
    """
    if not CLIENT_ID.fullmatch(client_id):
        raise InvalidArguments("A client's id is 1 to 64 letters, digits, dots, dashes, underscores and @.")
    path = settings.credentials / f"{client_id}.json"
    document: dict[str, Any] = {
        "client_id": client_id,
        "agents": list(agent_ids),
        "token_endpoint": f"{settings.consultations_url.rstrip('/')}/oauth/token",
        "audience": CLIENT_AUDIENCE,
    }
    if secret_file is None:
        key = new_key()
        return Credential(path, {path: document | {"private_key": key}}, json.dumps(public_part(key)), None)
    secret = base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
    files = {secret_file: secret + "\n", path: document | {"secret_file": str(secret_file.absolute())}}
    return Credential(path, files, "", hashlib.sha256(secret.encode()).hexdigest())


def add(
    connection: Connection,
    clinic_id: str,
    client_id: str,
    agent_ids: Sequence[str],
    credential: Credential,
    call_id: str,
) -> None:
    """Add a client.

    Args:
        connection: An open write transaction.
        clinic_id: The clinic.
        client_id: The new client's id.
        agent_ids: The agents it may act as.
        credential: What the clinic keeps of it goes into the row.
        call_id: What the row carries.

    Raises:
        Conflict: The client is there already.
        Refused: There is no such agent at this clinic.
    """
    if connection.execute(select(clients.c.id).where(clients.c.id == client_id)).first() is not None:
        raise Conflict("There is a client of that id.", "Choose another id; a revoked one is not given again.")
    known = select(agents.c.id).where(agents.c.clinic_id == clinic_id, agents.c.active)
    if set(agent_ids) - set(connection.execute(known).scalars()):
        raise Refused("There is no such agent at this clinic.")
    row = {
        "id": client_id,
        "clinic_id": clinic_id,
        "public_key": credential.public_key,
        "secret_sha256": credential.secret_sha256,
        "person_id": None,
        "agent_ids": " ".join(agent_ids),
        "active": True,
        "call_id": call_id,
    }
    connection.execute(insert(clients), row)


def revoke(connection: Connection, clinic_id: str, client_id: str, call_id: str) -> bool:
    """Take a client's credential out of force. Grants it already has live out their 15 minutes at most.

    Returns:
        Whether it was in force.

    Raises:
        Refused: There is no such client.
    """
    mine = (clients.c.id == client_id) & (clients.c.clinic_id == clinic_id)
    row = connection.execute(select(clients.c.active).where(mine)).first()
    if row is None:
        raise Refused("There is no such client at this clinic.")
    if row.active:
        connection.execute(update(clients).where(mine).values(active=False, call_id=call_id))
    return bool(row.active)


def listed(connection: Connection, clinic_id: str) -> list[dict[str, Any]]:
    """The clinic's clients; nothing of their credentials but their kind."""
    rows = connection.execute(select(clients).where(clients.c.clinic_id == clinic_id).order_by(clients.c.id))
    return [
        {
            "id": row.id,
            "credential": "secret" if row.secret_sha256 else "private key",
            "agents": row.agent_ids.split(),
            "person": row.person_id,
            "active": bool(row.active),
        }
        for row in rows
    ]
