"""The queue: every broken glass and every guardrail set aside, with its reason and its verdict."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Connection, Select, case, column, func, select, table
from starlette.responses import RedirectResponse, Response

from clinic_mcp.audit.models import events
from clinic_mcp.audit.review.call_view import NotFound
from clinic_mcp.audit.review.visit import Visit
from clinic_mcp.audit.verdicts import REASON_LENGTH, Reviewer, give
from clinic_mcp.core.clinic import guardrail_overrides, people, review_items
from clinic_mcp.core.errors import InvalidArguments, Refused

MOST = 100
"""Items of a page."""
_ITEM = re.compile(r"V-[0-9a-f]{16}")
_access = table(
    "emergency_access",
    *(column(name) for name in ("id", "reason_code", "reason", "granted_at", "expires_at")),
)
_reviewers = people.alias()


def queue(visit: Visit) -> Response:
    """What waits for a verdict, the oldest first; then what has one, the newest first."""
    state = "judged" if visit.request.query_params.get("state") == "judged" else "waiting"
    visit.record("queue", {"state": state})
    verdict, opened = review_items.c.verdict, review_items.c.opened_at
    query = _items().where(verdict.is_(None) if state == "waiting" else verdict.is_not(None))
    with visit.parts.database.read() as connection:
        found = connection.execute(query.order_by(opened if state == "waiting" else opened.desc()).limit(MOST)).all()
        counts = connection.execute(
            select(func.count(), func.sum(case((verdict.is_(None), 1), else_=0))).select_from(review_items)
        ).one()
    waiting = int(counts[1] or 0)
    return visit.page("queue.html", items=found, state=state, waiting=waiting, judged=counts[0] - waiting, most=MOST)


def item(visit: Visit, *, fault: str | None = None, status: int = 200, reason: str = "") -> Response:
    """One item, with what the person did while it lasted, and the form for its verdict."""
    name = _name(visit)
    with visit.parts.database.read() as connection:
        found = _one(connection, name)
    visit.record("item", {"item": name}, [found.patient_id])
    used = 0
    if found.kind == "break-glass":
        with visit.parts.database.read() as connection:
            used = _used(connection, found)
    own = found.person_id == visit.visitor.id
    return visit.page(
        "item.html", status, item=found, used=used, own=own, fault=fault, reason=reason, longest=REASON_LENGTH[-1]
    )


def judge(visit: Visit) -> Response:
    """Give the verdict that the form brings."""
    name, form = _name(visit), visit.form or {}
    reviewer = Reviewer(visit.visitor.principal, visit.visitor.id, visit.visitor.about)
    parts = visit.parts
    try:
        give(parts.log, parts.clinic, name, form.get("verdict", ""), form.get("reason", ""), reviewer)
    except Refused:
        parts.access.record_own_case(visit.visitor, name)
        raise
    except InvalidArguments as bad:
        return item(visit, fault=bad.message, status=400, reason=form.get("reason", ""))
    return RedirectResponse(f"/queue/{name}", 303)


def _name(visit: Visit) -> str:
    name = str(visit.request.path_params["item"])
    if not _ITEM.fullmatch(name):
        raise NotFound("There is no such item in the queue.")
    return name


def _items() -> Select[Any]:
    """Items with what they are about, whichever kind they are."""
    return (
        select(
            review_items,
            people.c.name.label("person_name"),
            _reviewers.c.name.label("reviewer_name"),
            func.coalesce(_access.c.reason_code, guardrail_overrides.c.reason_code).label("reason_code"),
            func.coalesce(_access.c.reason, guardrail_overrides.c.reason).label("reason"),
            _access.c.granted_at,
            _access.c.expires_at,
            guardrail_overrides.c.rule,
            guardrail_overrides.c.item_id,
            guardrail_overrides.c.consultation_id,
        )
        .select_from(review_items)
        .outerjoin(people, people.c.id == review_items.c.person_id)
        .outerjoin(_reviewers, _reviewers.c.id == review_items.c.reviewer_id)
        .outerjoin(_access, _access.c.id == review_items.c.row_id)
        .outerjoin(guardrail_overrides, guardrail_overrides.c.id == review_items.c.row_id)
    )


def _one(connection: Connection, name: str) -> Any:
    found = connection.execute(_items().where(review_items.c.id == name)).first()
    if found is None:
        raise NotFound("There is no such item in the queue.")
    return found


def _used(connection: Connection, found: Any) -> int:
    """Calls that an emergency access allowed while it lasted."""
    return int(
        connection.execute(
            select(func.count()).where(
                events.c.phase == "intent",
                events.c.patient == found.patient_id,
                events.c.principal == f"Clinician:{found.person_id}",
                events.c.policies.contains("physician-breaks-glass"),
                events.c.recorded >= found.granted_at,
                events.c.recorded < found.expires_at,
            )
        ).scalar_one()
    )
