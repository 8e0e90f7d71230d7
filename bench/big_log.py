"""A clinic's log of any size, as several years would leave it: for measuring what reads it.

Five thousand patients, twenty clinicians and five agents; a third of the calls are people's. Three calls in a hundred
are refused, two search and return several patients, one in a thousand breaks the glass, and one in ten thousand never
said how it ended.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from clinic_mcp.audit.event import GENESIS, Commitment, Draft, Phase, Writer, compose, uuid7
from clinic_mcp.audit.models import event_patients, events
from clinic_mcp.core.clinic import timestamp
from clinic_mcp.core.db import Database
from sqlalchemy import Connection, insert

PATIENTS, CLINICIANS = 5_000, 20
AGENTS = ("intake_agent", "knowledge_agent", "prescription_agent", "pharmacy_agent", "follow_up_agent")
REFUSED, SEARCHES, BROKEN_GLASS, LOST = 0.03, 0.02, 0.001, 0.0001
LASTED = timedelta(days=6 * 365)
TOGETHER = 5_000
"""Events of one transaction: this measures reading, not writing."""


def patient(number: int) -> str:
    """A patient's id."""
    return f"P{number:05}"


class Calls:
    """Made-up calls, the same ones each time.

    Args:
        whole: Only calls that ended, and no digests of policies that nobody kept: what `audit verify` finds whole.
        seed: Other calls for another number.
    """

    def __init__(self, *, whole: bool = False, seed: int = 7) -> None:
        self._whole = whole
        self._random = random.Random(seed)  # noqa: S311 - no secret

    def call(self) -> list[Draft]:
        """The events of one call, as large as real ones."""
        chance, call_id = self._random.random(), uuid7()
        one = patient(self._random.randrange(PATIENTS))
        who = self._who()
        if chance < REFUSED:
            decision = self._decision("deny", self._random.choice(("default-deny", "no-other-patient")))
            return [_draft(Phase.DECISION, "call.refused", call_id, who, "get_patient_record", (one,), decision)]
        search = chance < REFUSED + SEARCHES
        tool = "find_patients" if search else "get_patient_record"
        asked = () if search else (one,)
        answered = tuple(patient(self._random.randrange(PATIENTS)) for _ in range(3)) if search else asked
        glass = self._random.random() < BROKEN_GLASS
        policy = "physician-breaks-glass" if glass else "intake-agent-reads-its-patient"
        decision = self._decision("allow", policy)
        purpose = "BTG" if glass else "TREAT"
        begun = _draft(Phase.INTENT, "call.allowed", call_id, who, tool, asked, decision, purpose=purpose)
        if self._random.random() < LOST and not self._whole:
            return [begun]
        done = {"outcome": {"status": "ok"}, "result_count": len(answered)}
        return [begun, _draft(Phase.OUTCOME, "call.ok", call_id, who, tool, answered, None, **done)]

    def _decision(self, effect: str, policy: str) -> dict[str, Any]:
        named = {} if self._whole else {"policy_set": "0" * 64, "schema": "0" * 64}
        return {"effect": effect, "policies": [policy], "errors": 0, "input": "0" * 64, **named}

    def _who(self) -> dict[str, Any]:
        clinician = f"dr-{self._random.randrange(CLINICIANS):02}"
        if self._random.random() < 1 / 3:
            return {
                "principal": {"type": "Clinician", "id": clinician, "roles": ["physician"], "clinic": "main"},
                "session": {"jti": uuid7()},
            }
        agent = self._random.choice(AGENTS)
        return {
            "principal": {"type": "Agent", "id": agent, "roles": [agent], "clinic": "main"},
            "agent": {"id": agent},
            "delegation": [{"sub": clinician}, {"act": agent}],
            "session": {"jti": uuid7(), "consultation": f"C-{self._random.randrange(200_000):016x}"},
        }


def _draft(
    phase: Phase,
    code: str,
    call_id: str,
    who: dict[str, Any],
    tool: str,
    patients: tuple[str, ...],
    decision: dict[str, Any] | None,
    **more: Any,
) -> Draft:
    body: dict[str, Any] = {
        **who,
        "call": {"server": "patient-records", "tool": tool, "id": 7, "protocol": "2025-11-25"},
        "network": {"transport": "http", "peer": "127.0.0.1"},
        "client": {"name": "clinic-agent", "version": "0.1.0"},
        "duration_us": 1200,
        "cedar": {"action": tool, "resource": {"type": "Clinic::Patient", "id": "".join(patients[:1]), "known": True}},
        "commitments": {"arguments" if decision else "result": Commitment.to(call_id).text},
        **more,
    }
    if decision is not None:
        body["decision"] = decision
    return Draft(phase, code, call_id, body, patients)


def calls(count: int) -> Iterator[list[Draft]]:
    """Calls until they have about so many events.

    Args:
        count: How many events.
    """
    made, source = 0, Calls()
    while made < count:
        drafts = source.call()
        made += len(drafts)
        yield drafts


def fill(database: Database, count: int, *, ended: datetime | None = None) -> int:
    """Write a chain of events of the last six years, evenly spread, past the log's own write path.

    Args:
        database: A clinic's, with its tables.
        count: About how many events.
        ended: When the last of them was recorded; now, if not given.

    Returns:
        How many were written.
    """
    writer = Writer("patient-records", "main", "clinic-mcp/main")
    ended = ended or datetime.now(UTC)
    step, prev, seq = LASTED / count, GENESIS, 0
    rows: list[dict[str, Any]] = []
    among: list[dict[str, str]] = []
    for drafts in calls(count):
        for draft in drafts:
            event = compose(draft, writer, seq, prev, timestamp(ended - LASTED + step * seq))
            prev, seq = event.hash, seq + 1
            rows.append(event.row)
            if len(event.patients) > 1:
                among += [{"patient_id": one, "event_id": event.row["event_id"]} for one in event.patients]
        if len(rows) >= TOGETHER:
            _write(database, rows, among)
    _write(database, rows, among)
    with database.engine.connect() as connection:
        _analyze(connection)
    return seq


def _write(database: Database, rows: list[dict[str, Any]], among: list[dict[str, str]]) -> None:
    with database.write() as connection:
        if rows:
            connection.execute(insert(events).inline(), rows)
        if among:
            connection.execute(insert(event_patients), among)
    rows.clear()
    among.clear()


def _analyze(connection: Connection) -> None:
    """What PostgreSQL's autovacuum has done long before a log is as large."""
    if connection.dialect.name == "postgresql":
        connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("VACUUM ANALYZE")
