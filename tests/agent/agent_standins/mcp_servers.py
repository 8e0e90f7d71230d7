"""The four MCP servers on the SDK's own FastMCP, checking grants and answering in the contract's shapes.

As a program: `mcp_servers.py serve NAME --transport stdio`.
"""

import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
from mcp.server.fastmcp import Context, FastMCP
from mcp.types import CallToolResult, TextContent
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import Message, Receive, Scope, Send

GRANT_SECRET = "a stand-in's secret, shared by the stand-ins of one test only"
SERVERS = ("patient-records", "knowledge-base", "pharmacy", "prescriptions")
PATIENTS = {
    "P001": {
        "id": "P001",
        "name": "Alice Thompson",
        "dob": "1985-03-12",
        "blood_type": "A+",
        "allergies": "Penicillin",
    },
    "P002": {"id": "P002", "name": "Bob Patel", "dob": "1972-07-24", "blood_type": "O-", "allergies": "None"},
}
HISTORY = {
    "P001": [{"date": "2024-02-01", "condition": "Migraine", "treatment": "Ibuprofen", "notes": "Mild"}],
    "P002": [],
}
STOCK = {
    "paracetamol": {"medication": "Paracetamol 500 mg", "generic_name": "Paracetamol", "quantity": 200},
    "amoxicillin": {
        "medication": "Amoxicillin 500 mg",
        "generic_name": "Amoxicillin",
        "quantity": 0,
        "alternatives": [{"medication": "Azithromycin", "in_stock": True}],
    },
    "azithromycin": {"medication": "Azithromycin 250 mg", "generic_name": "Azithromycin", "quantity": 40},
}


def _answer(value: Any) -> CallToolResult:
    content = value if isinstance(value, dict) else {"result": value}
    return CallToolResult(content=[TextContent(type="text", text=json.dumps(value))], structuredContent=content)


def _refuse(code: str, message: str) -> CallToolResult:
    return CallToolResult(
        content=[TextContent(type="text", text=f"{code}: {message}")],
        structuredContent={"error": {"code": code, "message": message}},
        isError=True,
    )


def _claims(grant: str, server: str) -> dict[str, Any] | None:
    try:
        claims: dict[str, Any] = jwt.decode(grant, GRANT_SECRET, algorithms=["HS256"], audience=server)
    except jwt.PyJWTError:
        return None
    return claims


def _grant(ctx: Context[Any, Any, Any]) -> str:
    request = ctx.request_context.request
    if request is not None:
        return str(request.headers.get("authorization", "")).removeprefix("Bearer ")
    meta = ctx.request_context.meta
    return str((meta.model_extra or {}).get("clinic-mcp/grant", "")) if meta is not None else ""


def build_server(name: str, recorded: dict[str, str]) -> FastMCP:
    """Make one server with its tools."""
    server = FastMCP(name, stateless_http=True, json_response=True, log_level="CRITICAL")

    def allowed(ctx: Context[Any, Any, Any], patient: str | None = None) -> dict[str, Any] | CallToolResult:
        claims = _claims(_grant(ctx), name)
        if claims is None:
            return _refuse("unauthenticated", "No grant, no call.")
        if patient is not None and claims["patient"] != patient:
            return _refuse("refused", "This consultation is about another patient.")
        return claims

    def get_patient_record(patient_id: str, ctx: Context[Any, Any, Any]) -> CallToolResult:
        claims = allowed(ctx, patient_id)
        return claims if isinstance(claims, CallToolResult) else _answer(PATIENTS[patient_id])

    def get_medical_history(patient_id: str, ctx: Context[Any, Any, Any]) -> CallToolResult:
        claims = allowed(ctx, patient_id)
        return claims if isinstance(claims, CallToolResult) else _answer(HISTORY[patient_id])

    def search_knowledge_base(query: str, ctx: Context[Any, Any, Any]) -> CallToolResult:
        claims = allowed(ctx)
        if isinstance(claims, CallToolResult):
            return claims
        return _answer([{"topic": "Fever", "content": f"About {query}.", "category": "symptom"}])

    def check_pharmacy_inventory(medication_name: str, ctx: Context[Any, Any, Any]) -> CallToolResult:
        claims = allowed(ctx)
        if isinstance(claims, CallToolResult):
            return claims
        item = STOCK.get(medication_name.lower())
        if item is None:
            missing = {"medication": medication_name, "in_stock": False, "quantity": 0}
            return _answer({**missing, "note": "Not found in pharmacy system."})
        return _answer({**item, "in_stock": item["quantity"] != 0, "unit": "tablets"})

    def record_prescription(session_id: str, prescription: str, ctx: Context[Any, Any, Any]) -> CallToolResult:
        claims = allowed(ctx)
        if isinstance(claims, CallToolResult):
            return claims
        if claims["sid"] != session_id:
            return _refuse("refused", "The grant is for another consultation.")
        recorded[session_id] = prescription
        return _answer(f"Prescription recorded for session {session_id}.")

    tools = {
        "patient-records": [get_patient_record, get_medical_history],
        "knowledge-base": [search_knowledge_base],
        "pharmacy": [check_pharmacy_inventory],
        "prescriptions": [record_prescription],
    }
    for tool in tools[name]:
        server.add_tool(tool)
    return server


class McpStandIn:
    """The four servers behind one port; keeps every call's arguments, `_meta` and bearer, and fails on demand."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.handshakes = 0
        self.recorded: dict[str, str] = {}
        self.failures: list[int] = []

    def urls(self, base: str, transport: str = "http") -> str:
        end = "sse" if transport == "sse" else "mcp"
        return ",".join(f"{name}={base}/{name}/{end}" for name in SERVERS)

    def app(self, transport: str = "http") -> Any:
        servers = [build_server(name, self.recorded) for name in SERVERS]
        if transport == "sse":
            mounts = [Mount(f"/{s.name}", app=self._checked(s.sse_app(), s.name)) for s in servers]
            return Starlette(routes=mounts)
        mounts = [Mount(f"/{s.name}", app=self._checked(s.streamable_http_app(), s.name)) for s in servers]

        @contextlib.asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            async with contextlib.AsyncExitStack() as stack:
                for server in servers:
                    await stack.enter_async_context(server.session_manager.run())
                yield

        return Starlette(routes=mounts, lifespan=lifespan)

    def _checked(self, app: Any, name: str) -> Any:
        async def checked(scope: Scope, receive: Receive, send: Send) -> None:
            headers = {key.decode(): value.decode() for key, value in scope["headers"]}
            bearer = headers.get("authorization", "").removeprefix("Bearer ")
            body = b""
            if scope["method"] == "POST":
                more = True
                while more:
                    part = await receive()
                    body, more = body + part.get("body", b""), part.get("more_body", False)
            message = json.loads(body) if body else {}
            status = 0 if _claims(bearer, name) is not None else 401
            if message.get("method") == "initialize":
                self.handshakes += 1
            if message.get("method") == "tools/call":
                self.calls.append({"server": name, "bearer": bearer, **message["params"]})
                status = self.failures.pop(0) if self.failures else status
            if status:
                await send({"type": "http.response.start", "status": status, "headers": []})
                await send({"type": "http.response.body", "body": b'{"error": "invalid_token"}'})
                return
            given = False

            async def again() -> Message:
                nonlocal given
                if scope["method"] != "POST" or given:
                    return await receive()
                given = True
                return {"type": "http.request", "body": body, "more_body": False}

            await app(scope, again, send)

        return checked


if __name__ == "__main__":
    spawned = Path(os.environ["CLINIC_HOME"]) / "spawned.txt"
    with spawned.open("a") as log:
        log.write(f"{sys.argv[2]} {os.getpid()}\n")
    build_server(sys.argv[2], {}).run("stdio")
