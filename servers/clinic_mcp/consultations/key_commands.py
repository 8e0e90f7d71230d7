"""`clinic-mcp keys …`: the key grants and tokens are signed with, and its successors."""

from __future__ import annotations

import typer

from clinic_mcp.core.console import AsJson, friendly, show_json, show_record, show_table

app = typer.Typer(no_args_is_help=True, help="The clinic's signing keys: list them, replace the one in use.")


@app.command()
@friendly
def rotate(as_json: AsJson = False) -> None:
    """Sign with a new key from now on; the old one still counts until the last token it signed has expired.

    No process has to be started again.
    """
    from dataclasses import asdict

    from clinic_mcp.consultations import rotation
    from clinic_mcp.consultations.operator import as_operator

    with as_operator() as operator:

        def record(made: rotation.Rotation) -> None:
            operator.log.append(operator.event("keys.rotated", keys=asdict(made)))

        made = rotation.rotate(operator.settings.keys, record)
    if as_json:
        show_json(asdict(made))
    else:
        show_record("Signing key replaced", {**asdict(made), "retires": _moment(made.retires)})


@app.command("list")
@friendly
def list_(as_json: AsJson = False) -> None:
    """List the published keys: the one that signs, and those that still count."""
    from dataclasses import asdict

    from clinic_mcp.consultations import rotation
    from clinic_mcp.core.settings import Settings

    keys = rotation.listed(Settings().keys)
    if as_json:
        show_json([asdict(key) for key in keys])
    else:
        rows = [(key.kid, key.state, _moment(key.retires)) for key in keys]
        show_table("Signing keys", ("kid", "state", "retires"), rows)


def _moment(seconds: int | None) -> str | None:
    from datetime import UTC, datetime

    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
