"""The `clinic-mcp` command. Commands live beside what they command; nothing heavy is imported before one runs."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from clinic_mcp import db_commands, policy_commands, supervisor
from clinic_mcp import init as init_command
from clinic_mcp.audit import commands as audit_commands
from clinic_mcp.audit.questions import commands as audit_questions
from clinic_mcp.audit.retention import commands as audit_retention
from clinic_mcp.audit.review import commands as audit_review
from clinic_mcp.consultations import client_commands, key_commands, person_commands, token_commands
from clinic_mcp.consultations import commands as consultation_commands
from clinic_mcp.core.console import friendly

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="MCP servers for clinical agents: every call decided by Cedar policies and put on a tamper-evident log.",
)


class ServerName(StrEnum):
    PATIENT_RECORDS = "patient-records"
    KNOWLEDGE_BASE = "knowledge-base"
    PHARMACY = "pharmacy"
    PRESCRIPTIONS = "prescriptions"
    DESK = "desk"


class Transport(StrEnum):
    STDIO = "stdio"
    SSE = "sse"
    HTTP = "http"


TransportOption = Annotated[Transport, typer.Option(help="How clients reach it.")]
HostOption = Annotated[str, typer.Option(help="Address to bind; anything but loopback needs CLINIC_ALLOWED_HOSTS.")]
PortOption = Annotated[int | None, typer.Option(min=0, max=65535, help="Port to bind; each server has its own.")]

audit_review.register(audit_commands.app)
app.command("init")(init_command.init)
app.command("up")(supervisor.up)
app.command("grant")(token_commands.grant)
app.add_typer(consultation_commands.app, name="consultation")
app.add_typer(person_commands.app, name="person")
app.add_typer(token_commands.app, name="token")
app.add_typer(client_commands.app, name="client")
app.add_typer(key_commands.app, name="keys")
app.add_typer(policy_commands.app, name="policy")
audit_questions.register(audit_commands.app)
audit_review.register(audit_commands.app)
audit_retention.register(audit_commands.app)
app.add_typer(audit_commands.app, name="audit")
app.add_typer(db_commands.app, name="db")


@app.command()
@friendly
def serve(
    server: Annotated[ServerName, typer.Argument(help="Which server.")],
    transport: TransportOption = Transport.STDIO,
    host: HostOption = "127.0.0.1",
    port: PortOption = None,
) -> None:
    """Run one MCP server until it is told to stop."""
    _serve(server.value, transport, host, port)


@app.command()
@friendly
def consultations(host: HostOption = "127.0.0.1", port: PortOption = None) -> None:
    """Run the consultations service: sessions, sign-offs, grants."""
    from clinic_mcp.consultations.run import run
    from clinic_mcp.core.settings import CONSULTATIONS, DEFAULT_PORTS, Settings

    run(Settings(), host, DEFAULT_PORTS[CONSULTATIONS] if port is None else port)


def _serve(name: str, transport: Transport, host: str, port: int | None) -> None:
    from clinic_mcp.core.app import serve as run
    from clinic_mcp.core.settings import DEFAULT_PORTS, Settings
    from clinic_mcp.registry import SERVERS

    run(SERVERS[name](), Settings(), transport.value, host, DEFAULT_PORTS[name] if port is None else port)


def _script(name: str) -> None:
    """A server's own console script: `clinic-NAME --transport stdio`."""

    @friendly
    def script(
        transport: TransportOption = Transport.STDIO, host: HostOption = "127.0.0.1", port: PortOption = None
    ) -> None:
        _serve(name, transport, host, port)

    script.__doc__ = f"Run the {name} MCP server until it is told to stop."
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    single.command()(script)
    single()


def patient_records() -> None:
    _script("patient-records")


def knowledge_base() -> None:
    _script("knowledge-base")


def pharmacy() -> None:
    _script("pharmacy")


def prescriptions() -> None:
    _script("prescriptions")


def desk() -> None:
    _script("desk")


def main() -> None:
    """The `clinic-mcp` console script."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
