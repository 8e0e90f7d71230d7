"""`clinic-mcp audit ropa`: the record of processing activities, as JSON or as a page to print."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from clinic_mcp.core.console import AsJson, friendly, show_json
from clinic_mcp.core.period import start_of

HEADINGS = {
    "a_controller": "(a) Controller",
    "b_purposes": "(b) Purposes",
    "c_categories": "(c) Categories of people and of personal data",
    "d_recipients": "(d) Recipients",
    "e_transfers": "(e) Transfers to third countries",
    "f_time_limits": "(f) Time limits for erasure",
    "g_measures": "(g) Technical and organisational measures (Article 32(1))",
}


@friendly
def ropa(
    since: Annotated[str | None, typer.Option(help="Count the log from when on: ISO 8601, or 365d ago.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown; the default but for --json.")] = False,
    as_json: AsJson = False,
) -> None:
    """The record of processing activities (GDPR, Article 30(1)), from what this installation is and did."""
    from clinic_mcp.audit.on_record import asking
    from clinic_mcp.audit.retention.ropa import report

    if markdown and as_json:
        raise typer.BadParameter("Markdown or JSON, not both.")
    start = start_of(since)
    with asking("audit") as desk:
        desk.record("audit.ropa", {"since": start})
        with desk.database.read() as connection:
            found = report(connection, desk.settings, start)
    if as_json:
        show_json(found)
    else:
        typer.echo("\n".join(page(found)))


def page(found: dict[str, Any]) -> Iterator[str]:
    """The report as Markdown, line by line."""
    period = found["period"]
    yield "# Record of processing activities (GDPR, Article 30(1))"
    yield ""
    yield f"Clinic `{found['clinic']}`, made {found['made']}. Counted from {period['since']} to {period['until']}."
    for key, heading in HEADINGS.items():
        yield f"\n## {heading}\n"
        yield from _part(found[key])


def _part(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        yield from _table(value)
        return
    for name, item in value.items():
        if isinstance(item, list) and item and isinstance(item[0], dict):
            yield f"\n{_words(name)}:\n"
            yield from _table(item)
            yield ""
        else:
            yield f"- {_words(name)}: {_text(item)}"


def _table(rows: list[dict[str, Any]]) -> Iterator[str]:
    if not rows:
        yield "None on record."
        return
    yield "| " + " | ".join(rows[0]) + " |"
    yield "|" + "---|" * len(rows[0])
    yield from ("| " + " | ".join(_text(cell) for cell in row.values()) + " |" for row in rows)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{_words(name)} {_text(item)}" for name, item in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(str(item) for item in value) or "none"
    if value is None:
        return "none"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value).replace("|", "\\|")


def _words(name: str) -> str:
    return name.replace("_", " ")
