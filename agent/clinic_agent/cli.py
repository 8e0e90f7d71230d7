"""The clinic-agent command; what it runs is imported when it runs, so that --help answers at once."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from clinic_agent.consult import Result

DONE, FAILED, USAGE, EMERGENCY, WAITING, HANDED_OVER = 0, 1, 2, 3, 4, 5
_EXIT_CODES = {"complete": DONE, "emergency": EMERGENCY, "waiting": WAITING, "handed_over": HANDED_OVER}
_CODES_HELP = (
    "Exit codes: 0 complete · 1 failed · 2 wrong usage · 3 emergency · 4 waiting for a person ·"
    " 5 handed over to the doctor: nothing prescribed yet, or a draft to sign."
)

app = typer.Typer(
    name="clinic-agent",
    help="Run clinic consultations over the clinic's MCP servers.",
    epilog=_CODES_HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Servers = Annotated[str | None, typer.Option("--servers", help="http (default) or stdio.")]
Diagnose = Annotated[str | None, typer.Option("--diagnose", help="The doctor's diagnosis and treatment.")]
Ask = Annotated[str | None, typer.Option("--ask", help="A question the doctor puts to the patient first.")]
Answer = Annotated[str | None, typer.Option("--answer", help="The patient's answer to it.")]
Clinician = Annotated[str | None, typer.Option("--clinician", help="Who answers as the doctor, such as dr-osei.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]


@app.callback()
def _clinic_agent() -> None:
    """Run clinic consultations over the clinic's MCP servers."""


@app.command(epilog=_CODES_HELP)
def consult(
    symptoms: Annotated[str, typer.Argument(help="What the patient reports.")] = "",
    patient: Annotated[str, typer.Option("--patient", help="The patient's id, such as P001.")] = "",
    servers: Servers = None,
    diagnose: Diagnose = None,
    ask: Ask = None,
    answer: Answer = None,
    clinician: Clinician = None,
    session: Annotated[str | None, typer.Option("--session", help="Resume this consultation instead.")] = None,
    as_json: AsJson = False,
) -> None:
    """Take a patient's symptoms through intake, the doctor and the prescription."""
    if session is not None:
        _run(servers, diagnose, ask, answer, clinician, as_json, lambda running: running.resume(session))
    if not symptoms.strip() or not patient:
        raise typer.BadParameter('give --patient ID and the symptoms, such as: consult --patient P001 "headache"')
    _run(servers, diagnose, ask, answer, clinician, as_json, lambda running: running.start(patient, symptoms))


@app.command(epilog=_CODES_HELP)
def resume(
    session: Annotated[str, typer.Argument(help="The session that waits.")],
    servers: Servers = None,
    diagnose: Diagnose = None,
    ask: Ask = None,
    answer: Answer = None,
    clinician: Clinician = None,
    as_json: AsJson = False,
) -> None:
    """Go on with a consultation that waits for a person, also after a restart."""
    _run(servers, diagnose, ask, answer, clinician, as_json, lambda running: running.resume(session))


def _run(
    servers: str | None,
    diagnose: str | None,
    ask: str | None,
    answer: str | None,
    clinician: str | None,
    as_json: bool,
    work: Any,
) -> None:
    import logging
    import os

    from clinic_agent.errors import AgentError

    if servers not in (None, "http", "stdio"):
        raise typer.BadParameter("--servers is http or stdio")
    if servers is not None:
        os.environ["CLINIC_SERVERS"] = servers  # the tools read their settings themselves, at their first call
    logging.getLogger("mcp").setLevel(logging.CRITICAL)
    try:
        result = _consult(diagnose, ask, answer, clinician, as_json, work)
    except AgentError as error:
        _fail(error.message, error.code, as_json)
    except (KeyboardInterrupt, EOFError):
        _fail("Stopped; go on with `clinic-agent resume SESSION`.", "stopped", as_json)
    raise typer.Exit(_EXIT_CODES[result.outcome])


def _consult(
    diagnose: str | None, ask: str | None, answer: str | None, clinician: str | None, as_json: bool, work: Any
) -> "Result":
    from clinic_agent.consultations import Consultations
    from clinic_agent.credentials import load_credential
    from clinic_agent.models import check_model
    from clinic_agent.reachable import check_servers
    from clinic_agent.settings import is_interactive, load_settings

    settings = load_settings()
    check_model(settings)

    def as_clinician() -> tuple[str, Consultations]:
        credential = load_credential(settings.clinician_credential_path(clinician))
        return credential.client_id, Consultations(credential, settings.consultations_url, settings.call_timeout)

    own = load_credential(settings.agent_credential_path())
    check_servers(settings)
    with Consultations(own, settings.consultations_url, settings.call_timeout) as agent:
        from clinic_agent.checkpoints import open_checkpoints
        from clinic_agent.consult import Consult
        from clinic_agent.show import Screen, Terminal, print_json

        with open_checkpoints(settings.checkpoints_path()) as checkpointer:
            screen = Screen(settings.model, quiet=as_json)
            people = Terminal(diagnose, ask, answer, is_interactive() and not as_json)
            running: Consult = Consult(settings, agent, as_clinician, checkpointer, people, screen)
            result: Result = work(running)
            screen.ended(result)
            if as_json:
                print_json(result.as_dict())
            return result


def _fail(message: str, code: str, as_json: bool) -> Any:
    if as_json:
        import json

        print(json.dumps({"error": code, "message": message}))
    print(f"clinic-agent: {message}", file=sys.stderr)
    raise typer.Exit(FAILED)


def main() -> None:
    """Run the command."""
    app()


if __name__ == "__main__":
    main()
