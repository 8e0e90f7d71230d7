"""Reading the log from the terminal: who looked is on the record before anything is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from clinic_mcp.core.who import operator_name

if TYPE_CHECKING:
    from clinic_mcp.audit.note import Verifier

Item = TypeVar("Item")

KeyFile = Annotated[
    Path | None,
    typer.Option("--vkey", help="File with the public keys to trust, one a line; without it, the clinic's own."),
]


@contextmanager
def reading(asked: dict[str, Any], patient: str | None = None) -> Iterator[Any]:
    """A read of the log by whoever sits at the machine.

    Args:
        asked: The `command`, and what it was asked.
        patient: The patient it is about, if it is about one.

    Raises:
        AuditUnavailable: The read cannot be recorded, so there is none.
    """
    from clinic_mcp.audit.event import Draft, Phase, Writer, safe_id, uuid7
    from clinic_mcp.audit.log import AuditLog
    from clinic_mcp.core.db import Database
    from clinic_mcp.core.settings import Settings

    settings = Settings()
    database = Database(settings.url)
    try:
        log = AuditLog(database, Writer("audit", settings.id, f"clinic-mcp/{settings.id}"), announce=False)
        # Text somebody typed is kept only where it looks like an id.
        kept = {name: safe_id(value) if isinstance(value, str) else value for name, value in asked.items()}
        body = {
            "principal": {"type": "Operator", "id": operator_name(), "clinic": settings.id},
            "asked": {key: value for key, value in kept.items() if value is not None},
        }
        patients = (patient,) if patient is not None and safe_id(patient) else ()
        log.append(Draft(Phase.AUDIT_READ, f"audit.{asked['command']}", uuid7(), body, patients))
        with database.read() as connection:
            yield connection
    finally:
        database.close()


def trusted_keys(file: Path | None) -> list[Verifier]:
    """The public keys to check checkpoints with, the oldest first.

    Raises:
        Misconfigured: They cannot be read.
    """
    from clinic_mcp.audit import keys
    from clinic_mcp.core.settings import Settings

    return list(keys.pinned(file or Settings().keys / keys.PUBLIC))


@contextmanager
def counting(
    what: str, total: int | None = None, unit: str = "events", leave: Callable[[], None] = lambda: None
) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr, gone when done; plain where nobody looks.

    Args:
        what: What is being done.
        total: How many there are, if that is known.
        unit: What is counted.
        leave: Called at every count; may raise.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}" + (f" of {total} {unit}" if total is not None else f" {unit}")),
        TimeElapsedColumn(),
        *([TimeRemainingColumn()] if total is not None else []),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)

        def count(done: int) -> None:
            leave()
            bar.update(task, completed=done)

        yield count


def each(items: Iterable[Item], progress: Callable[[int], None]) -> Iterator[Item]:
    """The items, counted as they pass.

    Args:
        items: Of them.
        progress: Called with how many have passed, now and then and at the end.
    """
    count = 0
    for item in items:
        count += 1
        if count % 500 == 0:
            progress(count)
        yield item
    progress(count)
