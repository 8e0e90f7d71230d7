"""A consultations service with the contract's HTTP shapes, keeping everything in memory."""

import time
import uuid
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

AUDIENCE = "urn:clinic-mcp:consultations"
GRANT_SECRET = "a stand-in's secret, shared by the stand-ins of one test only"
AGENTS = ("intake_agent", "prescription_agent")


def new_key(kid: str) -> tuple[dict[str, Any], Any]:
    key = Ed25519PrivateKey.generate()
    return {**OKPAlgorithm.to_jwk(key, as_dict=True), "kid": kid}, key.public_key()


class ClinicStandIn:
    """What the service knows, and what the tests may look at or turn."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {}
        self.secrets: dict[str, str] = {}
        self.credentials: dict[str, dict[str, Any]] = {}
        self.consultations: dict[str, dict[str, Any]] = {}
        self.exchanges: list[tuple[str, str, str]] = []
        self.used: set[str] = set()
        self.grant_life = 900
        for client in ("clinic-agent", "dr-osei"):
            jwk, public = new_key(f"{client}-1")
            self.keys[client] = public
            self.credentials[client] = {
                "client_id": client,
                "token_endpoint": "http://127.0.0.1:8100/oauth/token",
                "audience": AUDIENCE,
                "private_key": jwk,
            }
        self.credentials["clinic-agent"]["agents"] = list(AGENTS)

    def open(self, patient: str, session: str | None = None, signed: bool = False) -> str:
        session = session or f"S-{uuid.uuid4().hex[:8]}"
        self.consultations[session] = {
            "session_id": session,
            "patient_id": patient,
            "status": "prescribing" if signed else "intake",
            "open": True,
            "signed_off_by": "dr-osei" if signed else None,
            "clarifications": [],
            "notes": "",
        }
        return session

    def app(self) -> Starlette:
        sid = "/consultations/{sid}"
        return Starlette(
            routes=[
                Route("/oauth/token", self._token, methods=["POST"]),
                Route("/consultations", self._open, methods=["POST"]),
                Route(sid, self._show),
                Route(sid + "/status", self._status, methods=["POST"]),
                Route(sid + "/clarifications", self._ask, methods=["POST"]),
                Route(sid + "/clarifications/answer", self._answer, methods=["POST"]),
                Route(sid + "/sign-off", self._sign_off, methods=["POST"]),
                Route(sid + "/close", self._close, methods=["POST"]),
            ]
        )

    async def _token(self, request: Request) -> Response:
        form = dict(await request.form())
        if "client_secret" in form:
            asked = str(form["client_id"])
            client = asked if self.secrets.get(asked) == form["client_secret"] else None
        else:
            client = self._client(str(form.get("client_assertion", "")))
        if client is None:
            return JSONResponse({"error": "invalid_client"}, 401)
        claims = {"client": client, "jti": uuid.uuid4().hex, "exp": int(time.time()) + 900, "aud": form["audience"]}
        if form["grant_type"] == "client_credentials":
            return self._issued(claims)
        session, agent = str(form["subject_token"]), str(form["actor_token"])
        self.exchanges.append((session, agent, str(form["audience"])))
        found = self.consultations.get(session)
        if found is None or not found["open"]:
            return self._no_grant("This consultation is not open.")
        if agent not in AGENTS:
            return self._no_grant(f"There is no agent {agent}.")
        if agent == "prescription_agent" and not found["signed_off_by"]:
            return self._no_grant("The prescription agent waits for a sign-off.")
        return self._issued({**claims, "sid": session, "agent": agent, "patient": found["patient_id"]})

    def _client(self, assertion: str) -> str | None:
        try:
            client = jwt.decode(assertion, options={"verify_signature": False})["sub"]
            claims = jwt.decode(assertion, self.keys[client], algorithms=["EdDSA"], audience=AUDIENCE, issuer=client)
        except (jwt.PyJWTError, KeyError):
            return None
        if claims["jti"] in self.used or claims["exp"] - claims["iat"] > 60:
            return None
        self.used.add(claims["jti"])
        return str(client)

    def _issued(self, claims: dict[str, Any]) -> Response:
        return JSONResponse(
            {
                "access_token": jwt.encode(claims, GRANT_SECRET, algorithm="HS256"),
                "issued_token_type": "urn:ietf:params:oauth:token-type:jwt",
                "token_type": "Bearer",
                "expires_in": self.grant_life,
            }
        )

    @staticmethod
    def _no_grant(why: str) -> Response:
        return JSONResponse({"error": "invalid_grant", "error_description": why}, 400)

    def _who(self, request: Request) -> str | None:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        try:
            claims = jwt.decode(token, GRANT_SECRET, algorithms=["HS256"], audience="consultations")
        except jwt.PyJWTError:
            return None
        return str(claims["client"])

    async def _open(self, request: Request) -> Response:
        if self._who(request) is None:
            return JSONResponse({"error": "invalid_token", "message": "No."}, 401)
        session = self.open((await request.json())["patient_id"])
        return JSONResponse(self.consultations[session], 201)

    def _found(self, request: Request) -> dict[str, Any]:
        return self.consultations[request.path_params["sid"]]

    async def _show(self, request: Request) -> Response:
        return JSONResponse(self._found(request))

    async def _status(self, request: Request) -> Response:
        found, status = self._found(request), (await request.json())["status"]
        if self._who(request) != "clinic-agent" or found["status"] != "intake":
            return JSONResponse({"error": "conflict", "message": f"{found['status']} does not become {status}."}, 409)
        found["status"] = status
        return JSONResponse(found)

    async def _ask(self, request: Request) -> Response:
        if self._who(request) == "clinic-agent":
            return JSONResponse({"error": "forbidden", "message": "Only a clinician asks."}, 403)
        found = self._found(request)
        found["clarifications"].append({"question": (await request.json())["question"]})
        found["status"] = "clarifying"
        return JSONResponse(found, 201)

    async def _answer(self, request: Request) -> Response:
        found = self._found(request)
        found["clarifications"][-1]["answer"] = (await request.json())["answer"]
        found["status"] = "awaiting_doctor"
        return JSONResponse(found)

    async def _sign_off(self, request: Request) -> Response:
        who, found, notes = self._who(request), self._found(request), (await request.json())["notes"]
        if who in (None, "clinic-agent"):
            return JSONResponse({"error": "forbidden", "message": "Only a clinician signs off."}, 403)
        if found["signed_off_by"] and (found["signed_off_by"], found["notes"]) != (who, notes):
            return JSONResponse({"error": "conflict", "message": "Signed off with other notes."}, 409)
        repeated = bool(found["signed_off_by"])
        found.update(status="prescribing", signed_off_by=who, notes=notes)
        return JSONResponse({"sign_off_id": "SO-1"}, 200 if repeated else 201)

    async def _close(self, request: Request) -> Response:
        found = self._found(request)
        found["open"] = False
        if found["status"] != "emergency":
            found["status"] = "complete"
        return JSONResponse(found)
