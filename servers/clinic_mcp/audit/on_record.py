"""Whoever asks at the machine, with the clinic's database: what they read of it is on the record before it is shown."""

from __future__ import annotations

import getpass
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clinic_mcp.audit.log import AuditLog
    from clinic_mcp.core.settings import Settings


class Asking:
    """An operator's question to the clinic's data."""

    def __init__(self, settings: Settings, log: AuditLog) -> None:
        self.settings = settings
        self.database = log.database
        self.log = log

    @property
    def principal(self) -> dict[str, str]:
        """How an event names them."""
        return {"type": "Operator", "id": getpass.getuser(), "clinic": self.settings.id}

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

        body = {
            "principal": self.principal,
            "asked": {key: value for key, value in asked.items() if value is not None},
        }
        self.log.append(Draft(Phase.AUDIT_READ, code, uuid7(), body, tuple(patients)))


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
