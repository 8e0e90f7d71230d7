"""The one way through: identify, decide, record, run. One middleware around every call of every server.

`Guard.perform` reads top to bottom what happens to the calls that came in together. It runs in a worker thread,
shielded from the client: a caller that goes away does not keep its call off the record.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import structlog
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_REQUEST, CallToolResult, TextContent
from pydantic import ValidationError
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from clinic_mcp.audit.event import Draft
from clinic_mcp.audit.log import AuditLog
from clinic_mcp.audit.recovery import close_calls
from clinic_mcp.core import record, tracing
from clinic_mcp.core.answers import crash, failure
from clinic_mcp.core.credentials import Credentials
from clinic_mcp.core.db import Database, cause
from clinic_mcp.core.errors import (
    AuditUnavailable,
    ClinicError,
    InvalidArguments,
    Refused,
    Unauthenticated,
    Unavailable,
    UnknownTool,
)
from clinic_mcp.core.identity import Caller, resolve
from clinic_mcp.core.opening import open_call, tool_name
from clinic_mcp.core.patience import Patience
from clinic_mcp.core.policy import POLICY_ERROR, PolicySet, Request
from clinic_mcp.core.question import ask
from clinic_mcp.core.record import Call, Understood
from clinic_mcp.core.reload import PoliciesInForce
from clinic_mcp.core.tokens import Claims
from clinic_mcp.core.tool import ServerTools, Target, Work, as_text
from clinic_mcp.core.waiting import Waiting
from clinic_mcp.core.worker import Worker


class Guard:
    """Decides and records every call of one server.

    Args:
        server: The server's tools.
        database: The clinic's database.
        log: This process's audit log.
        policies: The policies in force.
        clinic_id: The clinic served.
        transport: `stdio`, `sse` or `http`.
        credentials: Finds the verified claims of a call, or why there are none.
        timeout: Seconds a call may take.
    """

    def __init__(
        self,
        server: ServerTools,
        database: Database,
        log: AuditLog,
        policies: PoliciesInForce,
        *,
        clinic_id: str,
        transport: str,
        credentials: Credentials,
        timeout: float,
    ) -> None:
        self.server = server
        self.database = database
        self.log = log
        self.policies = policies
        self.clinic_id = clinic_id
        self.transport = transport
        self.credentials = credentials
        self.worker: Worker[Call] = Worker(self.perform, server.name)
        self._reading = Patience(log.patience.seconds)
        self.waiting = Waiting(self.worker, (log.patience, self._reading), timeout)
        self._in_flight: set[tuple[str, str, str]] = set()
        self._unclosed: set[str] = set()  # calls whose outcome the log could not take
        self._lines = structlog.get_logger().bind(part=server.name)

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """The SDK's middleware: every inbound message passes here."""
        name = tool_name(ctx.params, self.server) if ctx.method == "tools/call" else None
        with tracing.message_span(ctx.method, name, ctx.protocol_version, ctx.meta):
            if ctx.request_id is None or ctx.method != "tools/call":
                return await call_next(ctx)
            return await self._one_at_a_time(ctx, call_next)

    async def _one_at_a_time(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Let a call through unless one with its id is still in flight on its connection."""
        ticket = (self.credentials.connection(ctx), type(ctx.request_id).__name__, str(ctx.request_id))
        call = open_call(ctx, self.server, self.credentials, self.transport)
        if self.transport != "http":  # stateless HTTP has no connection on which answers could be mixed up
            if ticket in self._in_flight:
                await self._record_unperformed(call, "duplicate_id")
                raise MCPError(code=INVALID_REQUEST, message="A request with this id is still in flight.")
            self._in_flight.add(ticket)
        try:
            return await call_next(replace(ctx, lifespan_context=call))
        except (MCPError, ValidationError):
            await self._record_unperformed(call, "malformed")
            raise
        finally:
            self._in_flight.discard(ticket)

    async def visible(self, ctx: ServerRequestContext[Any, Any]) -> set[str]:
        """The tools worth showing a caller. One nobody knows sees their names: calling one says what is missing."""
        claims = self.credentials.find(ctx, ctx.meta or {})
        if isinstance(claims, Unauthenticated):
            return set(self.server.tools)
        return await anyio.to_thread.run_sync(self._visible_to, claims)

    def _visible_to(self, claims: Claims) -> set[str]:
        try:
            with self.database.read() as connection:
                principal = resolve(connection, claims).principal
        except Unauthenticated:
            return set()
        return self.policies.current.visible(principal, self.server.tools)

    def perform(self, calls: Sequence[Call]) -> None:
        """Identify, decide, record, run, for the calls that came in together. What goes wrong is a refusal."""
        try:
            self.settle()
            self._admit(calls)
            admitted = [call for call in calls if call.answer is None]
            self._record(admitted, [record.intent(call) for call in admitted], durable=False)
            for call in admitted:
                if call.answer is None:  # its intent is on the record
                    self._run(call)
            ending = [(call, call.closing) for call in calls if call.closing is not None]
            self._record([call for call, _ in ending], [closing for _, closing in ending], durable=True)
        except Exception as exc:  # noqa: BLE001 - nothing of an unforeseen error may reach the caller
            self._lines.error("calls.crashed", count=len(calls), error=type(exc).__name__)
            for call in calls:
                call.answer = crash(call)
        for call in calls:
            self._tell(call)

    def _admit(self, calls: Sequence[Call]) -> None:
        """Identify callers and load what the calls are about, over one picture of the data; then decide each."""
        policies = self.policies.current
        try:
            with self._reading.waiting(), self.database.read() as connection:
                for call in calls:
                    with self._refusing(call):
                        _still_wanted(call)
                        call.understood = self._understand(call, self._identify(call, connection), connection)
        except ClinicError as unavailable:
            for call in calls:
                self._refuse(call, unavailable)
        for call in calls:
            if call.understood is not None and call.answer is None:
                with self._refusing(call):
                    self._decide(call, call.understood, policies)

    # identify

    def _identify(self, call: Call, connection: Connection) -> Caller:
        if isinstance(call.claims, Unauthenticated):
            raise call.claims
        try:
            call.caller = resolve(connection, call.claims)
        except Unauthenticated as exc:
            raise self.credentials.explain(exc) from exc
        return call.caller

    # decide

    def _understand(self, call: Call, caller: Caller, connection: Connection) -> Understood:
        tool = call.tool
        if tool is None:
            raise UnknownTool("This server has no such tool.", "Ask tools/list for the tools there are.")
        try:
            arguments = tool.arguments.model_validate(dict(call.arguments))
        except ValidationError as exc:
            wrong = {str(error["loc"][0]) for error in exc.errors() if error["loc"]}
            declared = sorted(wrong & set(tool.arguments.model_fields))
            named = f" ({', '.join(declared)})" if declared else ""
            message = f"The arguments do not fit the tool's schema{named}."
            raise InvalidArguments(message, "Read the tool's input schema.") from exc
        target = call.target = tool.target(connection, arguments, self.clinic_id, caller)
        return Understood(caller, tool, arguments, target)

    def _decide(self, call: Call, understood: Understood, policies: PolicySet) -> None:
        inputs = understood.arguments.model_dump(exclude_none=True)
        request = self._ask(call, understood.tool.name, inputs, understood.target)
        decision = policies.decide(request)
        call.policies, call.request = policies, request
        call.decision = record.decided(decision, policies)
        if POLICY_ERROR in decision.policies:
            self._lines.error("policy.error", call_id=call.call_id, tool=understood.tool.name)
        if not decision.allowed:
            raise Refused("The clinic's policies do not permit this call.", policies.advice(request, decision))
        if self.log.disk is not None:
            self.log.disk.check(bulk=understood.tool.bulk)

    def _ask(self, call: Call, action: str, inputs: Mapping[str, Any], target: Target) -> Request:
        if call.caller is None:
            raise Unauthenticated("none")
        return ask(call.caller, action, inputs, target, transport=call.transport, started=call.started)

    def _may(self, call: Call, action: str, inputs: Mapping[str, Any], target: Target) -> bool:
        """Whether an allowed call's caller may do something else: by the policies that allowed the call."""
        return call.policies is not None and call.policies.decide(self._ask(call, action, inputs, target)).allowed

    # record

    def _record(self, calls: Sequence[Call], drafts: Sequence[Draft], *, durable: bool) -> None:
        """Put an event of each call on the record; a call whose event cannot be kept gets no other answer."""
        started = time.perf_counter_ns()
        errors = self.log.append_each(drafts, durable=durable)
        took = (time.perf_counter_ns() - started) // 1_000
        for call, draft, error in zip(calls, drafts, errors, strict=True):
            call.recording_us += took
            if error is None:
                call.recorded, call.event_id = True, draft.event_id
            else:
                self._lines.warning("call.unrecorded", call_id=call.call_id, reason=error.message)
                if call.recorded:
                    self._unclosed.add(call.call_id)
                call.answer, call.code, call.closing = failure(error, call), error.code, None

    async def _record_unperformed(self, call: Call, code: str) -> None:
        """A request the protocol itself refuses was still a call: it goes on the record too."""
        if not call.recorded:
            refusal: ClinicError = InvalidArguments("The request cannot be performed.", code=code)
            if isinstance(call.claims, Unauthenticated):
                refusal = call.claims
            draft = record.refusal(call, refusal)
            await anyio.to_thread.run_sync(self.log.append, draft)
            call.recorded, call.event_id, call.code = True, draft.event_id, refusal.code
            self._tell(call)

    def _tell(self, call: Call) -> None:
        """The one line and the metrics of a call that has ended. No argument, no result, no person, no patient."""
        decision = call.decision or {}
        self._lines.info(
            "call",
            call_id=call.call_id,
            event_id=call.event_id,
            tool=call.label,
            code=call.code or "failed",
            decision=decision.get("effect"),
            policies=decision.get("policies"),
            duration_us=call.duration_us,
            audit_us=call.recording_us,
        )
        tracing.count(call)

    def settle(self) -> bool:
        """Say of calls whose outcome the log could not take, now that it may, that nobody knows how they ended.

        Returns:
            Whether none is left to be said of.
        """
        if self._unclosed:
            with suppress(ClinicError, SQLAlchemyError):
                close_calls(self.log, self._unclosed, self.server.writes)
                self._unclosed.clear()
        return not self._unclosed

    @contextmanager
    def _refusing(self, call: Call) -> Iterator[None]:
        try:
            yield
        except ClinicError as refusal:
            self._refuse(call, refusal)
        except SQLAlchemyError as exc:
            self._refuse(call, Unavailable(f"The clinic's database is not available ({cause(exc)})."))
        except Exception as exc:  # noqa: BLE001 - an unforeseen error is a refusal, and goes on the record as one
            self._lines.error("call.crashed", call_id=call.call_id, error=type(exc).__name__)
            self._refuse(call, ClinicError(f"The call failed (reference {call.call_id})."))

    def _refuse(self, call: Call, refusal: ClinicError) -> None:
        call.answer, call.code = failure(refusal, call), refusal.code
        call.closing = record.refusal(call, refusal)

    # run

    def _run(self, call: Call) -> None:
        understood = call.understood
        if understood is None:
            return
        try:
            content = (self._write if understood.tool.writes else self._read)(call, understood)
            text = TextContent(type="text", text=as_text(content))
            call.answer = CallToolResult(content=[text], structured_content=content, is_error=False)
            call.code = "ok"
        except AuditUnavailable as unavailable:  # nothing was changed, and the log could take no outcome either
            call.answer, call.code = failure(unavailable, call), unavailable.code
            self._unclosed.add(call.call_id)
        except ClinicError as failed:
            self._fail(call, failed, failed.code)
        except SQLAlchemyError as exc:
            sentence = f"The clinic's database is not available ({cause(exc)})."
            self._fail(call, Unavailable(sentence), type(exc).__name__)
        except Exception as exc:  # noqa: BLE001 - a tool's own error text may hold patient data
            self._lines.error("tool.crashed", call_id=call.call_id, tool=call.label, error=type(exc).__name__)
            self._fail(call, ClinicError(f"The tool failed (reference {call.call_id})."), type(exc).__name__)

    def _fail(self, call: Call, failed: ClinicError, kind: str) -> None:
        call.answer, call.code = failure(failed, call), failed.code
        call.closing = record.failure(call, kind)

    def _read(self, call: Call, understood: Understood) -> dict[str, Any]:
        # No read transaction stays open while the log commits: it would keep SQLite's write-ahead log from being reset.
        with self.database.read() as connection:
            work = self._work(connection, call, understood)
            content = understood.tool.structured(understood.tool.run(work, understood.arguments))
        call.disclosed = tuple(work.disclosed)
        _still_wanted(call)
        call.closing = record.success(call, content)
        return content

    def _write(self, call: Call, understood: Understood) -> dict[str, Any]:
        with self.log.transaction() as transaction:
            work = self._work(transaction.connection, call, understood)
            content = understood.tool.structured(understood.tool.run(work, understood.arguments))
            call.committing = True  # before the last look: whoever gives up from here on says that it is in doubt
            _still_wanted(call)
            outcome = record.success(call, content, work.effect)
            transaction.record(outcome)
        call.committing, call.event_id = False, outcome.event_id
        return content

    def _work(self, connection: Connection, call: Call, understood: Understood) -> Work:
        return Work(
            connection=connection,
            caller=understood.caller,
            call_id=call.call_id,
            clinic_id=self.clinic_id,
            started=call.started,
            facts=understood.target.facts or {},
            may=partial(self._may, call),
        )


def _still_wanted(call: Call) -> None:
    """A result nobody waits for is not disclosed, and a write nobody waits for is not made."""
    if call.abandoned is not None:
        raise Unavailable("The caller did not wait for the answer.", code=call.abandoned)
