"""How the questions ask and answer: their options, the read on the record, and tables of calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clinic_mcp.core.console import say, show_json, show_table

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from clinic_mcp.audit.questions.calls import Call, Page

Limit = Annotated[int, typer.Option(min=1, max=1_000, help="At most this many, the newest first.")]
Before = Annotated[int | None, typer.Option(min=1, max=2**63 - 1, help="Where the last page ended: its `more`.")]
BeforeRow = Annotated[str | None, typer.Option(help="Where the last page ended: its `more`.")]
Since = Annotated[str | None, typer.Option(help="From when on: ISO 8601, or 7d, 24h, 30m ago.")]
Until = Annotated[str | None, typer.Option(help="Until before when.")]
Patient = Annotated[str, typer.Argument(help="The patient's id, e.g. P001.")]


@contextmanager
def asked(question: str, about: Mapping[str, Any], patient: str | None = None) -> Iterator[Connection]:
    """A question to the log; it is on the record before anything is read.

    Args:
        question: Its name, e.g. `who`.
        about: What was asked; text somebody typed is kept only where it looks like an id.
        patient: The patient it is about.

    Raises:
        AuditUnavailable: It cannot be recorded, so nothing is read.
    """
    from clinic_mcp.audit.event import safe_id
    from clinic_mcp.audit.on_record import asking

    with asking("audit") as desk:
        kept = {name: safe_id(value) if isinstance(value, str) else value for name, value in about.items()}
        patients = [patient] if safe_id(patient) and patient is not None else []
        desk.record(f"audit.{question}", kept, patients)
        with desk.database.read() as connection:
            yield connection


def show_calls(title: str, found: Page, as_json: bool, more: Mapping[str, Any] | None = None) -> None:
    """A page of calls.

    Args:
        title: What they are.
        found: The page.
        as_json: Whether for a program.
        more: What else the JSON says.
    """
    if as_json:
        show_json({"calls": [vars(call) for call in found.calls], "more": found.more, **(more or {})})
        return
    rows = [
        (
            call.time[:19].replace("T", " "),
            _actor(call),
            call.tool or call.server,
            ", ".join(call.patients[:3]) + (" …" if len(call.patients) > 3 else ""),
            call.ended,
            " · ".join(filter(None, (*call.policies, call.reason))),
        )
        for call in found.calls
    ]
    show_table(f"{title}: {len(rows)}", ("time (UTC)", "who", "what", "patients", "ended", "why"), rows)
    say_more(found.more)


def show_rows(title: str, rows: Sequence[Mapping[str, Any]], more: int | str | None) -> None:
    """Rows as a table, and how to go on."""
    if rows:
        shown = [
            tuple(", ".join(map(str, cell)) if isinstance(cell, list) else cell for cell in row.values())
            for row in rows
        ]
        show_table(f"{title}: {len(rows)}", tuple(rows[0]), shown)
    else:
        say(f"{title}: none.")
    say_more(more)


def say_more(more: int | str | None) -> None:
    """How to see the next page, if there is one."""
    if more is not None:
        say(f"There are more: add --before {more}")


def _actor(call: Call) -> str:
    if call.agent is not None:
        return f"{call.agent} for {call.behalf}" if call.behalf else call.agent
    return call.who or f"somebody at {call.peer}"
