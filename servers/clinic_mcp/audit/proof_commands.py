"""`clinic-mcp audit prove|verify-proof`: parts of the log that stand without it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clinic_mcp.audit.reading import KeyFile, reading, trusted_keys
from clinic_mcp.core.console import EXIT_CANNOT, AsJson, friendly, say, show_json, show_record

if TYPE_CHECKING:
    from clinic_mcp.audit.findings import Found


@friendly
def prove(
    event: Annotated[str, typer.Argument(help="The event's id.")],
    out: Annotated[Path | None, typer.Option(help="File for the proof, e.g. EVENT.tlog-proof; else printed.")] = None,
    leaf: Annotated[Path | None, typer.Option(help="File for the event's bytes, which the proof is of.")] = None,
) -> None:
    """Write the proof that one event is in the log, to be checked without the database (c2sp.org/tlog-proof@v1).

    Exit: 0 written, 1 the tree was damaged, 3 not under a checkpoint yet, 4 no such event.
    """
    from clinic_mcp.audit.findings import Found
    from clinic_mcp.audit.proof import prove as make

    with reading({"command": "prove", "event": event[:36]}) as connection:
        try:
            proof, content = make(connection, event)
        except Found as found:
            raise _said(found) from found
    if leaf is not None:
        _write(leaf, content)
    if out is None:
        typer.echo(str(proof), nl=False)
    else:
        _write(out, str(proof).encode())


@friendly
def verify_proof(
    proof: Annotated[Path, typer.Argument(help="The proof, a .tlog-proof file.")],
    event: Annotated[Path, typer.Option("--event", help="The event's bytes, as `audit prove --leaf` writes them.")],
    vkey: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Check a proof, without a database. Exit: 0 it holds, 1 it does not, 4 cannot check."""
    from clinic_mcp.audit.findings import Found
    from clinic_mcp.audit.proof import parse

    known = trusted_keys(vkey)
    try:
        text, leaf = proof.read_text("utf-8"), event.read_bytes()
    except (OSError, UnicodeDecodeError) as exc:
        say(f"{getattr(exc, 'filename', None) or proof} cannot be read.")
        raise typer.Exit(EXIT_CANNOT) from exc
    try:
        parsed = parse(text)
        under = parsed.check(leaf, known)
    except Found as found:
        raise _said(found) from found
    shown = {"holds": True, "log": under.origin, "index": parsed.index, "size": under.size, "root": under.root64}
    if as_json:
        show_json(shown)
    else:
        show_record("The event is in the log", shown)


def _said(found: Found) -> typer.Exit:
    say(str(found))
    return typer.Exit(int(found.verdict))


def _write(path: Path, content: bytes) -> None:
    """A new file of its owner's alone: events name patients."""
    from clinic_mcp.core.errors import Misconfigured

    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
    except OSError as exc:
        raise Misconfigured(f"{path} cannot be written ({exc.strerror}).", "Name a new file.") from exc
