"""The `clinic-mcp` command: repeatable, quiet, quick to help, and JSON where it prints data."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from support.calls import NOTES
from support.clinic import COMMAND, Clinic

HEAVY = ("mcp", "mcp_types", "cedarpy", "sqlalchemy", "alembic", "starlette", "uvicorn", "jwt", "httpx", "rich.table")


def test_init_twice_overwrites_nothing(clinic: Clinic) -> None:
    kept = {path: path.read_bytes() for path in clinic.home.rglob("*.json")} | {
        path: path.read_bytes() for path in clinic.home.rglob("*.jwk")
    }
    clinic.execute("UPDATE patients SET name = 'Somebody' WHERE id = 'P001'")
    clinic.execute("DELETE FROM patients WHERE id = 'P999'")
    session = clinic.consult()
    events = clinic.execute("SELECT count(*) FROM audit_events")[0][0]
    clinic.run("init", "--demo")
    shown = clinic.json("init", "--demo")
    assert {path: path.read_bytes() for path in kept} == kept
    assert clinic.execute("SELECT name FROM patients WHERE id = 'P001'")[0]["name"] == "Somebody"
    assert clinic.execute("SELECT count(*) FROM patients")[0][0] == 6
    assert clinic.execute("SELECT 1 FROM consultations WHERE id = ?", session)
    assert set(shown["steps"].values()) == {"kept", "ready"}
    assert clinic.execute("SELECT count(*) FROM audit_events")[0][0] == events, "nothing was changed, nothing is said"


def test_init_without_demo_makes_an_empty_clinic_and_demo_can_follow(tmp_path: Path) -> None:
    clinic = Clinic(tmp_path / "deep" / "home")
    clinic.run("init")
    assert clinic.execute("SELECT count(*) FROM patients")[0][0] == 0
    clinic.run("init", "--demo")
    assert clinic.execute("SELECT count(*) FROM patients")[0][0] == 6


def test_a_deleted_database_comes_back_and_the_credentials_still_work(clinic: Clinic) -> None:
    kept = (clinic.home / "credentials" / "clinic-agent.json").read_bytes()
    clinic.lose_database()
    clinic.run("init", "--demo")
    assert (clinic.home / "credentials" / "clinic-agent.json").read_bytes() == kept
    public = json.loads(clinic.execute("SELECT public_key FROM clients WHERE id = 'clinic-agent'")[0][0])
    assert public["kid"] == json.loads(kept)["private_key"]["kid"]


def test_keys_and_credentials_are_for_their_owner_alone(template: Clinic) -> None:
    secret = [template.home / "keys" / "grants.jwk", *(template.home / "credentials").iterdir()]
    assert len(secret) == 6
    for path in secret:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    for folder in (template.home, template.home / "keys", template.home / "credentials"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder
    public = json.loads((template.home / "keys" / "jwks.json").read_text("utf-8"))
    assert all("d" not in key for key in public["keys"])
    for row in template.execute("SELECT public_key FROM clients"):
        assert "d" not in json.loads(row["public_key"])


@pytest.mark.sqlite("the mode of a file")
def test_the_database_is_for_its_owner_alone_too(tmp_path: Path) -> None:
    """It holds the records. The folder is 0700 where init made it; a folder that was there may be open."""
    home = tmp_path / "shared"
    home.mkdir(mode=0o755)
    clinic = Clinic(home)
    subprocess.run(
        ["bash", "-c", 'umask 022; exec "$@"', "bash", *COMMAND, "init", "--demo"],
        env=clinic.environment,
        check=True,
        timeout=60,
        capture_output=True,
    )
    assert stat.S_IMODE(clinic.file.stat().st_mode) & 0o077 == 0


def test_every_printing_command_speaks_json(clinic: Clinic) -> None:
    opened = clinic.json("consultation", "open", "--patient", "P001", "--symptoms", "fever")
    session = opened["session_id"]
    assert clinic.json("consultation", "show", session)["status"] == "intake"
    assert clinic.json("consultation", "assign", session, "--clinician", "dr-osei")["assignee"] == "dr-osei"
    assert clinic.json("grant", session, "--agent", "intake_agent")["expires_in"] == 900
    assert clinic.json("consultation", "sign-off", session, "--clinician", "dr-osei", "--notes", NOTES)["sign_off_id"]
    assert clinic.json("consultation", "close", session)["open"] is False
    assert clinic.json("token", "issue", "--as", "dr-osei")["token"].count(".") == 2
    assert clinic.json("policy", "check")["valid"] is True
    assert clinic.json("audit", "list", "--session", session)
    assert clinic.json("audit", "list", "--patient", "P001", "--decision", "deny", "--limit", "1") == []
    assert clinic.json("audit", "verify")["verdict"] == "whole"
    assert clinic.json("init")["home"] == str(clinic.home)


def test_a_grant_and_a_session_id_stand_alone_on_stdout(clinic: Clinic) -> None:
    session = clinic.run("consultation", "open", "--patient", "P001", "--symptoms", "fever").stdout
    assert session.startswith("C-")
    assert session.count("\n") == 1
    token = clinic.run("grant", session.strip(), "--agent", "intake_agent").stdout
    assert token.count(".") == 2
    assert token.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("consultation", "open", "--patient", "P999", "--symptoms", "x"), 1),
        (("consultation", "open", "--patient", "P001", "--symptoms", " "), 1),
        (("consultation", "show", "C-nobody"), 1),
        (("consultation", "close", "C-nobody"), 1),
        (("grant", "C-nobody", "--agent", "intake_agent"), 1),
        (("token", "issue", "--as", "ghost"), 1),
        (("serve", "nonsense"), 2),
        (("consultation", "open"), 2),
        (("audit", "list", "--limit", "0"), 2),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_a_sentence_and_an_exit_code(
    template: Clinic, arguments: tuple[str, ...], code: int
) -> None:
    done = template.run(*arguments, code=code)
    assert done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    if code == 1:
        assert done.stderr.count("\n") == 1
        assert done.stdout == ""


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        ("serve", {"CLINIC_DATABASE_URL": "nonsense"}),
        ("serve", {"CLINIC_DATABASE_URL": "sqlite:////nowhere/at/all.db"}),
        ("serve", {"CLINIC_DATABASE_URL": "postgresql+nodriver://x/y"}),
        ("serve", {"CLINIC_TOOL_TIMEOUT": "-1"}),
        ("serve", {"CLINIC_ID": "not an id"}),
        ("serve", {"CLINIC_ALLOWED_HOSTS": "clinic.example"}),
        ("serve", {"CLINIC_PUBLIC_URLS": "https://clinic.example"}),
        ("serve", {"CLINIC_PUBLIC_URLS": '{"pharmacy": "http://clinic.example"}'}),
        ("serve", {"CLINIC_PROVIDERS": "/nowhere.toml"}),
        ("serve", {"CLINIC_POLICIES": "/nowhere"}),
        ("serve", {"CLINIC_HOME": "/proc/nowhere"}),
        ("init", {"CLINIC_HOME": "/proc/nowhere"}),
        ("up", {"CLINIC_HOME": "/proc/nowhere"}),
        ("up", {"CLINIC_TOOL_TIMEOUT": "-1"}),
    ],
    ids=str,
)
def test_a_setting_that_cannot_be_used_is_a_sentence_and_exit_code_4(
    template: Clinic, command: str, extra: dict[str, str]
) -> None:
    arguments = {"serve": ("serve", "pharmacy"), "up": ("up", "--base-port", "64000"), "init": ("init",)}[command]
    done = template.run(*arguments, code=4, **extra)
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    "arguments", [("--help",), ("serve", "--help"), ("audit", "--help"), ("consultation", "--help")], ids=str
)
def test_help_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    script = (
        "import sys; sys.argv = ['clinic-mcp', *sys.argv[1:]]\n"
        "from clinic_mcp.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    environment = {**os.environ, "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        env=environment,
    )
    assert "Usage" in done.stdout
    heavy = set(json.loads(done.stderr.strip().splitlines()[-1].replace("'", '"')))
    assert heavy <= {"rich.table"}, "typer draws its help with rich"


def test_each_server_has_its_own_console_script() -> None:
    for name in ("patient-records", "knowledge-base", "pharmacy", "prescriptions"):
        script = Path(sys.executable).parent / f"clinic-{name}"
        done = subprocess.run([script, "--help"], capture_output=True, text=True, timeout=30, check=True)
        assert "--transport" in done.stdout


def test_stdout_of_a_stdio_server_is_json_rpc_alone(clinic: Clinic) -> None:
    hello = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}},
    }
    done = subprocess.run(
        [*COMMAND, "serve", "pharmacy"],
        env={**clinic.environment, "CLINIC_LOG_LEVEL": "DEBUG"},
        input="not json\n" + json.dumps(hello) + "\n\n",
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert all(json.loads(line)["jsonrpc"] == "2.0" for line in done.stdout.splitlines())
