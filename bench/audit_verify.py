"""How long `audit verify` takes, and what the log weighs: a clinic with many events, sequenced, signed and verified.

.venv/bin/python bench/audit_verify.py [--events 1000000] [--json]
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clinic_mcp.audit import keys, proof, tree
from clinic_mcp.audit.event import Commitment, Draft, Phase, Writer, uuid7
from clinic_mcp.audit.log import AuditLog
from clinic_mcp.audit.models import events
from clinic_mcp.audit.sequencer import Sequencer
from clinic_mcp.audit.verify import verify
from clinic_mcp.core.db import Database
from clinic_mcp.core.settings import Settings
from clinic_mcp.init import prepare
from sqlalchemy import select

TOGETHER = 500
"""Calls committed together while the log is filled: this measures reading, not writing."""
SIGNED_EVERY = 10_000


def call() -> tuple[Draft, Draft]:
    """The intent and the outcome of a read, as large as a real one's."""
    call_id = uuid7()
    who: dict[str, Any] = {
        "principal": {"type": "Agent", "id": "intake_agent", "roles": ["intake_agent"], "clinic": "main"},
        "agent": {"id": "intake_agent"},
        "delegation": [{"sub": "dr-osei"}, {"act": "intake_agent"}],
        "session": {"jti": uuid7(), "consultation": "C-0123456789abcdef"},
        "call": {"server": "patient-records", "tool": "get_patient_record", "id": 7, "protocol": "2025-11-25"},
        "network": {"transport": "http", "peer": "127.0.0.1"},
        "client": {"name": "clinic-agent", "version": "0.1.0"},
        "started": "2026-11-24T10:00:00.000Z",
        "duration_us": 1200,
        "cedar": {"action": "get_patient_record", "resource": {"type": "Clinic::Patient", "id": "P001", "known": True}},
    }
    decision = {"effect": "allow", "policies": ["intake-agent-reads-its-patient"], "errors": 0, "input": "0" * 64}
    asked = {**who, "decision": decision, "purpose": "TREAT", "commitments": {"arguments": Commitment.to(call_id).text}}
    done = {
        **who,
        "outcome": {"status": "ok"},
        "result_count": 1,
        "commitments": {"result": Commitment.to(call_id).text},
    }
    return (
        Draft(Phase.INTENT, "call.allowed", call_id, asked, ("P001",)),
        Draft(Phase.OUTCOME, "call.ok", call_id, done, ("P001",)),
    )


@contextmanager
def timed(found: dict[str, Any], name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    found[name] = round(time.perf_counter() - started, 3)


def measure(count: int, home: Path) -> dict[str, Any]:
    """Fill a clinic's log, grow its tree, verify it; seconds, bytes and megabytes by name."""
    settings = Settings(home=home)
    prepare(settings, demo=False)
    database = Database(settings.url)
    found: dict[str, Any] = {"events": count, "sequencing_s": 0.0}
    log = AuditLog(database, Writer("patient-records", "main", "clinic-mcp/main"))
    sequencer = Sequencer(settings, database)
    empty = settings.home.joinpath("clinic.db").stat().st_size
    written = 0
    while written < count:
        for _ in range(SIGNED_EVERY // (2 * TOGETHER)):
            log.append(*(draft for _ in range(TOGETHER) for draft in call()))
            written += 2 * TOGETHER
        started = time.perf_counter()
        sequencer.step(at_once=True)
        found["sequencing_s"] += time.perf_counter() - started
    log.close()
    sequencer.step(at_once=True)
    found["sequencing_s"] = round(found["sequencing_s"], 3)
    pinned = list(keys.pinned(settings.keys / keys.PUBLIC))
    with database.read() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with timed(found, "verify_s"):
            report = verify(connection, pinned)
        assert report.verdict == 0, report.problem
        found["verify_added_to_peak_mb"] = round(
            (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, 1
        )
        found["verified"], found["checkpoints"] = report.events, report.checkpoints
        event = connection.execute(select(events.c.event_id).limit(1).offset(count // 2)).scalar_one()
        with timed(found, "prove_s"):
            made, leaf = proof.prove(connection, event)
        with timed(found, "verify_proof_s"):
            made.check(leaf, pinned)
        found["proof_bytes"], found["leaf_bytes"] = len(str(made).encode()), len(leaf)
        found["tree_size"] = tree.size(connection)
        weighed = "SELECT sum(pgsize) FROM dbstat WHERE name LIKE '%audit_leaves%' OR name LIKE '%audit_nodes%'"
        weight = connection.exec_driver_sql(weighed).scalar_one()
        found["tree_bytes_per_event"] = round(weight / found["tree_size"], 1)
    found["database_bytes_per_event"] = round((home.joinpath("clinic.db").stat().st_size - empty) / count, 1)
    found["verify_us_per_event"] = round(found["verify_s"] * 1e6 / found["verified"], 1)
    found["sequencing_us_per_event"] = round(found["sequencing_s"] * 1e6 / found["verified"], 1)
    database.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000, help="how many events")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options.events, Path(folder) / "home")
    if options.json:
        print(json.dumps(found, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("what", "figure", title="Verifying the audit log", title_justify="left")
    for name, value in found.items():
        table.add_row(name, f"{value:,}")
    Console().print(table)


if __name__ == "__main__":
    main()
