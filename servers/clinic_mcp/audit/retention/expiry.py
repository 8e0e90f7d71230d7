"""Detail that is older than its own, shorter retention."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import delete, func, select

from clinic_mcp.audit.event import Draft, Phase, uuid7
from clinic_mcp.audit.models import detail
from clinic_mcp.audit.on_record import Asking
from clinic_mcp.audit.retention import hold
from clinic_mcp.audit.retention.vanish import overwriting
from clinic_mcp.core.clinic import timestamp

CODE = "audit.detail_expired"
STEP = 500
"""Bodies deleted in one transaction."""


def cutoff(days: int, moment: datetime) -> str:
    """Before when detail has expired, ISO 8601."""
    return timestamp(moment - timedelta(days=days))


def expire(desk: Asking, before: str) -> int:
    """Remove the detail kept before a moment; that it was done is on the record with its first step.

    Args:
        desk: The clinic and its log.
        before: ISO 8601.

    Returns:
        How many bodies went.

    Raises:
        Conflict: The log is on hold.
        AuditUnavailable: It could not be recorded; nothing was removed.
    """
    with desk.database.read() as connection:
        hold.refuse(connection)
        old = select(func.count(), func.max(detail.c.id)).where(detail.c.recorded < before)
        count, last = connection.execute(old).one()
    if not count:
        return 0
    gone = 0
    old_rows = select(detail.c.id).where(detail.c.recorded < before, detail.c.id <= last)
    while True:
        with desk.log.transaction() as transaction:
            overwriting(transaction.connection)
            rows = list(transaction.connection.execute(old_rows.order_by(detail.c.id).limit(STEP)).scalars())
            transaction.connection.execute(delete(detail).where(detail.c.id.in_(rows)))
            if gone == 0:
                body = {"principal": desk.principal, "expired": {"before": before, "bodies": count}}
                transaction.record(Draft(Phase.ADMIN, CODE, uuid7(), body))
        gone += len(rows)
        if len(rows) < STEP:
            return gone
