"""`/oauth/token`: RFC 8693 token exchange for agents, and a client's or person's own token."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from clinic_mcp.audit.event import Draft, Phase, uuid7
from clinic_mcp.audit.log import AuditLog, too_slow
from clinic_mcp.consultations.client_auth import ClientAuthentication
from clinic_mcp.consultations.grants import Mint, Minted
from clinic_mcp.consultations.keys import SigningKey
from clinic_mcp.consultations.rows import AGENTS
from clinic_mcp.consultations.store import Consultations
from clinic_mcp.core.app import record_stranger
from clinic_mcp.core.errors import AuditUnavailable, ClinicError, InvalidArguments, Refused, Unauthenticated
from clinic_mcp.core.http import BadBodyError, read_body
from clinic_mcp.core.patience import within
from clinic_mcp.core.settings import CONSULTATIONS, SERVERS, Settings

TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - RFC 8693, not a secret
TOKEN_TYPE_JWT = "urn:ietf:params:oauth:token-type:jwt"  # noqa: S105 - RFC 8693, not a secret
CONSULTATION_TYPE = "urn:clinic-mcp:token-type:consultation"
AGENT_TYPE = "urn:clinic-mcp:token-type:agent"

SESSION_ID = re.compile(r"C-[0-9a-f]{16}")


class TokenEndpoint:
    """Mints tokens for clients that prove who they are.

    Args:
        settings: The operator's settings.
        consultations: The clinic's consultations, and their audit log.

    Raises:
        Misconfigured: There is no signing key.
    """

    def __init__(self, settings: Settings, consultations: Consultations) -> None:
        self._settings = settings
        self._consultations = consultations
        self._log: AuditLog = consultations.log
        self._signing_key = SigningKey(settings.keys)
        self._clients = ClientAuthentication(consultations.log.database, settings.id)

    async def answer(self, request: Request) -> Response:
        """Answer a token request (RFC 6749, section 5; RFC 8693, section 2.2)."""
        authorization = request.headers.get("authorization")
        peer = request.client.host if request.client else "unknown"
        try:
            fields = parse_qsl((await read_body(request.receive)).decode("utf-8"), strict_parsing=True)
            form = dict(fields)
            if len(form) != len(fields):  # RFC 6749, section 3.2: parameters are not repeated
                raise InvalidArguments("A field of the form is repeated.")
            minted = await within(self._settings.tool_timeout, self._exchange, form, authorization, peer)
        except (BadBodyError, ValueError):
            return _error("invalid_request", "The request is not a form.", 400)
        except Unauthenticated as refusal:
            return await self._turn_away(refusal, peer, basic=authorization is not None)
        except TimeoutError:
            return _error("temporarily_unavailable", "The request took too long. Try again.", 503)
        except InvalidArguments as exc:
            return _error("invalid_request", exc.message, 400)
        except ClinicError as exc:
            known = {"invalid_target": ("invalid_target", 400), "audit_unavailable": ("temporarily_unavailable", 503)}
            code, status = known.get(exc.code, ("invalid_grant", 400))
            return _error(code, " ".join(filter(None, (exc.message, exc.advice))), status)
        body = {
            "access_token": minted.token,
            "issued_token_type": TOKEN_TYPE_JWT,
            "token_type": "Bearer",
            "expires_in": minted.expires_in,
        }
        return JSONResponse(body, headers={"Cache-Control": "no-store"})

    def _exchange(self, form: dict[str, str], authorization: str | None, peer: str) -> Minted:
        client = self._clients.authenticate(form, authorization)
        mint = Mint(self._signing_key.current(), self._settings.issuer, self._settings.id)
        grant_type = form.get("grant_type")
        if grant_type == "client_credentials":
            return self._own_token(mint, client, form, peer)
        if grant_type != TOKEN_EXCHANGE:
            raise InvalidArguments("The grant_type is not supported.")
        if form.get("subject_token_type") != CONSULTATION_TYPE or form.get("actor_token_type") != AGENT_TYPE:
            raise InvalidArguments("The subject is a consultation and the actor an agent.")
        return self._grant(mint, client, form, peer)

    def _grant(self, mint: Mint, client: Any, form: dict[str, str], peer: str) -> Minted:
        session_id, agent = form.get("subject_token", ""), form.get("actor_token", "")
        subject: dict[str, Any] = {"principal": {"type": "Client", "id": client.id, "clinic": self._settings.id}}
        try:
            if agent not in client.agent_ids.split():
                raise Refused("This client may not act as that agent.")
            if form.get("audience") not in SERVERS:
                raise Refused(f"A grant is for one server: {', '.join(SERVERS)}.", code="invalid_target")
            with self._log.database.read() as connection:
                minted = mint.grant(connection, session_id, agent, form["audience"], client=client.id)
                patient = self._consultations.show(connection, session_id)["patient_id"]
        except ClinicError as refusal:
            decision = {"effect": "deny", "policies": [refusal.code], "errors": 0}
            body = {**subject, "decision": decision, "network": {"transport": "http", "peer": peer}}
            if agent in AGENTS:
                body["agent"] = {"id": agent}
            if SESSION_ID.fullmatch(session_id):
                body["session"] = {"consultation": session_id}
            self._log.append(Draft(Phase.DECISION, "grant.refused", uuid7(), body))
            raise
        body = {
            **subject,
            "agent": {"id": agent},
            "delegation": [{"sub": minted.subject}, {"act": agent}],
            "session": {"consultation": session_id, "jti": minted.jti},
            "network": {"transport": "http", "peer": peer},
        }
        self._log.append(Draft(Phase.ADMIN, "grant.issued", uuid7(), body, (patient,)))
        return minted

    def _own_token(self, mint: Mint, client: Any, form: dict[str, str], peer: str) -> Minted:
        audience = form.get("audience", CONSULTATIONS)
        if client.person_id is None:
            if audience != CONSULTATIONS:
                raise Refused("This client calls servers only with a grant.", code="invalid_target")
            minted = mint.client(client.id)
        else:
            with self._log.database.read() as connection:
                minted = mint.person(connection, client.person_id, audience)
        body = {
            "principal": {"type": "Client", "id": client.id, "clinic": self._settings.id},
            "session": {"jti": minted.jti},
            "network": {"transport": "http", "peer": peer},
        }
        self._log.append(Draft(Phase.ADMIN, "token.issued", uuid7(), body))
        return minted

    async def _turn_away(self, refusal: Unauthenticated, peer: str, *, basic: bool) -> Response:
        try:
            await within(self._settings.audit_timeout, self._record_stranger, peer, refusal.reason)
        except AuditUnavailable as unavailable:
            return _error("temporarily_unavailable", unavailable.message, 503)
        except TimeoutError:
            return _error("temporarily_unavailable", too_slow(self._settings.audit_timeout).message, 503)
        answer = _error("invalid_client", "The client could not be authenticated.", 401)
        if basic:  # RFC 6749, section 5.2: who came with a header is told of which scheme
            answer.headers["WWW-Authenticate"] = 'Basic realm="clinic-mcp"'
        return answer

    def _record_stranger(self, peer: str, reason: str) -> None:
        record_stranger(self._log, "http", peer, reason)


def _error(code: str, description: str, status: int) -> Response:
    return JSONResponse(
        {"error": code, "error_description": description}, status_code=status, headers={"Cache-Control": "no-store"}
    )
