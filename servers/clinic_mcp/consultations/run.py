"""Runs the consultations service until it is told to stop."""

from __future__ import annotations

import anyio

from clinic_mcp.audit.sequencer import Background
from clinic_mcp.consultations.service import ConsultationsService
from clinic_mcp.core import log as logging
from clinic_mcp.core import telemetry
from clinic_mcp.core.app import bind, run_uvicorn
from clinic_mcp.core.resource import check_public
from clinic_mcp.core.settings import CONSULTATIONS, Settings


def run(settings: Settings, host: str, port: int) -> None:
    """Serve HTTP on an address.

    Raises:
        Misconfigured: There is no signing key, the providers cannot be used, or the address cannot be bound.
        AuditUnavailable: The audit log cannot be written.
    """
    logging.configure(settings.log_level)
    check_public(settings, CONSULTATIONS, host)
    finish = telemetry.configure(settings, CONSULTATIONS)
    with bind(host, port, settings) as listener:
        service = ConsultationsService(settings, listener.getsockname()[1])
        sequencer = Background(settings)
        try:
            anyio.run(run_uvicorn, service.asgi(), listener)
        finally:
            sequencer.close()
            service.close()
            finish()
