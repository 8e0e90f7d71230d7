"""Is the log whole: what the last check found, and the checkpoints it holds to."""

from __future__ import annotations

from sqlalchemy import select
from starlette.responses import RedirectResponse, Response

from clinic_mcp.audit.models import checkpoints
from clinic_mcp.audit.review.visit import Visit

SHOWN = 20
"""Checkpoints listed, the newest first."""


def show(visit: Visit) -> Response:
    """What the last check found."""
    visit.record("integrity")
    with visit.parts.database.read() as connection:
        newest = connection.execute(select(checkpoints).order_by(checkpoints.c.id.desc()).limit(SHOWN)).all()
    return visit.page("integrity.html", checkpoints=newest)


def check(visit: Visit) -> Response:
    """Have the whole log read again."""
    visit.record("verify")
    visit.parts.checker.check_now()
    return RedirectResponse("/integrity", 303)
