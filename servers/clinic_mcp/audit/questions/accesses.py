"""What people did beyond the ordinary: emergency accesses and overridden guardrails, with the verdict of their review.

Their pages go on after the moment and the row where the last one ended, as `moment~row`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, column, func, or_, select, table

from clinic_mcp.audit.models import events
from clinic_mcp.core.clinic import guardrail_overrides, review_items
from clinic_mcp.core.errors import InvalidArguments

_PLACE = re.compile(r"(\d{4}-\d\d-\d\dT[\d:.]{8,15}Z)~([A-Za-z0-9-]{1,64})")

# The columns by name, because the table is another part's and this one reads it only.
emergency_access = table(
    "emergency_access",
    *(column(name) for name in ("id", "patient_id", "clinician_id", "reason_code", "granted_at", "expires_at")),
)


@dataclass(frozen=True)
class Rows:
    """Rows, the newest first, and where the next page begins, if there is one."""

    rows: list[dict[str, Any]]
    more: str | None


def emergency_accesses(
    connection: Connection,
    *,
    limit: int,
    before: str | None = None,
    since: str | None = None,
    until: str | None = None,
) -> Rows:
    """Emergency accesses: whose record, by whom, why, until when, how often it was used, and what the review said.

    Args:
        connection: An open read transaction.
        limit: Rows at most.
        before: Only rows after which the last page ended: its `more`.
        since: ISO 8601, from when on.
        until: ISO 8601, until before when.

    Raises:
        InvalidArguments: `before` is no page's `more`.
    """
    access = emergency_access
    used = (
        select(func.count())
        .where(
            events.c.phase == "intent",
            events.c.patient == access.c.patient_id,
            events.c.principal == "Clinician:" + access.c.clinician_id,
            events.c.policies.contains("physician-breaks-glass"),
            events.c.recorded >= access.c.granted_at,
            events.c.recorded < access.c.expires_at,
        )
        .correlate(access)
        .scalar_subquery()
    )
    query = select(access, used.label("used"), review_items.c.verdict).join(
        review_items, review_items.c.row_id == access.c.id
    )
    return _page(connection, query, access.c.granted_at, access.c.id, limit, before, since, until)


def overrides(
    connection: Connection,
    *,
    limit: int,
    before: str | None = None,
    since: str | None = None,
    until: str | None = None,
) -> Rows:
    """Guardrails that were set aside: by whom, for which medication of which patient, why, and the review's verdict.

    Args:
        connection: An open read transaction.
        limit: Rows at most.
        before: Only rows after which the last page ended: its `more`.
        since: ISO 8601, from when on.
        until: ISO 8601, until before when.

    Raises:
        InvalidArguments: `before` is no page's `more`.
    """
    made = guardrail_overrides
    query = select(
        made.c.id,
        made.c.signed_at,
        made.c.clinician_id,
        review_items.c.patient_id,
        made.c.consultation_id,
        made.c.rule,
        made.c.item_id,
        made.c.reason_code,
        review_items.c.verdict,
    ).join(review_items, review_items.c.row_id == made.c.id)
    return _page(connection, query, made.c.signed_at, made.c.id, limit, before, since, until)


def _page(
    connection: Connection,
    query: Select[Any],
    moment: ColumnElement[str],
    row_id: ColumnElement[str],
    limit: int,
    before: str | None,
    since: str | None,
    until: str | None,
) -> Rows:
    if before is not None:
        place = _PLACE.fullmatch(before)
        if place is None:
            raise InvalidArguments("That is not where a page ended: give the `more` of the last page.")
        query = query.where(or_(moment < place[1], and_(moment == place[1], row_id < place[2])))
    if since is not None:
        query = query.where(moment >= since)
    if until is not None:
        query = query.where(moment < until)
    found = connection.execute(query.order_by(moment.desc(), row_id.desc()).limit(limit + 1)).all()
    rows = [dict(row._mapping) for row in found[:limit]]
    more = f"{rows[-1][moment.key]}~{rows[-1][row_id.key]}" if len(found) > limit else None
    return Rows(rows, more)
