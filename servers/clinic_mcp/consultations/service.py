"""The consultations service over HTTP: the API agents and desks call, the token endpoint, and the JWKS.

It is the only process that holds the grant-signing key.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import select
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from clinic_mcp.consultations.keys import published_keys
from clinic_mcp.consultations.store import Actor, Consultations
from clinic_mcp.consultations.token_endpoint import TokenEndpoint
from clinic_mcp.core.app import open_log, record_stranger
from clinic_mcp.core.clinic import Status, clients
from clinic_mcp.core.db import Database
from clinic_mcp.core.errors import IN_DOUBT, ClinicError, InvalidArguments, Refused, Unauthenticated
from clinic_mcp.core.gate import bearer, turn_away
from clinic_mcp.core.http import BadBodyError, FrontDoor, read_body, strict_json
from clinic_mcp.core.identity import resolve
from clinic_mcp.core.issuers import Issuers
from clinic_mcp.core.patience import within
from clinic_mcp.core.resource import Resource, ResourceMetadata, resource_url
from clinic_mcp.core.settings import CONSULTATIONS, Settings
from clinic_mcp.core.tokens import Claims

STATUSES = {
    "unauthenticated": 401,
    "refused": 403,
    "not_found": 404,
    "conflict": 409,
    "illegal_transition": 409,
    "invalid_arguments": 400,
    "invalid_target": 400,
    "audit_unavailable": 503,
    "unavailable": 503,
}


class ConsultationsService:
    """The service's parts and its HTTP endpoints.

    Args:
        settings: The operator's settings.
        port: The port it is bound to; none means its default one.

    Raises:
        Misconfigured: There is no signing key, or the providers' file cannot be used.
        AuditUnavailable: The audit log cannot be written.
    """

    def __init__(self, settings: Settings, port: int | None = None) -> None:
        self.settings = settings
        url = resource_url(settings, CONSULTATIONS, "", port=port)
        self.issuers = Issuers(settings, frozenset({CONSULTATIONS}), url)
        self.resource = Resource(url, "Consultations", "", self.issuers.providers)
        self.database = Database(settings.url, part=CONSULTATIONS)
        self.log = open_log(settings, self.database, CONSULTATIONS)
        self.consultations = Consultations(self.log, settings.id)
        self.token_endpoint = TokenEndpoint(settings, self.consultations)

    def asgi(self) -> ASGIApp:
        """The ASGI application, behind the same front door as the servers."""
        inner = Starlette(
            routes=[
                Route("/.well-known/jwks.json", self._jwks),
                Route("/oauth/token", self.token_endpoint.answer, methods=["POST"]),
                Route("/consultations", self._handle(self._open, 201), methods=["POST"]),
                Route("/consultations/{sid}", self._handle(self._show), methods=["GET"]),
                Route("/consultations/{sid}/status", self._handle(self._status), methods=["POST"]),
                Route("/consultations/{sid}/assign", self._handle(self._assign), methods=["POST"]),
                Route("/consultations/{sid}/clarifications", self._handle(self._ask, 201), methods=["POST"]),
                Route("/consultations/{sid}/clarifications/answer", self._handle(self._answer), methods=["POST"]),
                Route("/consultations/{sid}/sign-off", self._handle(self._sign_off), methods=["POST"]),
                Route("/consultations/{sid}/close", self._handle(self._close), methods=["POST"]),
            ]
        )
        open_to_all = ResourceMetadata(inner, self.resource)
        return FrontDoor(open_to_all, hosts=self.settings.allowed_hosts, concurrency=self.settings.concurrency)

    def close(self) -> None:
        """End this process's part of the audit log and let go of the database."""
        try:
            self.log.close()
        finally:
            self.database.close()

    async def _jwks(self, _request: Request) -> Response:
        return JSONResponse(published_keys(self.settings.keys), headers={"Cache-Control": "max-age=300"})

    # the API

    def _handle(
        self, endpoint: Callable[[Actor, str, dict[str, Any]], tuple[dict[str, Any], int | None]], status: int = 200
    ) -> Callable[[Request], Awaitable[Response]]:
        async def handle(request: Request) -> Response:
            try:
                body = await read_body(request.receive) if request.method == "POST" else b""
                document = strict_json(body) if body else {}
                if not isinstance(document, dict):
                    raise BadBodyError("The body is not a JSON object.")
                credentials = request.headers.getlist("authorization")
                result, special = await within(
                    self.settings.tool_timeout, self._answer_call, endpoint, credentials, request.path_params, document
                )
                return JSONResponse(result, status_code=special or status)
            except BadBodyError as bad:
                return JSONResponse({"error": "bad_request", "message": str(bad)}, status_code=bad.status)
            except Unauthenticated as refusal:
                metadata = self.resource.metadata_url
                return await turn_away(
                    refusal,
                    _peer(request),
                    record=self._record_stranger,
                    metadata=metadata,
                    patience=self.settings.audit_timeout,
                )
            except TimeoutError:
                error = {"error": "unavailable", "message": "The request took too long.", "advice": IN_DOUBT[0]}
                return JSONResponse(error, status_code=503)
            except ClinicError as exc:
                error = {"error": exc.code, "message": exc.message}
                if exc.advice:
                    error["advice"] = exc.advice
                return JSONResponse(error, status_code=STATUSES.get(exc.code, 500))

        return handle

    def _answer_call(
        self,
        endpoint: Callable[[Actor, str, dict[str, Any]], tuple[dict[str, Any], int | None]],
        authorization: list[str],
        path: dict[str, str],
        document: dict[str, Any],
    ) -> tuple[dict[str, Any], int | None]:
        actor = self._actor(self.issuers.verify(bearer(authorization)))
        return endpoint(actor, path.get("sid", ""), document)

    def _actor(self, claims: Claims) -> Actor:
        if claims.agent is not None:
            raise Refused("An agent's grant is not for this service.")
        with self.database.read() as connection:
            if claims.subject.startswith("client:"):
                known = select(clients.c.id).where(clients.c.id == claims.client, clients.c.active)
                if connection.execute(known).first() is None:
                    raise Unauthenticated("unknown-client")
                return Actor("Client", claims.client)
            principal = resolve(connection, claims).principal
        kind, name = principal.uid
        if kind not in ("Clinician", "Administrator") or not principal.attrs["active"]:
            raise Refused("This person takes no part in consultations.")
        return Actor(kind, name)

    def _open(self, actor: Actor, _sid: str, body: dict[str, Any]) -> tuple[dict[str, Any], int | None]:
        return self.consultations.open(actor, _text(body, "patient_id"), _text(body, "symptoms")), None

    def _show(self, actor: Actor, sid: str, _body: dict[str, Any]) -> tuple[dict[str, Any], int | None]:
        with self.database.read() as connection:
            return self.consultations.show(connection, sid), None

    def _status(self, actor: Actor, sid: str, body: dict[str, Any]) -> tuple[dict[str, Any], int | None]:
        wanted = _text(body, "status")
        if wanted not in (Status.AWAITING_DOCTOR, Status.EMERGENCY):
            raise Refused("Only a clinician's own action leads to that state.")
        return self.consultations.move(actor, sid, Status(wanted)), None

    def _assign(self, actor: Actor, sid: str, body: dict[str, Any]) -> tuple[dict[str, Any], int | None]:
        if actor.type != "Administrator":
            raise Refused("Only an administrator assigns consultations.")
        return self.consultations.assign(actor, sid, _text(body, "clinician_id")), None

    def _ask(self, actor: Actor, sid: str, body: dict[str, Any]) -> tuple[dict[str, Any], int | None]:
        return self.consultations.ask(_clinician(actor), sid, _text(body, "question")), None

    def _answer(self, actor: Actor, sid: str, body: dict[str, Any]) -> tuple[dict[str, Any], int | None]:
        return self.consultations.answer(actor, sid, _text(body, "answer")), None

    def _sign_off(self, actor: Actor, sid: str, body: dict[str, Any]) -> tuple[dict[str, Any], int | None]:
        result, new = self.consultations.sign_off(_clinician(actor), sid, _text(body, "notes"))
        return result, 201 if new else 200

    def _close(self, actor: Actor, sid: str, _body: dict[str, Any]) -> tuple[dict[str, Any], int | None]:
        return self.consultations.close(actor, sid), None

    def _record_stranger(self, peer: str, reason: str) -> None:
        record_stranger(self.log, "http", peer, reason)


def _clinician(actor: Actor) -> str:
    if actor.type != "Clinician":
        raise Refused("Only a clinician, with their own token, may do this.")
    return actor.id


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or "\x00" in value:
        raise InvalidArguments(f"The body needs {name}, a text without NUL characters.")
    return value


def _peer(request: Request) -> str:
    return request.client.host if request.client else "unknown"
