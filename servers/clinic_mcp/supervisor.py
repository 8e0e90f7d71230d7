"""`clinic-mcp up`: the suite on one machine, as child processes that are restarted when they fall over."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from clinic_mcp.core.console import AsJson, friendly, say, show_json, show_table

READY_TIMEOUT = 30.0
"""Seconds a part has to answer after its start."""
STOP_TIMEOUT = 8.0
"""Seconds a part has to stop before it is killed."""
RESTART_PAUSE = 1.0
"""Seconds before a part that fell over is started again."""


@dataclass
class Part:
    """One child process: what runs, and where."""

    name: str
    port: int
    path: str  # of its MCP endpoint; empty for the consultations service, which has none
    command: list[str]
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    started: float = field(default=0.0)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"

    def start(self) -> None:
        self.started = time.monotonic()
        # Its own session, so that Ctrl-C reaches the supervisor alone, which then stops the parts in order.
        self.process = subprocess.Popen(self.command, start_new_session=True)  # noqa: S603 - our own command

    def exited(self) -> int | None:
        return self.process.poll() if self.process is not None else None

    def answers(self) -> bool:
        import urllib.request

        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=1) as response:
                return bool(response.status == 200)
        except OSError:
            return False


@friendly
def up(
    base_port: Annotated[
        int, typer.Option(min=1, max=65_000, help="The consultations service's port; the servers take the next five.")
    ] = 8100,
    as_json: AsJson = False,
) -> None:
    """Run the MCP servers and the consultations service on loopback until Ctrl-C or SIGTERM.

    SIGHUP has the servers read their policies again.
    """
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    parts = plan(base_port)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, lambda *_: _reload(parts))
    _check_ports(parts)
    try:
        for part in parts:
            part.start()
        _wait_until_ready(parts, stop)
        _show(parts, as_json)
        _watch(parts, stop)
    finally:
        _stop_all(parts)
    say("Stopped.")


def plan(base_port: int) -> list[Part]:
    """The parts, on consecutive ports."""
    from clinic_mcp.core.settings import CONSULTATIONS, SERVERS

    me = [sys.executable, "-m", "clinic_mcp"]
    parts = [Part(CONSULTATIONS, base_port, "", [*me, "consultations", "--port", str(base_port)])]
    for offset, name in enumerate(SERVERS, 1):
        port = base_port + offset
        command = [*me, "serve", name, "--transport", "http", "--port", str(port)]
        parts.append(Part(name, port, "/mcp", command))
    return parts


def _check_ports(parts: list[Part]) -> None:
    from clinic_mcp.core.app import bind
    from clinic_mcp.core.settings import Settings

    settings = Settings()
    for part in parts:
        bind("127.0.0.1", part.port, settings).close()


def _wait_until_ready(parts: list[Part], stop: threading.Event) -> None:
    from clinic_mcp.core.errors import Misconfigured

    deadline = time.monotonic() + READY_TIMEOUT
    waiting = list(parts)
    while waiting and not stop.is_set():
        for part in list(waiting):
            if part.exited() is not None:
                raise Misconfigured(f"{part.name} did not start; the line above says why.")
            if part.answers():
                waiting.remove(part)
        if time.monotonic() > deadline:
            raise Misconfigured(f"{waiting[0].name} did not answer within {READY_TIMEOUT:.0f} seconds.")
        stop.wait(0.05)


def _watch(parts: list[Part], stop: threading.Event) -> None:
    """Start again what falls over; at once the first time, then after a pause."""
    while not stop.wait(0.2):
        for part in parts:
            code = part.exited()
            if code is not None and time.monotonic() - part.started >= RESTART_PAUSE:
                part.restarts += 1
                say(f"{part.name} stopped with exit code {code}; starting it again ({part.restarts}).")
                part.start()


def _reload(parts: list[Part]) -> None:
    for part in parts:
        if part.path and part.process is not None and part.process.poll() is None:
            part.process.send_signal(signal.SIGHUP)


def _stop_all(parts: list[Part]) -> None:
    running = [part.process for part in parts if part.process is not None and part.process.poll() is None]
    for process in running:
        process.terminate()
    deadline = time.monotonic() + STOP_TIMEOUT
    for process in running:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _show(parts: list[Part], as_json: bool) -> None:
    rows: list[dict[str, Any]] = [
        {"part": part.name, "url": part.url, "pid": part.process.pid if part.process else None, "state": "running"}
        for part in parts
    ]
    if as_json:
        show_json(rows)
    else:
        show_table("clinic-mcp is up (Ctrl-C stops it)", ("part", "url", "pid", "state"), [[*r.values()] for r in rows])
    sys.stdout.flush()
