"""The operator at the terminal: what the commands work with, and who the audit log says they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from clinic_mcp.core.who import operator_name

if TYPE_CHECKING:
    from clinic_mcp.audit.event import Draft
    from clinic_mcp.audit.log import AuditLog
    from clinic_mcp.consultations.grants import Mint
    from clinic_mcp.consultations.store import Actor, Consultations
    from clinic_mcp.core.settings import Settings


class Operator:
    """Whoever runs a command, with the clinic's data and log at hand."""

    def __init__(self, settings: Settings, log: AuditLog, consultations: Consultations, actor: Actor) -> None:
        self.settings = settings
        self.log = log
        self.consultations = consultations
        self.actor = actor

    @property
    def principal(self) -> dict[str, str]:
        """How an event names them."""
        return {"type": self.actor.type, "id": self.actor.id, "clinic": self.settings.id}

    def event(self, code: str, *patients: str, call_id: str | None = None, **body: Any) -> Draft:
        """An event of what they do.

        Args:
            code: What, e.g. `client.added`.
            patients: Ids of the patients it is about.
            call_id: The id that rows of the same act carry; a new one where there are none.
            body: The event's other fields.
        """
        from clinic_mcp.audit.event import Draft, Phase, uuid7

        return Draft(Phase.ADMIN, code, call_id or uuid7(), {"principal": self.principal, **body}, patients)

    def mint(self) -> Mint:
        """What signs tokens.

        Raises:
            Misconfigured: The signing key cannot be read.
        """
        from clinic_mcp.consultations.grants import Mint
        from clinic_mcp.consultations.keys import read_signing_key

        return Mint(read_signing_key(self.settings.keys), self.settings.issuer, self.settings.id)


@contextmanager
def as_operator() -> Iterator[Operator]:
    """The operator of the clinic that the environment names.

    Raises:
        Misconfigured: There is no such clinic.
        AuditUnavailable: Its log cannot be written.
    """
    from clinic_mcp.audit.event import Writer
    from clinic_mcp.audit.log import AuditLog
    from clinic_mcp.consultations.store import Actor, Consultations
    from clinic_mcp.core.db import Database
    from clinic_mcp.core.settings import CONSULTATIONS, Settings

    settings = Settings()
    database = Database(settings.url)
    log = AuditLog(database, Writer(CONSULTATIONS, settings.id, f"clinic-mcp/{settings.id}"), announce=False)
    try:
        yield Operator(settings, log, Consultations(log, settings.id), Actor("Operator", operator_name()))
    finally:
        log.close()
        database.close()
