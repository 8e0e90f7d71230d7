"""How long a caller waits: for its call, and for the log its call must be put on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import anyio
from mcp_types import CallToolResult
from opentelemetry import trace

from clinic_mcp.audit.log import too_slow
from clinic_mcp.core import tracing
from clinic_mcp.core.answers import crash, failure
from clinic_mcp.core.errors import IN_DOUBT, AuditUnavailable, ClinicError, Unavailable
from clinic_mcp.core.patience import Patience
from clinic_mcp.core.record import Call
from clinic_mcp.core.worker import Worker

LOOK_EVERY = 1.0
"""Seconds after which a waiting call looks whether the store is silent."""


class Waiting:
    """Hands calls to the worker and waits for their answers, as long as the store gives any.

    Args:
        worker: Performs them.
        stores: What the worker waits for: the log's patience, and that of the reads before a decision.
        timeout: Seconds a call may take.
    """

    def __init__(self, worker: Worker[Call], stores: Sequence[Patience], timeout: float) -> None:
        self._worker = worker
        self._stores = stores
        self._timeout = timeout

    async def answer(self, call: Call) -> CallToolResult:
        """Have a call performed, within its time and the log's."""
        try:
            with anyio.fail_after(self._timeout):
                await self._performed(call)
        except TimeoutError:
            return _give_up(call, Unavailable("The call took too long.", "Try again.", code="timeout"))
        except AuditUnavailable as stuck:
            return _give_up(call, stuck)
        except anyio.get_cancelled_exc_class():
            call.abandoned = "cancelled"
            raise
        tracing.describe(trace.get_current_span(), call)
        return call.answer or crash(call)

    async def _performed(self, call: Call) -> None:
        """Wait for the worker as long as the store answers it.

        Raises:
            AuditUnavailable: The store has been silent for too long.
        """
        self._check()  # so that nothing more is queued behind it
        done = self._worker.submit(call)
        while not done.done():
            with anyio.move_on_after(LOOK_EVERY):
                await asyncio.shield(done)
            if not done.done():
                self._check()

    def _check(self) -> None:
        for store in self._stores:
            if store.over:
                raise too_slow(store.seconds)


def _give_up(call: Call, why: ClinicError) -> CallToolResult:
    """Answer a call that nobody waits for any longer; the worker drops it when it comes to it."""
    call.abandoned = call.code = why.code
    tracing.describe(trace.get_current_span(), call)
    if call.committing:
        doubt, advice = IN_DOUBT
        why = ClinicError(f"{why.message} {doubt}", advice, code=why.code)
    return failure(why, call)
