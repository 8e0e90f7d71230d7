"""What the commands show: tables for people, JSON for programs, one sentence for what went wrong."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ParamSpec, TypeVar

import typer

P = ParamSpec("P")
R = TypeVar("R")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

EXIT_REFUSED = 1
"""The clinic's rules or data do not allow it."""
EXIT_CANNOT = 4
"""Something the command needs is missing or not reachable."""


def friendly(command: Callable[P, R]) -> Callable[P, R]:
    """Turn a refusal or failure into one sentence on stderr and an exit code; never a traceback."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        from pydantic import ValidationError
        from sqlalchemy.exc import SQLAlchemyError

        from clinic_mcp.core.db import cause
        from clinic_mcp.core.errors import AuditUnavailable, ClinicError, Misconfigured, Unavailable

        try:
            return command(*args, **kwargs)
        except ClinicError as exc:
            say(" ".join(filter(None, (exc.message, exc.advice))))
            cannot = isinstance(exc, Misconfigured | Unavailable | AuditUnavailable)
            raise typer.Exit(EXIT_CANNOT if cannot else EXIT_REFUSED) from exc
        except SQLAlchemyError as exc:
            say(f"The clinic's database is not ready ({cause(exc)}). Run `clinic-mcp init` for this data folder first.")
            raise typer.Exit(EXIT_CANNOT) from exc
        except ValidationError as exc:
            names = ", ".join(f"CLINIC_{str(error['loc'][0]).upper()}" for error in exc.errors() if error["loc"])
            say(f"These settings cannot be used: {names}.")
            raise typer.Exit(EXIT_CANNOT) from exc
        except PermissionError as exc:
            say(f"{exc.filename} cannot be written or read. Set CLINIC_HOME to a folder you own.")
            raise typer.Exit(EXIT_CANNOT) from exc
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None

    return run


def say(sentence: str) -> None:
    """A sentence for the person at the terminal, on stderr."""
    typer.secho(sentence, err=True, fg=None if os.environ.get("NO_COLOR") else "yellow")


def show_json(value: Any) -> None:
    """A value as JSON on stdout."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Rows as a table; plain where nobody looks."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if cell is None else str(cell), style=_STYLES.get(str(cell), "")) for cell in row))
    Console().print(table)


def show_record(title: str, record: Mapping[str, object]) -> None:
    """One thing, a field a line."""
    show_table(title, ("field", "value"), list(record.items()))


_STYLES = {
    "allow": "green",
    "ok": "green",
    "running": "green",
    "deny": "red",
    "error": "red",
    "unauthenticated": "red",
    "unknown": "yellow",
}
