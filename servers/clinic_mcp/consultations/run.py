"""Runs the consultations service until it is told to stop."""

from __future__ import annotations

import anyio

from clinic_mcp.consultations.service import ConsultationsService
from clinic_mcp.core import log as logging
from clinic_mcp.core.app import bind, run_uvicorn
from clinic_mcp.core.settings import Settings


def run(settings: Settings, host: str, port: int) -> None:
    """Serve HTTP on an address.

    Raises:
        Misconfigured: There is no signing key, or the address cannot be bound.
        AuditUnavailable: The audit log cannot be written.
    """
    logging.configure(settings.log_level)
    listener = bind(host, port, settings)
    service = ConsultationsService(settings)
    try:
        anyio.run(run_uvicorn, service.asgi(), listener)
    finally:
        service.close()
