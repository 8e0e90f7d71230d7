"""What the audit log costs a call: with it, without it, on SQLite and on PostgreSQL; and how much the log alone takes.

.venv/bin/python bench/audit_write.py [--calls 150] [--rounds 3] [--json]

The same server answers the same calls over HTTP twice, once as it is and once with a log that keeps nothing
(`unaudited_server.py`), in turns. PostgreSQL's programs are needed; a cluster of its own is started and thrown away.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from big_log import Calls
from clinic_mcp.audit.event import Writer
from clinic_mcp.audit.log import AuditLog
from clinic_mcp.core.db import Database
from faults import clinic
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from run import CLINIC, PYTHON, ROOT, Subject, on_http
from support import databases
from support.clinic import Clinic

CALLERS = (1, 8, 32)
WRITERS = 8
PAIRS = 300
"""Intent and outcome pairs each writer writes, where the log alone is measured."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=150, help="calls per caller and round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    options = parser.parse_args()
    calls: list[dict[str, Any]] = []
    alone: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("measuring", total=2 * len(CALLERS) * options.rounds * 2 + 4)
        databases.session_cluster(durable=True)
        for database in ("sqlite", "postgresql"):
            made = clinic(Path(folder) / database, database)
            for writers in (1, WRITERS):
                alone.append({"database": database, **log_alone(made, writers)})
                bar.advance(task)
            for callers in CALLERS:
                audited, without = subjects(made)
                for number in range(options.rounds):
                    for subject in (audited, without) if number % 2 else (without, audited):
                        measure(subject, callers, options.calls)
                        bar.advance(task)
                calls.append({"database": database, "callers": callers, **compared(audited, without)})
        databases.stop()
    if options.json:
        print(json.dumps({"calls": calls, "log alone": alone}, indent=2))
        return
    for title, rows in (("get_patient_record over HTTP, with and without the log", calls), ("The log alone", alone)):
        table = Table(*rows[0], title=title, title_justify="left")
        for row in rows:
            table.add_row(*map(str, row.values()))
        Console().print(table)


def subjects(made: Clinic) -> tuple[Subject, Subject]:
    """The server with its log, and without."""
    os.environ.update(made.environment_of("patient-records"), CLINIC_LOG_LEVEL="ERROR")
    token = made.tokens.grant(made.consult(), "intake_agent", audience="patient-records")
    bearer = {"Authorization": f"Bearer {token}"}

    def audited(_transport: str, port: int) -> list[str]:
        return [str(CLINIC), "serve", "patient-records", "--transport", "http", "--port", str(port)]

    def without(_transport: str, port: int) -> list[str]:
        return [str(PYTHON), str(ROOT / "bench" / "unaudited_server.py"), str(port)]

    return Subject("with", audited, headers=bearer), Subject("without", without, headers=bearer)


def measure(subject: Subject, callers: int, calls: int) -> None:
    latencies, elapsed = asyncio.run(on_http(subject, callers, max(20, calls // callers)))
    subject.latencies.setdefault("", []).extend(latencies)
    subject.rates.setdefault("", []).append(len(latencies) / elapsed)


def compared(audited: Subject, without: Subject) -> dict[str, Any]:
    with_, bare = (sorted(one.latencies[""]) for one in (audited, without))
    ratios = [mine / theirs for mine, theirs in zip(audited.rates[""], without.rates[""], strict=True)]
    return {
        "calls/s": round(statistics.median(audited.rates[""])),
        "without": round(statistics.median(without.rates[""])),
        "of without": round(statistics.median(ratios), 2),
        "p50 added, ms": round(1e3 * (at(with_, 0.5) - at(bare, 0.5)), 2),
        "p99 added, ms": round(1e3 * (at(with_, 0.99) - at(bare, 0.99)), 2),
    }


def at(ordered: list[float], part: float) -> float:
    return ordered[int(len(ordered) * part)]


def log_alone(made: Clinic, writers: int) -> dict[str, Any]:
    """So many processes, each writing pairs of an intent and a durable outcome as fast as it can."""
    url = made.environment_of("patient-records").get("CLINIC_DATABASE_URL") or made.settings.url
    with multiprocessing.get_context("spawn").Pool(writers) as pool:
        pool.map(warm, range(writers))
        started = time.perf_counter()
        latencies = sorted(one for batch in pool.map(write, [url] * writers, chunksize=1) for one in batch)
        elapsed = time.perf_counter() - started
    return {
        "writers": writers,
        "events/s": round(2 * PAIRS * writers / elapsed),
        "calls/s": round(PAIRS * writers / elapsed),
        "pair p50, ms": round(1e3 * at(latencies, 0.5), 2),
        "pair p99, ms": round(1e3 * at(latencies, 0.99), 2),
    }


def warm(_number: int) -> None:
    """Have the imports behind it."""


def write(url: str) -> list[float]:
    """One writer's pairs: how long each took."""
    database = Database(url, part="patient-records")
    log = AuditLog(database, Writer("patient-records", "main", "clinic-mcp/main"), announce=False)
    calls, took = Calls(), list[float]()
    while len(took) < PAIRS:
        drafts = calls.call()
        if len(drafts) != 2:
            continue  # a refusal has one event; here pairs are counted
        intent, outcome = drafts
        began = time.perf_counter()
        log.append(intent, durable=False)
        log.append(outcome)
        took.append(time.perf_counter() - began)
    log.close()
    database.close()
    return took


if __name__ == "__main__":
    main()
