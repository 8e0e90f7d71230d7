"""A bare SDK server with the same query and nothing else: what ours is measured against."""

from __future__ import annotations

import sys
from typing import Any

from mcp.server.mcpserver import MCPServer
from sqlalchemy import create_engine, event, text

PATIENT = text("SELECT id, name, birth_date, blood_type, allergy_status FROM patients WHERE id = :patient")
ALLERGIES = text("SELECT substance FROM allergy_intolerances WHERE patient_id = :patient ORDER BY id")


def build_server(database: str) -> MCPServer[Any]:
    engine = create_engine(f"sqlite:///{database}", connect_args={"check_same_thread": False})
    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA journal_mode=WAL"))
    mcp: MCPServer[Any] = MCPServer("bare", log_level="WARNING")

    @mcp.tool()
    def get_patient_record(patient_id: str) -> dict[str, Any]:
        """Fetch a patient's basic record."""
        with engine.connect() as connection:
            row = connection.execute(PATIENT, {"patient": patient_id}).one()
            allergies = connection.execute(ALLERGIES, {"patient": patient_id}).scalars().all()
        return {
            "id": row.id,
            "name": row.name,
            "dob": row.birth_date,
            "blood_type": row.blood_type,
            "allergies": ", ".join(allergies),
        }

    return mcp


if __name__ == "__main__":
    server = build_server(sys.argv[1])
    if sys.argv[2] == "stdio":
        server.run("stdio")
    else:
        server.run("streamable-http", port=int(sys.argv[3]), stateless_http=True, json_response=True)
