"""`clinic-mcp audit verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clinic_mcp.audit.reading import KeyFile, counting, reading, trusted_keys
from clinic_mcp.core.console import AsJson, friendly, say, show_json, show_record

if TYPE_CHECKING:
    from clinic_mcp.audit.findings import Report
    from clinic_mcp.audit.note import Verifier
    from clinic_mcp.audit.witness import Outside


@friendly
def verify(
    witness: Annotated[
        Path | None, typer.Option(help="File with checkpoints that were kept elsewhere: the log must agree with each.")
    ] = None,
    since: Annotated[
        Path | None, typer.Option(help="File with an earlier checkpoint: read in full only what came after it.")
    ] = None,
    export: Annotated[Path | None, typer.Option(help="Check an export in this folder instead of the database.")] = None,
    vkey: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Check that nothing in the log was altered, removed or reordered.

    Exit: 0 whole, 1 altered, 2 truncated or rolled back, 3 incomplete or in doubt, 4 cannot check.
    """
    from clinic_mcp.core.errors import Misconfigured

    if export is not None and since is not None:
        raise Misconfigured("An export is always read in full: leave out --since.")
    report = _exported(export, vkey, witness) if export is not None else _kept(trusted_keys(vkey), witness, since)
    shown: dict[str, Any] = {
        "verdict": report.verdict.name.lower(),
        "events": report.events,
        "writers": report.writers,
        "checkpoints": report.checkpoints,
        "covered": report.covered,
        "uncovered": report.uncovered,
        "witnessed": report.witnessed,
        "purged": report.purged,
        "problem": report.problem,
        "event_id": report.event_id,
        "in_doubt": report.in_doubt,
    }
    if as_json:
        show_json(shown)
    else:
        show_record(
            "Audit log",
            {key: value for key, value in shown.items() if value not in (None, []) and (key, value) != ("purged", 0)},
        )
        if report.uncovered:
            say(
                f"The newest {report.uncovered} event(s) are under no checkpoint yet: if the last of them had been"
                " removed, nothing would show it."
            )
    raise typer.Exit(int(report.verdict))


def _kept(pinned: list[Verifier], witness: Path | None, since: Path | None) -> Report:
    from sqlalchemy import func, select

    from clinic_mcp.audit import guards
    from clinic_mcp.audit.findings import Verdict
    from clinic_mcp.audit.models import events
    from clinic_mcp.audit.verify import verify as check
    from clinic_mcp.audit.witness import one
    from clinic_mcp.registry import SERVERS

    outside = _outside(witness, pinned)
    start = None if since is None else one(since)
    written = {table.name: table for load in SERVERS.values() for table in load().writes}
    asked = {"command": "verify", "since": None if start is None else start.checkpoint.size}
    with reading(asked) as connection:
        total = connection.execute(select(func.count()).select_from(events)).scalar_one()
        with counting("Verifying the audit log", total if start is None else None) as progress:
            report = check(
                connection,
                pinned,
                outside=outside,
                since=start,
                effects=list(written.values()),
                details=start is None,
                progress=progress,
            )
        unguarded = guards.problem(connection)
    if report.verdict is Verdict.WHOLE and unguarded:
        report.verdict = Verdict.IN_DOUBT
        report.problem = f"{unguarded} Nothing was found altered."
    return report


def _exported(folder: Path, vkey: Path | None, witness: Path | None) -> Report:
    from clinic_mcp.audit import keys
    from clinic_mcp.audit.export import ExportSource
    from clinic_mcp.audit.findings import Found, Report
    from clinic_mcp.audit.verify import verify_source
    from clinic_mcp.core.settings import Settings

    own = Settings().keys / keys.PUBLIC
    if vkey is None and not own.exists():
        say(f"The keys are those of the export itself ({folder / keys.PUBLIC}). Name those you trust: --vkey FILE.")
        vkey = folder / keys.PUBLIC
    pinned = trusted_keys(vkey)
    try:
        source = ExportSource(folder)
    except Found as found:
        return Report(found.verdict, problem=str(found))
    outside = _outside(witness, pinned, source.manifest["origin"])
    with counting("Verifying the export", source.manifest["count"]) as progress:
        return verify_source(source, pinned, outside=outside, progress=progress)


def _outside(witness: Path | None, pinned: list[Verifier], origin: str | None = None) -> list[Outside]:
    from clinic_mcp.audit.checkpoint import origin_of
    from clinic_mcp.audit.witness import outside
    from clinic_mcp.core.settings import Settings

    return [] if witness is None else outside(witness, pinned, origin or origin_of(Settings().id))
