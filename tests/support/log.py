"""The audit log as a test reads it: plain SQL, no code of the suite."""

from __future__ import annotations

import json
from typing import Any

from support.clinic import Clinic


class AuditReader:
    """Events of a clinic since a marker.

    Args:
        clinic: The clinic.
        server: Only events this server wrote.
    """

    def __init__(self, clinic: Clinic, server: str | None = None) -> None:
        self.clinic = clinic
        self.server = server
        self.marker = 0
        self.mark()

    def mark(self) -> None:
        self.marker = self.clinic.execute("SELECT coalesce(max(id), 0) FROM audit_events")[0][0]

    def events(self) -> list[dict[str, Any]]:
        """The events since the marker, in order."""
        rows = self.clinic.execute("SELECT leaf, server FROM audit_events WHERE id > ? ORDER BY id", self.marker)
        return [json.loads(row["leaf"]) for row in rows if self.server in (None, row["server"])]

    def phases(self) -> list[tuple[str, str]]:
        return [(event["phase"], event["code"]) for event in self.events()]


def event_of(events: list[dict[str, Any]], phase: str) -> dict[str, Any]:
    """The one event of a phase."""
    (found,) = [event for event in events if event["phase"] == phase]
    return found
