"""One request of somebody who may look, and the parts of the page that answer it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse

from clinic_mcp.audit.log import AuditLog
from clinic_mcp.audit.review.access import Access, Visitor
from clinic_mcp.audit.review.attempts import Attempts
from clinic_mcp.audit.review.integrity import Checker
from clinic_mcp.audit.review.pages import environment
from clinic_mcp.audit.review.sessions import Session, Sessions
from clinic_mcp.core.clinic import now
from clinic_mcp.core.db import Database
from clinic_mcp.core.suite import ALL_TOOLS

VIEWS = {
    "/": "Overview",
    "/calls": "Calls",
    "/callers": "People and agents",
    "/refusals": "Refusals",
    "/queue": "Queue",
    "/integrity": "Integrity",
}
"""The views by their addresses, in the order of the navigation."""


@dataclass(frozen=True)
class Parts:
    """What the review page is made of.

    Args:
        clinic: The clinic whose log it shows.
        database: The clinic's database.
        log: This process's part of the log.
        access: Who may look.
        sessions: Who is signed in.
        attempts: The bound on signing in.
        checker: Whether the log is whole.
        tls: Whether browsers reach the page by https.
        templates: The pages.
    """

    clinic: str
    database: Database
    log: AuditLog
    access: Access
    sessions: Sessions
    attempts: Attempts
    checker: Checker
    tls: bool
    templates: jinja2.Environment = field(default_factory=environment)

    def page(self, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        """A page for somebody who is not signed in, or a message."""
        text = self.templates.get_template(template).render(clinic=self.clinic, **values)
        return HTMLResponse(text, status)


@dataclass
class Visit:
    """A request of somebody who may look.

    Args:
        parts: The page's parts.
        request: The request.
        session: The sign-in it belongs to.
        visitor: Who.
        form: What a form brought; none where there was no form.
    """

    parts: Parts
    request: Request
    session: Session
    visitor: Visitor
    form: Mapping[str, str] | None = None
    recorded: bool = False

    @property
    def tools(self) -> tuple[str, ...]:
        return ALL_TOOLS

    def record(self, view: str, asked: Mapping[str, Any] | None = None, patients: Sequence[str] = ()) -> None:
        """Say on the record what is about to be shown.

        Args:
            view: Which view, e.g. `calls`.
            asked: Ids, names and times; no free text.
            patients: Patients it is about.

        Raises:
            AuditUnavailable: It cannot be recorded; nothing may be shown.
        """
        self.parts.access.record(self.visitor, f"review.{view}", asked or {}, patients)
        self.recorded = True

    def page(self, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        """A view, once it is on the record that it is shown.

        Raises:
            RuntimeError: It is not.
        """
        if not self.recorded:
            raise RuntimeError(f"{template} would be shown without being on the record")
        return self.message(template, status, **values)

    def message(self, template: str, status: int, **values: Any) -> HTMLResponse:
        """A page that shows nothing of the log."""
        return self.parts.page(
            template,
            status,
            visitor=self.visitor,
            form_token=self.session.form,
            integrity=self.parts.checker.found,
            views=VIEWS,
            path=self.request.url.path,
            printing=self.request.query_params.get("print") == "1",
            shown_at=now(),
            print_link=self._print_link(),
            **values,
        )

    def _print_link(self) -> str:
        query = self.request.url.query
        return f"{self.request.url.path}?{query}&print=1" if query else f"{self.request.url.path}?print=1"
