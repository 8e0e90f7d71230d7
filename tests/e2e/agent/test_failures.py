"""What goes wrong for `clinic-agent` is one sentence that says what to do."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest
from agent_e2e.clinic import SERVERS, Clinic, free_block, result


def nobody_listens(*names: str) -> Callable[[Clinic], dict[str, str]]:
    """The servers' URLs, those named being where nothing listens."""

    def variables(clinic: Clinic) -> dict[str, str]:
        urls = json.loads(clinic.environment["CLINIC_SERVER_URLS"])
        return {
            "CLINIC_SERVER_URLS": json.dumps({**urls, **dict.fromkeys(names, f"http://127.0.0.1:{free_block(1)}/mcp")})
        }

    return variables


CASES: dict[str, tuple[str, Callable[[Clinic], dict[str, str]], str]] = {
    "servers down": ("P001", nobody_listens(*SERVERS), "start them with `clinic-mcp up`"),
    "consultations service down": (
        "P001",
        lambda clinic: {"CLINIC_CONSULTATIONS_URL": f"http://127.0.0.1:{free_block(1)}"},
        "start it with `clinic-mcp up`",
    ),
    "no credential": (
        "P001",
        lambda clinic: {"CLINIC_AGENT_CREDENTIAL": str(clinic.home / "nothing.json")},
        "run `clinic-mcp init`",
    ),
    "a file that is no credential": (
        "P001",
        lambda clinic: {"CLINIC_AGENT_CREDENTIAL": str(clinic.home / "keys" / "jwks.json")},
        "is not a credential file",
    ),
    "no such patient": ("P999", lambda clinic: {}, "There is no such patient at this clinic."),
    "no clinic-mcp to spawn": (
        "P001",
        lambda clinic: {"CLINIC_SERVERS": "stdio", "CLINIC_MCP_COMMAND": "/nowhere/clinic-mcp"},
        "CLINIC_MCP_COMMAND",
    ),
}


def consultations(clinic: Clinic) -> int:
    with closing(sqlite3.connect(clinic.home / "clinic.db", timeout=10)) as connection:
        return int(connection.execute("SELECT count(*) FROM consultations").fetchone()[0])


@pytest.mark.parametrize(("case", "as_json"), [*[(case, True) for case in CASES], ("servers down", False)])
def test_it_is_one_sentence_without_a_traceback_and_no_consultation_is_opened(
    clinic: Clinic, case: str, as_json: bool
) -> None:
    patient, variables, words = CASES[case]
    opened = consultations(clinic)
    options = ("--json",) if as_json else ()
    done = clinic.agent("consult", "--patient", patient, "headache", *options, **variables(clinic))
    assert done.returncode == 1, done.stdout
    assert words in done.stderr
    assert done.stderr.startswith("clinic-agent: ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stdout + done.stderr
    if as_json:
        assert set(result(done)) == {"error", "message"}
    else:
        assert done.stdout == ""
    assert consultations(clinic) == opened
