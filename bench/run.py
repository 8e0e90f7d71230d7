"""Calls per second, latency, start-up and memory: a bare SDK server, FastMCP 4 and ours, side by side in one run.

The load is raw JSON-RPC on sockets and pipes, the same bytes for each server, so that a client's own cost does not
hide the servers'. Servers take turns in short rounds, because the machine is noisy; ratios count, not seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

ROOT = Path(__file__).parents[1]
PYTHON = ROOT / ".venv" / "bin" / "python"
CLINIC = ROOT / ".venv" / "bin" / "clinic-mcp"
FASTMCP = ROOT / "bench" / ".venv" / "bin" / "python"
ROUNDS = 6
PROTOCOL = "2025-11-25"


@dataclass
class Subject:
    """A server under measurement."""

    name: str
    command: Callable[[str, int], list[str]]
    meta: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    latencies: dict[str, list[float]] = field(default_factory=dict)
    rates: dict[str, list[float]] = field(default_factory=dict)
    startup: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)

    def request(self, number: int) -> dict[str, Any]:
        params: dict[str, Any] = {"name": "get_patient_record", "arguments": {"patient_id": "P001"}}
        if self.meta:
            params["_meta"] = self.meta
        return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=150, help="calls per caller, round and case")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        subjects = prepare(Path(folder))
        cases = [(transport, callers) for transport in ("stdio", "http") for callers in (1, 10)]
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("measuring", total=ROUNDS * len(cases) * len(subjects))
            for round_number in range(ROUNDS):
                for transport, callers in cases:
                    order = subjects if round_number % 2 else subjects[::-1]
                    for subject in order:
                        measure(subject, transport, callers, options.calls)
                        progress.advance(task)
    report(subjects, cases, as_json=options.json)


def prepare(folder: Path) -> list[Subject]:
    """A clinic with its starter data, a grant, and the servers that will read it."""
    os.environ.update(CLINIC_HOME=str(folder), CLINIC_LOG_LEVEL="ERROR")
    clinic("init", "--demo")
    session = clinic("consultation", "open", "--patient", "P001", "--symptoms", "headache")
    grant = clinic("grant", session, "--agent", "intake_agent")
    database = str(folder / "clinic.db")

    def script(python: Path, name: str) -> Callable[[str, int], list[str]]:
        return lambda transport, port: [str(python), str(ROOT / "bench" / name), database, transport, str(port)]

    def ours(transport: str, port: int) -> list[str]:
        return [str(CLINIC), "serve", "patient-records", "--transport", transport, "--port", str(port)]

    subjects = [
        Subject("bare SDK", script(PYTHON, "bare_server.py")),
        Subject("clinic-mcp", ours, {"clinic-mcp/grant": grant}, {"Authorization": f"Bearer {grant}"}),
    ]
    if FASTMCP.exists():
        subjects.append(Subject("FastMCP 4", script(FASTMCP, "fastmcp_server.py")))
    return subjects


def clinic(*arguments: str) -> str:
    return subprocess.run([CLINIC, *arguments], check=True, capture_output=True, text=True).stdout.strip()


def measure(subject: Subject, transport: str, callers: int, calls: int) -> None:
    runner = on_stdio if transport == "stdio" else on_http
    latencies, elapsed = asyncio.run(runner(subject, callers, calls))
    key = f"{transport}/{callers}"
    subject.latencies.setdefault(key, []).extend(latencies)
    subject.rates.setdefault(key, []).append(len(latencies) / elapsed)


async def drive(call: Callable[[int], Awaitable[None]], callers: int, calls: int) -> tuple[list[float], float]:
    latencies: list[float] = []

    async def caller(number: int) -> None:
        for index in range(calls):
            began = time.perf_counter()
            await call(number * 1_000_000 + index + 10)
            latencies.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(caller(number) for number in range(callers)))
    return latencies, time.perf_counter() - began


async def on_stdio(subject: Subject, callers: int, calls: int) -> tuple[list[float], float]:
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *subject.command("stdio", 0),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        limit=1 << 20,
    )
    assert process.stdin
    waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def read() -> None:
        assert process.stdout
        while line := await process.stdout.readline():
            message = json.loads(line)
            waiting.pop(message["id"]).set_result(message)

    def send(message: dict[str, Any]) -> asyncio.Future[dict[str, Any]]:
        assert process.stdin
        future = asyncio.get_running_loop().create_future()
        waiting[message["id"]] = future
        process.stdin.write(json.dumps(message).encode() + b"\n")
        return future

    reader = asyncio.create_task(read())
    hello = {"protocolVersion": PROTOCOL, "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
    await send({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello})
    subject.startup.append(time.perf_counter() - began)
    process.stdin.write(b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')

    async def call(number: int) -> None:
        check(await send(subject.request(number)))

    for number in range(2, 10):
        await call(number)
    result = await drive(call, callers, calls)
    subject.memory.append(resident(process.pid))
    process.stdin.close()
    await asyncio.wait_for(process.wait(), 15)
    reader.cancel()
    return result


async def on_http(subject: Subject, callers: int, calls: int) -> tuple[list[float], float]:
    port = free_port()
    nowhere = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*subject.command("http", port), stdout=nowhere, stderr=nowhere)
    try:
        wait_until_open(port)
        connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(callers)]
        headers = {
            "Host": f"127.0.0.1:{port}",
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": PROTOCOL,
            **subject.headers,
        }
        head = "POST /mcp HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items())

        async def call(number: int) -> None:
            reader, writer = connections[number // 1_000_000]
            message = subject.request(number)
            message["params"].pop("_meta", None)
            body = json.dumps(message).encode()
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.split(b":")[1]) for line in answer.split(b"\r\n") if line.lower().startswith(b"content-length")
            )
            check(json.loads(await reader.readexactly(length)))

        for number in range(8):
            await call(number)
        result = await drive(call, callers, calls)
        for _, writer in connections:
            writer.close()
        return result
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 15)


def check(message: dict[str, Any]) -> None:
    if "result" not in message or message["result"].get("isError"):
        raise SystemExit(f"a call failed: {json.dumps(message)[:300]}")


def wait_until_open(port: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=1).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit("a server did not start")


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def resident(pid: int) -> float:
    """Resident memory in MB, as Linux counts it."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def report(subjects: list[Subject], cases: list[tuple[str, int]], *, as_json: bool) -> None:
    bare = subjects[0]
    rows = []
    for transport, callers in cases:
        key = f"{transport}/{callers}"
        for subject in subjects:
            ordered = sorted(subject.latencies[key])
            # The ratio of each round's neighbours, then the median: noise hits both sides of a round alike.
            ratios = [mine / theirs for mine, theirs in zip(subject.rates[key], bare.rates[key], strict=True)]
            rows.append(
                {
                    "case": key,
                    "server": subject.name,
                    "calls_per_second": round(statistics.median(subject.rates[key]), 1),
                    "of_bare": round(statistics.median(ratios), 2),
                    "p50_ms": round(1e3 * ordered[len(ordered) // 2], 2),
                    "p99_ms": round(1e3 * ordered[int(len(ordered) * 0.99)], 2),
                }
            )
    processes = [
        {
            "server": subject.name,
            "startup_s": round(statistics.median(subject.startup), 2),
            "memory_mb": round(statistics.median(subject.memory), 1),
        }
        for subject in subjects
    ]
    if as_json:
        json.dump({"calls": rows, "processes": processes}, sys.stdout, indent=2)
        return
    for title, data in (("get_patient_record, transport/callers", rows), ("one stdio process", processes)):
        table = Table(title=title, title_justify="left")
        for name in data[0]:
            table.add_column(name, justify="left" if name in ("case", "server") else "right")
        for row in data:
            table.add_row(*map(str, row.values()))
        Console().print(table)


if __name__ == "__main__":
    main()
