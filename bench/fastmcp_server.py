"""The same query behind FastMCP 4, in an environment of its own."""

from __future__ import annotations

import sys
from typing import Any

from fastmcp import FastMCP
from sqlalchemy import create_engine, event, text

PATIENT = text("SELECT id, name, birth_date, blood_type, allergy_status FROM patients WHERE id = :patient")
ALLERGIES = text("SELECT substance FROM allergy_intolerances WHERE patient_id = :patient ORDER BY id")

engine = create_engine(f"sqlite:///{sys.argv[1]}", connect_args={"check_same_thread": False})
event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA journal_mode=WAL"))
mcp: FastMCP[Any] = FastMCP("fastmcp")


@mcp.tool
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


if __name__ == "__main__":
    if sys.argv[2] == "stdio":
        mcp.run("stdio", show_banner=False)
    else:
        options = {"stateless_http": True, "json_response": True, "show_banner": False, "log_level": "warning"}
        mcp.run("http", port=int(sys.argv[3]), **options)
