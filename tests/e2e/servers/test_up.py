"""`clinic-mcp up`: the suite as child processes; and how a server stops."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest
from support.clinic import COMMAND, Clinic
from support.log import AuditReader
from support.ports import free_block
from support.servers import answers, headers, request, serving
from support.waiting import eventually

PARTS = ["consultations", "patient-records", "knowledge-base", "pharmacy", "prescriptions", "desk"]


@contextmanager
def up(clinic: Clinic, base: int) -> Iterator[subprocess.Popen[str]]:
    with (clinic.home / "up.log").open("w") as errors:
        child = subprocess.Popen(
            [*COMMAND, "up", "--base-port", str(base), "--json"],
            env=clinic.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    with child:
        try:
            yield child
        finally:
            if child.poll() is None:
                child.terminate()
                try:
                    child.wait(15)
                except subprocess.TimeoutExpired:
                    child.kill()


def shown(child: subprocess.Popen[str]) -> list[dict[str, object]]:
    """The table it prints once every part answers."""
    assert child.stdout
    lines = ""
    while not lines.rstrip().endswith("]"):
        line = child.stdout.readline()
        assert line, "it ended before it was up"
        lines += line
    parts: list[dict[str, object]] = json.loads(lines)
    return parts


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_up_starts_every_part_restarts_a_killed_one_and_stops_all(clinic: Clinic) -> None:
    base = free_block(len(PARTS))
    with up(clinic, base) as child:
        parts = shown(child)
        assert [part["part"] for part in parts] == PARTS
        assert all(answers(base + offset) for offset in range(len(PARTS)))
        token = clinic.tokens.person("dr-osei")
        pharmacy = f"http://127.0.0.1:{base + 3}/mcp"
        body = request("check_pharmacy_inventory", {"medication_name": "Paracetamol"})

        def asked() -> bool:
            try:
                return httpx.post(pharmacy, json=body, headers=headers(token), timeout=5).status_code == 200
            except httpx.TransportError:
                return False

        assert asked()
        pid = int(str(parts[3]["pid"]))
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not answers(base + 3), 5)
        eventually(asked, 20)
        assert all(answers(base + offset) for offset in range(len(PARTS)))
        started = time.monotonic()
        child.terminate()
        assert child.wait(10) == 0
        assert time.monotonic() - started < 10
    assert not any(answers(base + offset) for offset in range(len(PARTS)))
    assert all(gone(int(str(part["pid"]))) for part in parts)
    assert clinic.run("audit", "verify", code=None).returncode in (0, 3)


def test_up_with_a_port_in_use_says_so_and_starts_nothing(clinic: Clinic) -> None:
    base = free_block(len(PARTS))
    log = AuditReader(clinic)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", base + 2))
        taken.listen()
        done = clinic.run("up", "--base-port", str(base), code=4)
    assert str(base + 2) in done.stderr
    assert "Traceback" not in done.stderr
    assert log.events() == []


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_server_stops_at_once_and_says_so_in_the_log(clinic: Clinic, sign: signal.Signals) -> None:
    log = AuditReader(clinic, "pharmacy")
    with serving(clinic, "pharmacy") as server:
        server.child.send_signal(sign)
        server.child.wait(5)
        assert "Traceback" not in server.lines()
    assert log.phases() == [
        ("lifecycle", "server.started"),
        ("admin", "policy.loaded"),
        ("lifecycle", "server.stopped"),
    ]


def test_a_server_with_a_request_hanging_stops_within_ten_seconds(clinic: Clinic) -> None:
    """The call waits for the log, which another process holds for as long as the server lives."""
    token = clinic.tokens.grant(clinic.consult(), "intake_agent", audience="patient-records")
    body = request("get_patient_record", {"patient_id": "P001"})

    def hang(url: str) -> int | None:
        try:
            return httpx.post(url, json=body, headers=headers(token), timeout=30).status_code
        except httpx.TransportError:
            return None

    with serving(clinic, "patient-records") as server, ThreadPoolExecutor(1) as pool:
        with clinic.write_lock():
            hanging = pool.submit(hang, f"{server.url}/mcp")
            with pytest.raises(TimeoutError):
                hanging.result(0.5)
            server.child.terminate()
            server.child.wait(10)
        hanging.result(30)


def test_a_server_with_a_half_sent_request_and_an_open_stream_stops_within_ten_seconds(clinic: Clinic) -> None:
    token = clinic.tokens.person("dr-osei", "knowledge-base")
    with serving(clinic, "knowledge-base", "sse") as server, httpx.Client(timeout=20) as client:  # noqa: SIM117
        with client.stream("GET", f"{server.url}/sse", headers=headers(token)) as stream:
            assert stream.status_code == 200
            lines = [f"{name}: {value}" for name, value in headers(token).items()]
            head = "\r\n".join(["POST /messages/ HTTP/1.1", "Host: 127.0.0.1:1", "Content-Length: 9", *lines, "", "{"])
            with socket.create_connection(("127.0.0.1", server.port), timeout=20) as slow:
                slow.sendall(head.encode())
                server.child.terminate()
                server.child.wait(10)
