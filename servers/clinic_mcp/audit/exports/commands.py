"""`clinic-mcp audit export csv|jsonl|fhir|ocsf TARGET`: the log for people and programs that read other forms."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clinic_mcp.core.console import AsJson, friendly, say, show_json, show_record
from clinic_mcp.core.period import start_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from clinic_mcp.core.settings import Settings


class Form(StrEnum):
    """What an export is written as."""

    CSV = "csv"
    JSONL = "jsonl"
    FHIR = "fhir"
    OCSF = "ocsf"


@friendly
def export(
    form: Annotated[Form, typer.Argument(help="For a spreadsheet, a FHIR server, a SIEM; jsonl is the log itself.")],
    target: Annotated[Path, typer.Argument(help="A new file; for jsonl a new folder.")],
    since: Annotated[str | None, typer.Option(help="From when on: ISO 8601, or 7d, 24h, 30m ago.")] = None,
    until: Annotated[str | None, typer.Option(help="Until before when.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write the log's calls to a file, or with jsonl the whole log to a folder.

    csv: one line a call. fhir: R4 AuditEvents in the shape of IHE BALP, one line for each patient of a call. ocsf: API
    Activity events, one line a call. Each with FILE.manifest.json beside it. jsonl: what `audit verify --export` checks
    anywhere. All of them name patients by id.
    """
    from clinic_mcp.audit.exports.whole import told_to_stop
    from clinic_mcp.audit.on_record import asking

    if form is Form.JSONL and (since, until) != (None, None):
        raise typer.BadParameter("A part of the log cannot be verified: jsonl is always all of it.")
    period = {"since": start_of(since), "until": start_of(until)}
    with asking("audit") as desk, told_to_stop() as leave:
        desk.record("audit.export", {"form": form.value, **period})
        with desk.database.read() as connection:
            if form is Form.JSONL:
                manifest = _log(connection, desk.settings, target, leave)
            else:
                manifest = _calls(connection, desk.settings, form, target, period, leave)
    if as_json:
        show_json(manifest)
    else:
        shown = {name: value for name, value in manifest.items() if name not in ("files", "checkpoint")}
        show_record(f"{target}", {**shown, "under a checkpoint": "yes" if manifest["checkpoint"] else "no"})


def _calls(
    connection: Connection,
    settings: Settings,
    form: Form,
    target: Path,
    period: dict[str, str | None],
    leave: Callable[[], None],
) -> dict[str, Any]:
    from clinic_mcp.audit import tree
    from clinic_mcp.audit.checkpoint import origin_of
    from clinic_mcp.audit.exports.write import export as write
    from clinic_mcp.audit.questions.calls import every
    from clinic_mcp.audit.questions.counts import counts
    from clinic_mcp.audit.reading import counting, each

    newest = tree.latest_checkpoint(connection)
    total = counts(connection, period["since"], period["until"]).calls
    with counting(f"Writing {target.name}", total, "calls", leave) as progress:
        return write(
            each(every(connection, since=period["since"], until=period["until"]), progress),
            target,
            form.value,
            clinic=settings.id,
            origin=origin_of(settings.id),
            period=period,
            checkpoint=None if newest is None else newest.note,
        )


def _log(connection: Connection, settings: Settings, target: Path, leave: Callable[[], None]) -> dict[str, Any]:
    from sqlalchemy import func, select

    from clinic_mcp.audit import keys
    from clinic_mcp.audit.checkpoint import origin_of
    from clinic_mcp.audit.export import write
    from clinic_mcp.audit.findings import Found
    from clinic_mcp.audit.models import events
    from clinic_mcp.audit.reading import counting
    from clinic_mcp.audit.source import DatabaseSource
    from clinic_mcp.core.errors import Misconfigured

    try:
        public = (settings.keys / keys.PUBLIC).read_text("utf-8")
    except OSError as exc:
        raise Misconfigured("The public keys for checkpoints cannot be read.", "Run `clinic-mcp init`.") from exc
    total = connection.execute(select(func.count()).select_from(events)).scalar_one()
    with counting(f"Writing {target.name}", total, leave=leave) as progress:
        try:
            return write(DatabaseSource(connection), target, origin_of(settings.id), public, progress)
        except Found as found:
            say(str(found))
            raise typer.Exit(int(found.verdict)) from found
