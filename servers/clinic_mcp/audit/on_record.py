"""Whoever asks at the machine, with the clinic's database: what they read of it is on the record before it is shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from clinic_mcp.core.who import operator_name

if TYPE_CHECKING:
    from clinic_mcp.audit.event import Draft
    from clinic_mcp.audit.log import AuditLog
    from clinic_mcp.core.settings import Settings


class Asking:
    """An operator's question to the clinic's data."""

    def __init__(self, settings: Settings, log: AuditLog) -> None:
        self.settings = settings
        self.database = log.database
        self.log = log

    def record(self, code: str, asked: dict[str, Any], patients: Sequence[str] = ()) -> None:
        """Say on the record what was asked.

        Args:
            code: What was done, e.g. `policy.explained` or `audit.who`.
            asked: Ids, names and times; no free text.
            patients: Ids of the patients it is about.

        Raises:
            AuditUnavailable: It cannot be recorded; nothing may be shown.
        """
        from clinic_mcp.audit.event import Draft, Phase, uuid7

        kept = {key: value for key, value in asked.items() if value is not None}
        body = {"principal": self.principal, "asked": kept}
        self.append(Draft(Phase.AUDIT_READ, code, uuid7(), body, tuple(patients)))

    @property
    def principal(self) -> dict[str, str]:
        """How an event names whoever asks."""
        return {"type": "Operator", "id": operator_name(), "clinic": self.settings.id}

    def append(self, draft: Draft) -> None:
        """Put another event on the record.

        Raises:
            AuditUnavailable: It cannot be recorded.
        """
        self.log.append(draft)


@contextmanager
def asking(part: str = "policy") -> Iterator[Asking]:
    """The clinic that the environment names, and its log.

    Args:
        part: Whose chain of the log the reading goes to: `policy` or `audit`.

    Raises:
        Misconfigured: There is no such clinic.
    """
    from clinic_mcp.audit.event import Writer
    from clinic_mcp.audit.log import AuditLog
    from clinic_mcp.core.db import Database
    from clinic_mcp.core.settings import Settings

    settings = Settings()
    database = Database(settings.url)
    log = AuditLog(database, Writer(part, settings.id, f"clinic-mcp/{settings.id}"), announce=False)
    try:
        yield Asking(settings, log)
    finally:
        log.close()
        database.close()
