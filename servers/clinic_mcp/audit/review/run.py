"""Runs the review page until it is told to stop."""

from __future__ import annotations

from contextlib import ExitStack
from urllib.parse import urlsplit

import anyio

from clinic_mcp.audit.recovery import close_orphans
from clinic_mcp.audit.review.access import Access
from clinic_mcp.audit.review.app import ReviewPage
from clinic_mcp.audit.review.attempts import Attempts
from clinic_mcp.audit.review.integrity import Checker
from clinic_mcp.audit.review.openid import OpenId
from clinic_mcp.audit.review.sessions import Sessions
from clinic_mcp.audit.review.signing_in import SigningIn
from clinic_mcp.audit.review.visit import Parts
from clinic_mcp.core import log as logging
from clinic_mcp.core import telemetry
from clinic_mcp.core.app import bind, open_log, run_uvicorn
from clinic_mcp.core.db import Database
from clinic_mcp.core.errors import Misconfigured
from clinic_mcp.core.issuers import Issuers
from clinic_mcp.core.reload import PoliciesInForce
from clinic_mcp.core.resource import check_public, resource_url
from clinic_mcp.core.settings import REVIEW, SUITE, Settings
from clinic_mcp.registry import SERVERS


def run(settings: Settings, host: str, port: int) -> None:
    """Serve the page on an address.

    Raises:
        Misconfigured: The policies, providers or keys cannot be used, or the address cannot be bound.
        AuditUnavailable: The audit log cannot be written.
    """
    logging.configure(settings.log_level)
    check_public(settings, REVIEW, host)
    with ExitStack() as stack:
        stack.callback(telemetry.configure(settings, REVIEW))
        listener = stack.enter_context(bind(host, port, settings))
        url = resource_url(settings, REVIEW, "/", port=listener.getsockname()[1])
        if urlsplit(url).path not in ("", "/"):
            raise Misconfigured(
                "The review page needs a host name of its own: its URL in CLINIC_PUBLIC_URLS has a path.",
                'Give one such as {"review": "https://review.clinic.example/"}.',
            )
        issuers = Issuers(settings, frozenset({REVIEW, SUITE}), url)
        openid = OpenId(settings, issuers.providers, url)
        policies = PoliciesInForce(settings.policies, {})
        database = Database(settings.url, part=REVIEW)
        stack.callback(database.close)
        log = open_log(settings, database, REVIEW)
        stack.callback(log.close)
        close_orphans(log, ())
        policies.announce(log)
        policies.watch(log)
        stack.callback(policies.close)
        written = {table.name: table for load in SERVERS.values() for table in load().writes}
        checker = Checker(settings, database, list(written.values()))
        checker.start()
        stack.callback(checker.close)
        parts = Parts(
            clinic=settings.id,
            database=database,
            log=log,
            access=Access(settings.id, database, log, policies, issuers),
            sessions=Sessions(),
            attempts=Attempts(),
            checker=checker,
            tls=urlsplit(url).scheme == "https",
        )
        page = ReviewPage(parts, SigningIn(parts, openid))
        anyio.run(run_uvicorn, page.asgi(settings), listener)
