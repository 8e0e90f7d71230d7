"""Our patient-records server without its audit log, for measuring what the log costs. It exists in this folder only."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import anyio
from clinic_mcp.audit.event import Draft
from clinic_mcp.audit.log import AuditLog, Transaction
from clinic_mcp.core import log as logging
from clinic_mcp.core.app import Application, bind
from clinic_mcp.core.errors import AuditUnavailable
from clinic_mcp.core.settings import Settings
from clinic_mcp.registry import SERVERS


class Nothing(AuditLog):
    """Keeps nothing of what it is given."""

    def append(self, *drafts: Draft, durable: bool = True) -> None:
        """Nothing."""

    def append_each(self, drafts: Sequence[Draft], *, durable: bool) -> list[AuditUnavailable | None]:
        """Nothing, for each."""
        return [None] * len(drafts)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """The write alone."""
        with self.database.write() as connection:
            yield Transaction(connection, self)


def main(port: int) -> None:
    settings = Settings()
    logging.configure("ERROR")
    with bind("127.0.0.1", port, settings) as listener:
        application = Application(SERVERS["patient-records"](), settings, "http", port)
        nothing = Nothing(application.database, application.log.writer, announce=False)
        application.guard.log = nothing
        try:
            anyio.run(application.run_http, "127.0.0.1", listener)
        finally:
            application.close()


if __name__ == "__main__":
    main(int(sys.argv[1]))
