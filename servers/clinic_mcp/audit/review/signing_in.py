"""Signing in and out: with a token, or with the clinic's OpenID provider."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from clinic_mcp.audit.review.openid import OpenId
from clinic_mcp.audit.review.visit import Parts
from clinic_mcp.core.errors import Refused, Unauthenticated

TOO_MANY = "There were too many attempts to sign in. Try again in a minute."
NOT_VALID = "That token is not valid here. Ask for a new one, or check that it was copied whole."
NOT_BEGUN_HERE = "The provider could not sign you in, or it took too long. Begin again."


class SigningIn:
    """The pages that need no session.

    Args:
        parts: The page's parts.
        openid: Sign-ins with providers.
    """

    def __init__(self, parts: Parts, openid: OpenId) -> None:
        self._parts = parts
        self._openid = openid
        # A browser takes a `__Host-` cookie only from https, for this host alone (RFC 6265bis, section 4.1.3.2).
        prefix = "__Host-" if parts.tls else ""
        self.session_cookie = f"{prefix}clinic_review"
        self._form_cookie = f"{prefix}clinic_review_form"
        self._flow_cookie = f"{prefix}clinic_review_openid"

    def form(self, request: Request, status: int = 200, fault: str | None = None) -> HTMLResponse:
        """The form, and in a cookie what proves that it was this page's."""
        value = secrets.token_urlsafe(32)
        offers = [(number, offer.name) for number, offer in enumerate(self._openid.offers)]
        ended = request.query_params.get("ended") == "1"
        page = self._parts.page("login.html", status, fault=fault, form_token=value, offers=offers, ended=ended)
        self._set(page, self._form_cookie, value)
        return page

    def with_token(self, request: Request, form: Mapping[str, str]) -> Response:
        """Sign in with the token that the form brings."""
        mine, theirs = request.cookies.get(self._form_cookie, ""), form.get("form", "")
        if not mine or not hmac.compare_digest(mine.encode(), theirs.encode("utf-8", "replace")):
            return self.form(request, 403, "The form was too old, or from another page. Here is a new one.")
        if not self._parts.attempts.admit(peer(request)):
            return self.form(request, 429, TOO_MANY)
        return self._enter(request, form.get("token", "").strip(), NOT_VALID)

    def to_provider(self, request: Request) -> Response:
        """Send the browser to the provider."""
        number = request.query_params.get("provider", "0")
        if not self._parts.attempts.admit(peer(request)):
            return self.form(request, 429, TOO_MANY)
        try:
            where, value = self._openid.begin(int(number) if number.isascii() and number.isdigit() else -1)
        except (Unauthenticated, ValueError):
            return self.form(request, 404, "There is no such provider.")
        answer = RedirectResponse(where, 303)
        # Lax, because the browser comes back from another site; it opens nothing.
        self._set(answer, self._flow_cookie, value, same_site="lax")
        return answer

    def from_provider(self, request: Request) -> Response:
        """The browser is back."""
        try:
            token = self._openid.finish(request.query_params, request.cookies.get(self._flow_cookie))
        except Unauthenticated as refusal:
            if not self._parts.attempts.admit(peer(request)):
                return self.form(request, 429, TOO_MANY)
            self._parts.access.record_stranger(peer(request), refusal.reason)
            return self.form(request, 401, NOT_BEGUN_HERE)
        return self._enter(request, token, "The clinic does not accept the provider's token. Ask whoever runs it.")

    def out(self, request: Request) -> Response:
        """End the session."""
        self._parts.sessions.end(request.cookies.get(self.session_cookie))
        answer = RedirectResponse("/login", 303)
        answer.delete_cookie(self.session_cookie, path="/", secure=self._parts.tls, httponly=True, samesite="strict")
        return answer

    def _enter(self, request: Request, token: str, fault: str) -> Response:
        parts = self._parts
        try:
            visitor = parts.access.admit(token, peer(request))
        except Unauthenticated:
            return self.form(request, 401, fault)
        except Refused as refusal:
            return parts.page(
                "message.html", 403, title="Not permitted", message=refusal.message, advice=refusal.advice
            )
        parts.access.record(visitor, "review.signed_in", {})
        parts.sessions.end(request.cookies.get(self.session_cookie))
        name = parts.sessions.begin(token, visitor.caller.claims.expires)
        # A page of ours leads on: a redirect would still belong to the provider's site, and the cookie would stay home.
        answer = parts.page("entered.html")
        self._set(answer, self.session_cookie, name)
        return answer

    def _set(self, answer: Response, name: str, value: str, *, same_site: str = "strict") -> None:
        answer.set_cookie(
            name,
            value,
            path="/",
            secure=self._parts.tls,
            httponly=True,
            samesite="lax" if same_site == "lax" else "strict",
        )


def peer(request: Request) -> str:
    """Where a request came from; what a proxy says of that is not believed."""
    return request.client.host if request.client else "unknown"
