"""A clinic as its operator has it: a data folder, `clinic-mcp up`, and the two commands as subprocesses."""

import json
import os
import secrets
import socket
import sqlite3
import subprocess
import sys
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any

from clinic_agent.consultations import Consultations
from clinic_agent.credentials import load_credential

from agent_e2e.waiting import eventually

ROOT = Path(__file__).resolve().parents[4]
CLINIC_MCP = ROOT / ".venv" / "bin" / "clinic-mcp"
SERVERS = ("patient-records", "knowledge-base", "pharmacy", "prescriptions")
START_LIMIT, STOP_LIMIT, COMMAND_LIMIT = 60.0, 15.0, 90.0
_KEPT_OUT = ("CLINIC_", "AWS_", "OLLAMA_", "PYTEST_", "COV_")

Done = subprocess.CompletedProcess[str]


class Clinic:
    """One data folder with what runs on it; whatever was started is stopped by `stop`.

    Args:
        home: the data folder, not there yet.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.base_port = free_block(5)
        self.sse_port = 0
        self._suite: subprocess.Popen[bytes] | None = None
        self._sse: list[subprocess.Popen[bytes]] = []

    @property
    def environment(self) -> dict[str, str]:
        """The environment of every process of this clinic; the agent reaches the servers of `up`."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_KEPT_OUT)}
        urls = {name: f"http://127.0.0.1:{self.base_port + at}/mcp" for at, name in enumerate(SERVERS, 1)}
        return {
            **kept,
            "CLINIC_HOME": str(self.home),
            "CLINIC_CONSULTATIONS_URL": f"http://127.0.0.1:{self.base_port}",
            "CLINIC_SERVER_URLS": json.dumps(urls),
            "CLINIC_MCP_COMMAND": str(CLINIC_MCP),
        }

    def over(self, transport: str) -> dict[str, str]:
        """What the agent's environment adds to reach the servers over http, sse or stdio."""
        if transport == "stdio":
            return {"CLINIC_SERVERS": "stdio"}
        if transport == "sse":
            self._serve_sse()
            urls = {name: f"http://127.0.0.1:{self.sse_port + at}/sse" for at, name in enumerate(SERVERS)}
            return {"CLINIC_SERVERS": "http", "CLINIC_SERVER_URLS": json.dumps(urls)}
        return {"CLINIC_SERVERS": "http"}

    # its processes

    def up(self) -> None:
        """Start the suite and wait until every part answers."""
        assert self._suite is None
        self._suite = self._start("up", "--base-port", str(self.base_port))
        self._wait([self._suite], range(self.base_port, self.base_port + 5))

    def down(self) -> None:
        """Stop the suite as its operator would."""
        if self._suite is not None:
            suite, self._suite = self._suite, None
            suite.terminate()
            suite.wait(STOP_LIMIT)

    def stop(self) -> None:
        """Stop everything that was started here."""
        for server in self._sse:
            server.terminate()
        for server in self._sse:
            server.wait(STOP_LIMIT)
        self._sse = []
        self.down()

    def _serve_sse(self) -> None:
        if self._sse:
            return
        self.sse_port = free_block(len(SERVERS))
        ports = range(self.sse_port, self.sse_port + len(SERVERS))
        for name, port in zip(SERVERS, ports, strict=True):
            self._sse.append(self._start("serve", name, "--transport", "sse", "--port", str(port)))
        self._wait(self._sse, ports)

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.home / "processes.log").open("ab") as log:
            return subprocess.Popen(
                [CLINIC_MCP, *arguments], env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _wait(self, processes: list[subprocess.Popen[bytes]], ports: range) -> None:
        def ready() -> bool:
            assert all(process.poll() is None for process in processes), self.log()
            return all(answers(port) for port in ports)

        eventually(ready, START_LIMIT, "the servers answer")

    def log(self) -> str:
        """What the processes wrote."""
        return (self.home / "processes.log").read_text("utf-8", "replace")[-4000:]

    # its commands

    def mcp(self, *arguments: str, code: int = 0) -> str:
        """Run `clinic-mcp …`; its output."""
        done = self._run([str(CLINIC_MCP), *arguments], {})
        assert done.returncode == code, done.stderr
        return done.stdout.strip()

    def agent(self, *arguments: str, **extra: str) -> Done:
        """Run `clinic-agent …`."""
        return self._run([sys.executable, "-m", "clinic_agent.cli", *arguments], extra)

    def _run(self, command: list[str], extra: dict[str, str]) -> Done:
        return subprocess.run(
            command,
            env={**self.environment, **extra},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_LIMIT,
            check=False,
        )

    def open(self, patient: str, symptoms: str = "headache and fever") -> str:
        """Open a consultation at the service, as the agent's client; its session id."""
        credential = load_credential(self.home / "credentials" / "clinic-agent.json")
        with Consultations(credential, self.environment["CLINIC_CONSULTATIONS_URL"]) as service:
            return service.open(patient, symptoms).session_id

    def sign_off(self, session: str, notes: str, clinician: str = "dr-osei") -> None:
        """Record a physician's sign-off."""
        self.mcp("consultation", "sign-off", session, "--clinician", clinician, "--notes", notes)

    def end_courses(self) -> None:
        """Have every prescription completed."""
        with closing(sqlite3.connect(self.home / "clinic.db", timeout=10)) as connection, connection:
            connection.execute("UPDATE prescriptions SET status = 'completed' WHERE status = 'active'")

    def standing(self, session: str) -> dict[str, Any]:
        """Where a consultation stands."""
        standing: dict[str, Any] = json.loads(self.mcp("consultation", "show", session, "--json"))
        return standing

    def audit_list(self, session: str) -> list[dict[str, Any]]:
        """The events of a consultation as `clinic-mcp audit list` shows them."""
        events: list[dict[str, Any]] = json.loads(self.mcp("audit", "list", "--json", "--session", session))
        return events

    def events(self, session: str) -> list[dict[str, Any]]:
        """The events of a consultation as they are stored: the same, and ten times sooner."""
        return self._stored("SELECT leaf FROM audit_events WHERE consultation = ? ORDER BY id", session)

    def strangers(self) -> list[dict[str, Any]]:
        """The events about callers whom nothing identified."""
        return self._stored("SELECT leaf FROM audit_events WHERE phase = ? ORDER BY id", "unauthenticated")

    def _stored(self, query: str, value: str) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(self.home / "clinic.db", timeout=10)) as connection:
            rows = connection.execute(query, (value,)).fetchall()
        return [json.loads(leaf) for (leaf,) in rows]


def result(done: Done) -> dict[str, Any]:
    """What `--json` printed."""
    value: dict[str, Any] = json.loads(done.stdout)
    return value


def answers(port: int) -> bool:
    """Whether something healthy listens on a port of loopback."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def free_block(size: int) -> int:
    """The first of `size` consecutive free ports, below those the kernel hands out by itself."""
    for _ in range(200):
        first = 20_000 + secrets.randbelow(12_000)
        probes = [socket.socket() for _ in range(size)]
        try:
            for at, probe in enumerate(probes):
                probe.bind(("127.0.0.1", first + at))
        except OSError:
            continue
        else:
            return first
        finally:
            for probe in probes:
                probe.close()
    raise AssertionError(f"no {size} free ports in a row")
