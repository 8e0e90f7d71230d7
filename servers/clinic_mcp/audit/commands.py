"""`clinic-mcp audit …`: what the auditor asks. Looking is recorded too."""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from clinic_mcp.core.console import AsJson, friendly, show_json, show_record, show_table

app = typer.Typer(no_args_is_help=True, help="Read and verify the audit log.")


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
    with _reading(asked, patient) as connection:
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


@app.command()
@friendly
def verify(as_json: AsJson = False) -> None:
    """Check that nothing in the log was altered, removed or reordered. Exit: 0 whole, 1 altered, 3 in doubt."""
    from rich.console import Console
    from rich.progress import Progress, TextColumn, TimeElapsedColumn

    from clinic_mcp.audit.verify import verify as check

    columns = (TextColumn("{task.description}"), TextColumn("{task.completed} events"), TimeElapsedColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    with _reading({"command": "verify"}) as connection, bar:
        task = bar.add_task("Verifying the audit log", total=None)
        report = check(connection, lambda count: bar.update(task, completed=count))
    shown: dict[str, Any] = {
        "verdict": report.verdict.name.lower(),
        "events": report.events,
        "writers": report.writers,
        "problem": report.problem,
        "event_id": report.event_id,
        "in_doubt": report.in_doubt,
    }
    if as_json:
        show_json(shown)
    else:
        show_record("Audit log", {key: value for key, value in shown.items() if value not in (None, [])})
    raise typer.Exit(int(report.verdict))


@contextmanager
def _reading(asked: dict[str, Any], patient: str | None = None) -> Iterator[Any]:
    """A read of the log by whoever sits at the machine; the read is on the record before anything is shown."""
    from clinic_mcp.audit.event import Draft, Phase, Writer, uuid7
    from clinic_mcp.audit.log import AuditLog
    from clinic_mcp.core.db import Database
    from clinic_mcp.core.settings import Settings

    settings = Settings()
    database = Database(settings.url)
    try:
        log = AuditLog(database, Writer("audit", settings.id, f"clinic-mcp/{settings.id}"), announce=False)
        body = {
            "principal": {"type": "Operator", "id": getpass.getuser(), "clinic": settings.id},
            "asked": {key: value for key, value in asked.items() if value is not None},
        }
        log.append(Draft(Phase.AUDIT_READ, f"audit.{asked['command']}", uuid7(), body, (patient,) if patient else ()))
        with database.read() as connection:
            yield connection
    finally:
        database.close()
