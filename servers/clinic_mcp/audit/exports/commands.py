"""`clinic-mcp audit report csv|fhir|ocsf FILE`: a period of the log for people and programs that read other formats."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clinic_mcp.core.console import AsJson, friendly, show_json, show_record
from clinic_mcp.core.period import start_of

app = typer.Typer(no_args_is_help=True, help="Write a period of the log as CSV, FHIR AuditEvents or OCSF events.")

File = Annotated[Path, typer.Argument(help="The file to write; one that exists is not overwritten.")]
Since = Annotated[str | None, typer.Option(help="From when on: ISO 8601, or 7d, 24h, 30m ago.")]
Until = Annotated[str | None, typer.Option(help="Until before when.")]


@app.command("csv")
@friendly
def csv_(file: File, since: Since = None, until: Until = None, as_json: AsJson = False) -> None:
    """One line a call, for a spreadsheet."""
    _export("csv", file, since, until, as_json)


@app.command()
@friendly
def fhir(file: File, since: Since = None, until: Until = None, as_json: AsJson = False) -> None:
    """FHIR R4 AuditEvents in the shape of IHE BALP, one line for each patient of a call (NDJSON)."""
    _export("fhir", file, since, until, as_json)


@app.command()
@friendly
def ocsf(file: File, since: Since = None, until: Until = None, as_json: AsJson = False) -> None:
    """OCSF API Activity events, one line a call, for a SIEM."""
    _export("ocsf", file, since, until, as_json)


def _export(kind: str, file: Path, since: str | None, until: str | None, as_json: bool) -> None:
    from rich.console import Console
    from rich.progress import Progress, TextColumn, TimeElapsedColumn

    from clinic_mcp.audit.exports.write import export
    from clinic_mcp.audit.on_record import asking
    from clinic_mcp.audit.questions.calls import every

    period = {"since": start_of(since), "until": start_of(until)}
    columns = (TextColumn("{task.description}"), TextColumn("{task.completed} calls"), TimeElapsedColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    with asking("audit") as desk, bar:
        desk.record(f"audit.report.{kind}", period)
        task = bar.add_task(f"Writing {file.name}", total=None)
        with desk.database.read() as connection:
            manifest = export(
                every(connection, **period),
                file,
                kind,
                clinic=desk.settings.id,
                period=period,
                progress=lambda count: bar.update(task, completed=count),
            )
    if as_json:
        show_json(manifest)
    else:
        show_record(f"{file} and {file.name}.manifest.json", manifest)
