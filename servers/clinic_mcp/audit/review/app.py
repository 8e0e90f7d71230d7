"""The review page as an ASGI application: its addresses, and what stands in front of every view."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import parse_qsl

import anyio
import anyio.to_thread
import structlog
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from clinic_mcp.audit.review import (
    call_view,
    calls_view,
    integrity_views,
    overview_views,
    people_views,
    queue_views,
)
from clinic_mcp.audit.review.headers import SafeHeaders
from clinic_mcp.audit.review.openid import CALLBACK
from clinic_mcp.audit.review.signing_in import SigningIn, peer
from clinic_mcp.audit.review.visit import Parts, Visit
from clinic_mcp.core.db import cause
from clinic_mcp.core.errors import ClinicError, Refused, Unauthenticated
from clinic_mcp.core.http import BadBodyError, FrontDoor, read_body
from clinic_mcp.core.settings import REVIEW, Settings

AT_ONCE = 8
"""Views worked on at once; others wait. Each reads the database, which has other readers."""
FIELDS = 10
"""Fields of a form, at most."""
STATUSES = {
    "invalid_arguments": 400,
    "refused": 403,
    "own_case": 403,
    "not_found": 404,
    "conflict": 409,
    "audit_unavailable": 503,
    "unavailable": 503,
    "misconfigured": 503,
}
TITLES = {
    400: "That cannot be looked up",
    403: "Not permitted",
    404: "Not found",
    409: "Decided already",
    503: "Not available",
}
View = Callable[[Visit], Response]
Form = dict[str, str] | None


class ReviewPage:
    """The page's addresses.

    Args:
        parts: What it is made of.
        signing_in: The pages that need no session.
    """

    def __init__(self, parts: Parts, signing_in: SigningIn) -> None:
        self._parts = parts
        self._signing_in = signing_in
        self._limit = anyio.CapacityLimiter(AT_ONCE)
        self._lines = structlog.get_logger().bind(part=REVIEW)

    def asgi(self, settings: Settings) -> ASGIApp:
        """The application, behind the suite's front door and with safe headers on every answer."""
        inner = Starlette(
            routes=[
                self._open("/login", lambda request, _: self._signing_in.form(request)),
                self._open("/login", lambda request, form: self._signing_in.with_token(request, form or {}), "POST"),
                self._open("/login/openid", lambda request, _: self._signing_in.to_provider(request)),
                self._open(CALLBACK, lambda request, _: self._signing_in.from_provider(request)),
                self._view("/logout", self._sign_out, "POST"),
                self._view("/", overview_views.overview),
                self._view("/find", lambda visit: RedirectResponse(call_view.find(visit), 303)),
                self._view("/calls", calls_view.show),
                self._view("/calls.csv", calls_view.download),
                self._view("/calls/{call_id}", call_view.show),
                self._view("/patients/{patient}", people_views.patient),
                self._view("/callers", people_views.callers),
                self._view("/callers/{who}", people_views.caller),
                self._view("/refusals", overview_views.refusals),
                self._view("/queue", queue_views.queue),
                self._view("/queue/{item}", queue_views.item),
                self._view("/queue/{item}", queue_views.judge, "POST"),
                self._view("/integrity", integrity_views.show),
                self._view("/integrity", integrity_views.check, "POST"),
                Mount("/static", StaticFiles(directory=Path(__file__).parent / "static")),
            ],
            exception_handlers={404: self._unknown},
        )
        door = FrontDoor(inner, hosts=settings.allowed_hosts, concurrency=settings.concurrency)
        return SafeHeaders(door, tls=self._parts.tls)

    def _open(self, path: str, answer: Callable[[Request, Form], Response], method: str = "GET") -> Route:
        """A page without a session."""

        def safely(request: Request, form: Form) -> Response:
            try:
                return answer(request, form)
            except Exception as exc:  # noqa: BLE001 - no traceback, and nothing of what somebody sent, leaves
                return self._failed(exc)

        return Route(path, self._endpoint(safely), methods=[method])

    def _view(self, path: str, view: View, method: str = "GET") -> Route:
        """A page for who may look."""
        return Route(path, self._endpoint(lambda request, form: self._answer(view, request, form)), methods=[method])

    def _endpoint(self, answer: Callable[[Request, Form], Response]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            try:
                form = await _form(request) if request.method == "POST" else None
            except BadBodyError as bad:
                return self._parts.page(
                    "message.html", bad.status, title="Not understood", message=str(bad), advice=None
                )
            return await anyio.to_thread.run_sync(answer, request, form, limiter=self._limit)

        return endpoint

    def _answer(self, view: View, request: Request, form: Form) -> Response:
        name = request.cookies.get(self._signing_in.session_cookie)
        session = self._parts.sessions.find(name)
        if session is None:
            return _to_login(request, ended=name is not None)
        visit: Visit | None = None
        try:
            visitor = self._parts.access.admit(session.token, peer(request))
            visit = Visit(self._parts, request, session, visitor, form)
            if form is not None and not session.wrote(form.get("form", "")):
                raise Refused("The form is too old, or from another page.", "Go back, load the page again, and repeat.")
            return view(visit)
        except Unauthenticated:
            self._parts.sessions.end(name)
            return _to_login(request, ended=True)
        except Refused as refusal:
            if visit is None:  # who may no longer look is out at once
                self._parts.sessions.end(name)
            return self._failed(refusal, visit)
        except Exception as exc:  # noqa: BLE001 - no traceback, and nothing of what somebody sent, leaves
            return self._failed(exc, visit)

    def _sign_out(self, visit: Visit) -> Response:
        visit.record("signed_out")
        return self._signing_in.out(visit.request)

    def _failed(self, exc: Exception, visit: Visit | None = None) -> Response:
        """A page that says what went wrong, in words of our own."""
        if isinstance(exc, ClinicError):
            status, message, advice = STATUSES.get(exc.code, 500), exc.message, exc.advice
        elif isinstance(exc, SQLAlchemyError):
            status, message, advice = 503, f"The database cannot be read ({cause(exc)}).", "Try again in a moment."
        else:
            self._lines.error("review.crashed", error=type(exc).__name__)
            status, message, advice = (
                500,
                "Something failed that nobody foresaw.",
                "Tell whoever runs the clinic's servers.",
            )
        values = {"title": TITLES.get(status, "Failed"), "message": message, "advice": advice}
        return (
            visit.message("fault.html", status, **values)
            if visit
            else self._parts.page("message.html", status, **values)
        )

    async def _unknown(self, _request: Request, _exc: Exception) -> Response:
        message = "There is no such page."
        return self._parts.page("message.html", 404, title="Not found", message=message, advice=None)


async def _form(request: Request) -> dict[str, str]:
    """A form's fields.

    Raises:
        BadBodyError: It is none.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        raise BadBodyError("That is not a form.", 415)
    body = await read_body(request.receive)
    try:
        return dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=FIELDS, errors="strict"))
    except ValueError as exc:
        raise BadBodyError("That is not a form.") from exc


def _to_login(request: Request, *, ended: bool) -> Response:
    where = "/login?ended=1" if ended else "/login"
    if request.headers.get("HX-Request") == "true":
        return Response(status_code=401, headers={"HX-Redirect": where})
    return RedirectResponse(where, 303)
