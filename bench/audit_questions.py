"""How long the auditor's questions take in a large log: the middle and the slow of many askings, on record included.

.venv/bin/python bench/audit_questions.py [--events 1000000] [--database postgresql://…/empty] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from big_log import AGENTS, fill, patient
from clinic_mcp.audit.event import Draft, Phase, Writer, uuid7
from clinic_mcp.audit.log import AuditLog
from clinic_mcp.audit.models import events
from clinic_mcp.audit.questions.accesses import emergency_accesses
from clinic_mcp.audit.questions.calls import DEEDS, about, made_by, named, page, refused
from clinic_mcp.audit.questions.counts import counts, refusals_by_policy
from clinic_mcp.audit.questions.disclosures import accounting
from clinic_mcp.audit.questions.doubt import in_doubt
from clinic_mcp.core.db import Database
from clinic_mcp.core.period import start_of
from clinic_mcp.core.settings import Settings
from clinic_mcp.init import prepare
from sqlalchemy import Connection, func, select, text

PAGE = 50
ASKED = 40
"""How often each question is asked, of another patient or person each time."""
Question = Callable[[Connection, int], Any]


def questions(connection: Connection) -> dict[str, Question]:
    """The questions, each for the n-th asking."""
    end = connection.execute(select(func.max(events.c.id))).scalar_one()
    rows = connection.execute(select(events.c.consultation, events.c.call_id).where(events.c.id % (end // ASKED) == 7))
    found = rows.all()
    middle = timestamp_in_the_middle(connection, end)
    return {
        "who": lambda c, n: page(c, [about(patient(n * 97))], limit=PAGE),
        "who, last page": lambda c, n: page(c, [about(patient(n * 97))], limit=PAGE, before=end // 10),
        "who, until the middle": lambda c, n: page(c, [about(patient(n * 97))], limit=PAGE, until=middle),
        "by a person": lambda c, n: page(c, [made_by(f"dr-{n % 20:02}")], limit=PAGE, phases=DEEDS),
        "by an agent": lambda c, n: page(c, [made_by(AGENTS[n % 5])], limit=PAGE, phases=DEEDS),
        "by nobody": lambda c, n: page(c, [made_by(f"dr-nobody-{n}")], limit=PAGE, phases=DEEDS),
        "denied": lambda c, _: (refusals_by_policy(c), page(c, [refused()], limit=PAGE)),
        "denied by an unknown policy": lambda c, n: page(c, [refused(f"no-such-{n}")], limit=PAGE),
        "trace a consultation": lambda c, n: page(c, [named(found[n].consultation or "C-0")], limit=PAGE, phases=DEEDS),
        "trace a call": lambda c, n: page(c, [named(found[n].call_id)], limit=PAGE, phases=DEEDS),
        "disclosures": lambda c, n: accounting(c, patient(n * 97), limit=PAGE, since=start_of("2196d")),
        "break-glass": lambda c, _: emergency_accesses(c, limit=PAGE),
        "all calls": lambda c, _: page(c, [], limit=PAGE),
        "all calls of a week": lambda c, _: page(c, [], limit=PAGE, since=start_of("7d")),
        "all calls, until the middle": lambda c, _: page(c, [], limit=PAGE, until=middle),
        "count a week": lambda c, _: counts(c, start_of("7d")),
        "count everything": lambda c, _: counts(c),
    }


def timestamp_in_the_middle(connection: Connection, end: int) -> str:
    """When the log was half as long."""
    found: str = connection.execute(select(events.c.recorded).where(events.c.id == end // 2)).scalar_one()
    return found


class Asker:
    """Asks as the commands do: what is asked is durable on the log first.

    Args:
        database: The clinic's.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._log = AuditLog(database, Writer("audit", "main", "clinic-mcp/main"), announce=False)

    def ask(self, question: Question, number: int) -> float:
        """Ask once; milliseconds."""
        started = time.perf_counter()
        who = {"principal": {"type": "Operator", "id": "bench", "clinic": "main"}, "asked": {"limit": PAGE}}
        self._log.append(Draft(Phase.AUDIT_READ, "audit.who", uuid7(), who))
        with self._database.read() as connection:
            question(connection, number)
        return (time.perf_counter() - started) * 1e3

    def settle(self) -> tuple[float, float, int]:
        """Look for calls in doubt twice: the first time, and with the mark that left; milliseconds, and how many."""
        times = []
        for _ in range(2):
            started = time.perf_counter()
            with self._database.read() as connection:
                found = in_doubt(connection, limit=PAGE)
            if found.mark is not None:
                self._log.append(found.mark.draft({"type": "Operator", "id": "bench", "clinic": "main"}))
            times.append((time.perf_counter() - started) * 1e3)
        return times[0], times[1], found.count


def measure(database: Database) -> list[dict[str, Any]]:
    """Ask everything; a row each."""
    asker = Asker(database)
    with database.read() as connection:
        asked = questions(connection)
    rows = []
    for name, question in asked.items():
        asker.ask(question, 0)
        times = sorted(asker.ask(question, number) for number in range(1, ASKED))
        rows.append({"question": name, "p50_ms": statistics.median(times), "p95_ms": times[int(len(times) * 0.95)]})
    first, later, count = asker.settle()
    rows.append({"question": f"in-doubt ({count}), the first time", "p50_ms": first, "p95_ms": first})
    rows.append({"question": "in-doubt, later", "p50_ms": later, "p95_ms": later})
    return [{name: round(one, 1) if isinstance(one, float) else one for name, one in row.items()} for row in rows]


def sizes(connection: Connection, count: int) -> dict[str, float]:
    """Bytes an event, of the events' table and of each of its indexes."""
    if connection.dialect.name == "sqlite":
        query = "SELECT name, sum(pgsize) AS size FROM dbstat WHERE name LIKE '%audit_events%' GROUP BY name"
    else:
        query = (
            "SELECT relname AS name, pg_relation_size(oid) + coalesce(pg_relation_size(nullif(reltoastrelid, 0)), 0)"
            " AS size FROM pg_class WHERE relname LIKE '%audit_events%' AND relkind IN ('r', 'i')"
        )
    return {row.name: round(row.size / count, 1) for row in connection.execute(text(query))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000, help="how many events")
    parser.add_argument("--database", default="", help="URL of an empty PostgreSQL database; a SQLite file without")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder) / "home", database_url=options.database)
        prepare(settings, demo=False)
        database = Database(settings.url)
        started = time.perf_counter()
        written = fill(database, options.events)
        filled = time.perf_counter() - started
        rows = measure(database)
        with database.read() as connection:
            weights = sizes(connection, written)
        database.close()
    found = {"events": written, "fill_s": round(filled, 1), "questions": rows, "bytes_per_event": weights}
    print(json.dumps(found, indent=2)) if options.json else show(found)


def show(found: dict[str, Any]) -> None:
    """The figures as tables."""
    from rich.console import Console
    from rich.table import Table

    table = Table("question", "p50 ms", "p95 ms", title=f"{found['events']:,} events", title_justify="left")
    for row in found["questions"]:
        table.add_row(row["question"], f"{row['p50_ms']:,}", f"{row['p95_ms']:,}")
    weights = Table("table or index", "bytes an event", title_justify="left")
    for name, weight in sorted(found["bytes_per_event"].items()):
        weights.add_row(name, f"{weight:,}")
    Console().print(table)
    Console().print(weights)


if __name__ == "__main__":
    main()
