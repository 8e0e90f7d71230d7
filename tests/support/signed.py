"""A clinic with a day on record: calls, refusals and writes under several checkpoints, and a witness outside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from clinic_mcp.audit import keys, tree
from clinic_mcp.audit.findings import Report
from clinic_mcp.audit.models import leaves, nodes
from clinic_mcp.audit.verify import verify
from clinic_mcp.registry import SERVERS
from sqlalchemy import delete

from support.calls import EXPECTED, NOTES
from support.clinic import Clinic
from support.servers import connected


def work(clinic: Clinic) -> str:
    """A consultation, read, refused, signed off and prescribed; its session id."""
    session = clinic.consult(notes=NOTES)
    for server in ("patient-records", "prescriptions"):
        with connected(clinic, server, "stdio") as caller:
            for tool, row in EXPECTED.items():
                if row.server == server:
                    token = row.right(clinic, session)
                    assert caller.call(tool, row.own(clinic, session), token).code == "ok"
            if server == "patient-records":
                token = clinic.tokens.grant(session, "intake_agent", audience=server)
                assert caller.call("get_patient_record", {"patient_id": "P002"}, token).code == "refused"
    return session


def sign(clinic: Clinic) -> dict[str, Any]:
    """Sequence what is pending and sign it; the witness hears of it."""
    shown: dict[str, Any] = json.loads(
        clinic.run("audit", "sequence", "--json", CLINIC_WITNESS=str(witness_of(clinic))).stdout
    )
    return shown


def witness_of(clinic: Clinic) -> Path:
    return clinic.home.parent / f"{clinic.home.name}-witness.txt"


def report(clinic: Clinic, **more: Any) -> Report:
    """What verification finds, in this process."""
    pinned = list(keys.pinned(clinic.settings.keys / keys.PUBLIC))
    written = {table.name: table for load in SERVERS.values() for table in load().writes}
    with clinic.database() as database, database.read() as connection:
        return verify(connection, pinned, effects=list(written.values()), **more)


def regrow(clinic: Clinic) -> None:
    """Grow the tree anew over whatever the events are now, as somebody who rewrites the log does. Triggers are gone."""
    with clinic.database() as database, database.write() as connection:
        size = tree.size(connection)
        connection.execute(delete(leaves))
        connection.execute(delete(nodes))
        tree.grow(connection, tree.pending(connection, size, sqlite=True))
