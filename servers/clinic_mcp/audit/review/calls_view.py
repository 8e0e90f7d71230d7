"""The calls: one line each, filtered, page by page, and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from starlette.responses import Response, StreamingResponse

from clinic_mcp.audit.exports import table
from clinic_mcp.audit.questions.calls import page
from clinic_mcp.audit.review import filters
from clinic_mcp.audit.review.filters import Filter
from clinic_mcp.audit.review.visit import Parts, Visit
from clinic_mcp.core.errors import InvalidArguments

CSV_PAGE = 500
"""Calls of a CSV file read at a time, each lot in a transaction of its own: a slow download holds none open."""
PRINTED = 500
"""Calls on a printed page."""


def show(visit: Visit) -> Response:
    """The calls that a filter finds."""
    try:
        wanted = filters.read(visit.request.query_params, visit.tools)
    except InvalidArguments as bad:
        return visit.message("calls.html", 400, filter=Filter(), calls=[], more=None, tools=visit.tools, fault=bad)
    visit.record("calls", wanted.asked, wanted.patients)
    limit = PRINTED if visit.request.query_params.get("print") == "1" else filters.PAGE
    with visit.parts.database.read() as connection:
        found = page(
            connection,
            wanted.conditions,
            limit=limit,
            before=wanted.before,
            phases=wanted.phases,
            **wanted.period,
        )
    return visit.page("calls.html", filter=wanted, calls=found.calls, more=found.more, tools=visit.tools, fault=None)


def download(visit: Visit) -> Response:
    """The same calls as a CSV file, streamed."""
    wanted = filters.read(visit.request.query_params, visit.tools)
    visit.record("csv", wanted.asked, wanted.patients)
    name = f"calls-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.csv"
    disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(_lines(visit.parts, wanted), media_type="text/csv; charset=utf-8", headers=disposition)


def _lines(parts: Parts, wanted: Filter) -> Iterator[str]:
    yield _csv([table.COLUMNS])
    before, period = wanted.before, wanted.period
    while True:
        with parts.database.read() as connection:
            found = page(connection, wanted.conditions, limit=CSV_PAGE, before=before, phases=wanted.phases, **period)
        yield _csv([table.row(call) for call in found.calls])
        if found.more is None:
            return
        before = found.more


def _csv(rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue()
