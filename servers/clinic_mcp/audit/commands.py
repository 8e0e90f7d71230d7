"""`clinic-mcp audit …`: what the auditor asks. Looking is recorded too."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from clinic_mcp.audit import proof_commands, tree_commands, verify_command
from clinic_mcp.audit.exports import commands as export_commands
from clinic_mcp.audit.reading import reading
from clinic_mcp.core.console import AsJson, friendly, show_json, show_table

app = typer.Typer(no_args_is_help=True, help="Read, verify, sign and prove the audit log.")


@app.command("list")
@friendly
def list_events(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many events, the newest.")] = 50,
    patient: Annotated[str | None, typer.Option(help="Only events about this patient.")] = None,
    session: Annotated[str | None, typer.Option(help="Only events of this consultation.")] = None,
    decision: Annotated[str | None, typer.Option(help="Only `allow` or `deny`.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the newest events, oldest of them first."""
    from sqlalchemy import or_, select

    from clinic_mcp.audit.models import event_patients, events

    query = select(events).order_by(events.c.id.desc()).limit(limit)
    if patient:
        about = select(event_patients.c.event_id).where(event_patients.c.patient_id == patient)
        query = query.where(or_(events.c.patient == patient, events.c.event_id.in_(about)))
    if session:
        query = query.where(events.c.consultation == session)
    if decision:
        query = query.where(events.c.decision == decision)
    asked = {"command": "list", "patient": patient, "consultation": session, "decision": decision}
    with reading(asked, patient) as connection:
        rows = list(reversed(connection.execute(query).all()))
    if as_json:
        show_json([json.loads(row.leaf) for row in rows])
        return
    show_table(
        f"Audit log: {len(rows)} events",
        ("time", "who", "session", "what", "decision", "policies"),
        [
            (
                row.recorded[11:19],
                row.agent or row.principal,
                (row.consultation or "")[-6:],
                f"{row.code} {row.tool}" if row.tool else row.code,
                row.decision or row.outcome,
                row.policies,
            )
            for row in rows
        ],
    )


app.command("verify")(verify_command.verify)
app.command("sequence")(tree_commands.sequence)
app.command("checkpoint")(tree_commands.checkpoint)
app.command("rotate-key")(tree_commands.rotate_key)
app.command("prove")(proof_commands.prove)
app.command("verify-proof")(proof_commands.verify_proof)
app.command("export")(export_commands.export)
