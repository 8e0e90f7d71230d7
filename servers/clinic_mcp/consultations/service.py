"""The consultations service over HTTP: the API agents and desks call, RFC 8693 token exchange, and the JWKS.

It is the only process that holds the grant-signing key.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl

import anyio.to_thread
import jwt
from sqlalchemy import delete, insert, select
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from clinic_mcp.audit.event import Draft, Phase, Writer, uuid7
from clinic_mcp.audit.log import AuditLog
from clinic_mcp.consultations.grants import Mint, Minted
from clinic_mcp.consultations.keys import CLIENT_AUDIENCE, JWKS, read_signing_key
from clinic_mcp.consultations.store import AGENTS, Actor, Consultations
from clinic_mcp.core.clinic import Status, clients, used_assertions
from clinic_mcp.core.db import Database
from clinic_mcp.core.errors import ClinicError, InvalidArguments, Refused, Unauthenticated
from clinic_mcp.core.http import BadBodyError, FrontDoor, read_body, strict_json
from clinic_mcp.core.identity import resolve
from clinic_mcp.core.settings import CONSULTATIONS, SERVERS, Settings
from clinic_mcp.core.tokens import ALGORITHM, LEEWAY, Claims, TokenVerifier

JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - RFC 8693, not a secret
TOKEN_TYPE_JWT = "urn:ietf:params:oauth:token-type:jwt"  # noqa: S105 - RFC 8693, not a secret
CONSULTATION_TYPE = "urn:clinic-mcp:token-type:consultation"
AGENT_TYPE = "urn:clinic-mcp:token-type:agent"

SESSION_ID = re.compile(r"C-[0-9a-f]{16}")
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

    Raises:
        Misconfigured: There is no signing key.
        AuditUnavailable: The audit log cannot be written.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.mint = Mint(read_signing_key(settings.keys), settings.issuer, settings.id)
        self.verifier = TokenVerifier(settings.keys / "jwks.json", settings.issuer, frozenset({CONSULTATIONS}))
        self.database = Database(settings.url)
        self.log = AuditLog(self.database, Writer(CONSULTATIONS, settings.id, f"clinic-mcp/{settings.id}"))
        self.consultations = Consultations(self.log, settings.id)

    def asgi(self) -> ASGIApp:
        """The ASGI application, behind the same front door as the servers."""
        inner = Starlette(
            routes=[
                Route("/.well-known/jwks.json", self._jwks),
                Route("/oauth/token", self._token, methods=["POST"]),
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
        return FrontDoor(inner, hosts=self.settings.allowed_hosts, concurrency=self.settings.concurrency)

    def close(self) -> None:
        """End this process's part of the audit log and let go of the database."""
        try:
            self.log.close()
        finally:
            self.database.close()

    async def _jwks(self, _request: Request) -> Response:
        document = json.loads((self.settings.keys / JWKS).read_text("utf-8"))
        return JSONResponse(document, headers={"Cache-Control": "max-age=300"})

    # token endpoint

    async def _token(self, request: Request) -> Response:
        try:
            form = dict(parse_qsl((await _body(request)).decode("utf-8"), strict_parsing=True))
            minted = await anyio.to_thread.run_sync(self._exchange, form, _peer(request))
        except (BadBodyError, ValueError):
            return _oauth_error("invalid_request", "The request is not a form.", 400)
        except Unauthenticated as refusal:
            await anyio.to_thread.run_sync(self._record_stranger, _peer(request), refusal.reason)
            return _oauth_error("invalid_client", "The client could not be authenticated.", 401)
        except InvalidArguments as exc:
            return _oauth_error("invalid_request", exc.message, 400)
        except ClinicError as exc:
            known = {"invalid_target": ("invalid_target", 400), "audit_unavailable": ("temporarily_unavailable", 503)}
            code, status = known.get(exc.code, ("invalid_grant", 400))
            return _oauth_error(code, " ".join(filter(None, (exc.message, exc.advice))), status)
        body = {
            "access_token": minted.token,
            "issued_token_type": TOKEN_TYPE_JWT,
            "token_type": "Bearer",
            "expires_in": minted.expires_in,
        }
        return JSONResponse(body, headers={"Cache-Control": "no-store"})

    def _exchange(self, form: dict[str, str], peer: str) -> Minted:
        client = self._authenticate_client(form)
        grant_type = form.get("grant_type")
        if grant_type == "client_credentials":
            return self._own_token(client, form, peer)
        if grant_type != TOKEN_EXCHANGE:
            raise InvalidArguments("The grant_type is not supported.")
        if form.get("subject_token_type") != CONSULTATION_TYPE or form.get("actor_token_type") != AGENT_TYPE:
            raise InvalidArguments("The subject is a consultation and the actor an agent.")
        session_id, agent = form.get("subject_token", ""), form.get("actor_token", "")
        subject: dict[str, Any] = {"principal": {"type": "Client", "id": client.id, "clinic": self.settings.id}}
        try:
            if agent not in client.agent_ids.split():
                raise Refused("This client may not act as that agent.")
            if form.get("audience") not in SERVERS:
                raise Refused(f"A grant is for one server: {', '.join(SERVERS)}.", code="invalid_target")
            with self.database.read() as connection:
                minted = self.mint.grant(connection, session_id, agent, form["audience"], client=client.id)
                patient = self.consultations.show(connection, session_id)["patient_id"]
        except ClinicError as refusal:
            decision = {"effect": "deny", "policies": [refusal.code], "errors": 0}
            body = {**subject, "decision": decision, "network": {"transport": "http", "peer": peer}}
            if agent in AGENTS:
                body["agent"] = {"id": agent}
            if SESSION_ID.fullmatch(session_id):
                body["session"] = {"consultation": session_id}
            self.log.append(Draft(Phase.DECISION, "grant.refused", uuid7(), body))
            raise
        body = {
            **subject,
            "agent": {"id": agent},
            "delegation": [{"sub": minted.subject}, {"act": agent}],
            "session": {"consultation": session_id, "jti": minted.jti},
            "network": {"transport": "http", "peer": peer},
        }
        self.log.append(Draft(Phase.ADMIN, "grant.issued", uuid7(), body, (patient,)))
        return minted

    def _own_token(self, client: Any, form: dict[str, str], peer: str) -> Minted:
        audience = form.get("audience", CONSULTATIONS)
        if client.person_id is None:
            if audience != CONSULTATIONS:
                raise Refused("This client calls servers only with a grant.", code="invalid_target")
            minted = self.mint.client(client.id)
        else:
            with self.database.read() as connection:
                minted = self.mint.person(connection, client.person_id, audience)
        body = {
            "principal": {"type": "Client", "id": client.id, "clinic": self.settings.id},
            "session": {"jti": minted.jti},
            "network": {"transport": "http", "peer": peer},
        }
        self.log.append(Draft(Phase.ADMIN, "token.issued", uuid7(), body))
        return minted

    def _authenticate_client(self, form: dict[str, str]) -> Any:
        """RFC 7523 private_key_jwt: the assertion proves the client holds its key, once."""
        assertion = form.get("client_assertion", "")
        if form.get("client_assertion_type") != JWT_BEARER or not assertion:
            raise Unauthenticated("none")
        try:
            named = jwt.decode(assertion, options={"verify_signature": False}).get("sub")
            with self.database.read() as connection:
                client = connection.execute(
                    select(clients).where(
                        clients.c.id == str(named), clients.c.clinic_id == self.settings.id, clients.c.active
                    )
                ).first()
            if client is None:
                raise Unauthenticated("unknown-client")
            claims = jwt.decode(
                assertion,
                jwt.PyJWK(json.loads(client.public_key), algorithm=ALGORITHM),
                algorithms=[ALGORITHM],
                audience=CLIENT_AUDIENCE,
                issuer=client.id,
                leeway=LEEWAY,
                options={"require": ["iss", "sub", "aud", "exp", "iat", "jti"], "strict_aud": True},
            )
        except jwt.PyJWTError as exc:
            raise Unauthenticated("bad-assertion") from exc
        if claims["exp"] - claims["iat"] > 120:
            raise Unauthenticated("lives-too-long")
        self._use_once(client.id, str(claims["jti"]), int(claims["exp"]))
        return client

    def _use_once(self, client_id: str, jti: str, expires: int) -> None:
        name = hashlib.sha256(f"{client_id}\0{jti}".encode("utf-8", "surrogatepass")).hexdigest()
        with self.database.write() as connection:
            forgotten = used_assertions.c.expires < int(time.time()) - LEEWAY
            connection.execute(delete(used_assertions).where(forgotten))
            if connection.execute(select(used_assertions.c.id).where(used_assertions.c.id == name)).first():
                raise Unauthenticated("replayed")
            row = {"id": name, "clinic_id": self.settings.id, "expires": expires}
            connection.execute(insert(used_assertions), row)

    # the API

    def _handle(
        self, endpoint: Callable[[Actor, str, dict[str, Any]], tuple[dict[str, Any], int | None]], status: int = 200
    ) -> Callable[[Request], Awaitable[Response]]:
        async def handle(request: Request) -> Response:
            try:
                body = await _body(request) if request.method == "POST" else b""
                document = strict_json(body) if body else {}
                if not isinstance(document, dict):
                    raise BadBodyError("The body is not a JSON object.")
                result, special = await anyio.to_thread.run_sync(
                    self._answer_call, endpoint, request.headers.get("authorization"), request.path_params, document
                )
                return JSONResponse(result, status_code=special or status)
            except BadBodyError as bad:
                return JSONResponse({"error": "bad_request", "message": str(bad)}, status_code=bad.status)
            except Unauthenticated as refusal:
                await anyio.to_thread.run_sync(self._record_stranger, _peer(request), refusal.reason)
                error = {"error": "invalid_token", "message": refusal.message}
                return JSONResponse(error, status_code=401, headers={"WWW-Authenticate": "Bearer"})
            except ClinicError as exc:
                error = {"error": exc.code, "message": exc.message}
                if exc.advice:
                    error["advice"] = exc.advice
                return JSONResponse(error, status_code=STATUSES.get(exc.code, 500))

        return handle

    def _answer_call(
        self,
        endpoint: Callable[[Actor, str, dict[str, Any]], tuple[dict[str, Any], int | None]],
        authorization: str | None,
        path: dict[str, str],
        document: dict[str, Any],
    ) -> tuple[dict[str, Any], int | None]:
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("none")
        actor = self._actor(self.verifier.verify(token))
        return endpoint(actor, path.get("sid", ""), document)

    def _actor(self, claims: Claims) -> Actor:
        if claims.agent is not None:
            raise Refused("An agent's grant is not for this service.")
        if claims.subject.startswith("client:"):
            return Actor("Client", claims.client)
        with self.database.read() as connection:
            principal = resolve(connection, claims).principal
        kind, name = principal.uid
        if kind == "Auditor" or not principal.attrs["active"]:
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
        body = {"reason": reason, "network": {"transport": "http", "peer": peer}}
        self.log.append(Draft(Phase.UNAUTHENTICATED, "http.unauthenticated", uuid7(), body))


def _clinician(actor: Actor) -> str:
    if actor.type != "Clinician":
        raise Refused("Only a clinician, with their own token, may do this.")
    return actor.id


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise InvalidArguments(f"The body needs {name}, a text.")
    return value


def _peer(request: Request) -> str:
    return request.client.host if request.client else "unknown"


async def _body(request: Request) -> bytes:
    return await read_body(request.receive)


def _oauth_error(code: str, description: str, status: int) -> Response:
    return JSONResponse(
        {"error": code, "error_description": description}, status_code=status, headers={"Cache-Control": "no-store"}
    )
