"""`clinic-mcp audit review` and `audit verdict`: the page, and a verdict for who has no browser."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from clinic_mcp.core.console import AsJson, friendly, say, show_json
from clinic_mcp.core.who import operator_name


class VerdictWord(StrEnum):
    JUSTIFIED = "justified"
    NOT_JUSTIFIED = "not-justified"


def register(app: typer.Typer) -> None:
    """Add them to the `audit` commands."""
    app.command("review")(review)
    app.command("verdict")(verdict)


@friendly
def review(
    host: Annotated[
        str, typer.Option(help="Address to bind; anything but loopback needs CLINIC_ALLOWED_HOSTS.")
    ] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to bind; 8110 without it.")] = None,
) -> None:
    """Run the auditor's review page until it is told to stop.

    Sign in with a token of `clinic-mcp token issue --as AUDITOR --server review`, or the clinic's OpenID provider.
    """
    from clinic_mcp.audit.review.run import run
    from clinic_mcp.core.settings import DEFAULT_PORTS, REVIEW, Settings

    chosen = DEFAULT_PORTS[REVIEW] if port is None else port
    say(f"The review page is at http://{host}:{chosen}/ (Ctrl-C stops it).")
    run(Settings(), host, chosen)


@friendly
def verdict(
    item: Annotated[str, typer.Argument(help="The review item, e.g. V-0123456789abcdef, or what it is about.")],
    word: Annotated[VerdictWord, typer.Argument(metavar="VERDICT", help="justified or not-justified.")],
    reason: Annotated[str, typer.Option(help="Why, in a sentence; the log keeps a commitment to it only.")],
    as_json: AsJson = False,
) -> None:
    """Give the verdict on an emergency access or an overridden guardrail. It is given once, and on the record."""
    from clinic_mcp.audit.event import Writer
    from clinic_mcp.audit.log import AuditLog
    from clinic_mcp.audit.verdicts import Reviewer, give
    from clinic_mcp.core.db import Database
    from clinic_mcp.core.settings import Settings

    settings = Settings()
    principal = {"type": "Operator", "id": operator_name(), "clinic": settings.id}
    database = Database(settings.url)
    log = AuditLog(database, Writer("audit", settings.id, f"clinic-mcp/{settings.id}"), announce=False)
    try:
        give(log, settings.id, item, word.value.replace("-", "_"), reason, Reviewer(principal))
    finally:
        log.close()
        database.close()
    if as_json:
        show_json({"item": item, "verdict": word.value.replace("-", "_")})
    else:
        say(f"{item}: {word.value}.")
