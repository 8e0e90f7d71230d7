"""Is the log whole? Reads every event once and names the first one that was altered, removed or reordered."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from sqlalchemy import Connection, select

from clinic_mcp.audit.event import GENESIS, canonical, leaf_hash, project
from clinic_mcp.audit.models import event_patients, events, policy_texts, slices
from clinic_mcp.core.policy import text_digest

BATCH = 1_000


class Verdict(IntEnum):
    """The exit code of `clinic-mcp audit verify`."""

    WHOLE = 0
    ALTERED = 1
    TRUNCATED = 2
    IN_DOUBT = 3
    CANNOT_CHECK = 4


@dataclass
class Report:
    """What verification found.

    Args:
        verdict: The worst of it.
        events: Events read.
        writers: Starts of a process that wrote.
        problem: The first thing wrong, in a sentence.
        event_id: The event it is about.
        in_doubt: Calls with an intent and no outcome: whether they had an effect is not on the record.
    """

    verdict: Verdict = Verdict.WHOLE
    events: int = 0
    writers: int = 0
    problem: str | None = None
    event_id: str | None = None
    in_doubt: list[str] = field(default_factory=list)


@dataclass
class _Chain:
    """Where a writer's chain stands while the log is read in order."""

    seq: int = -1
    hash: str = GENESIS
    event_id: str = ""


class _Broken(Exception):
    def __init__(self, sentence: str, event_id: str | None) -> None:
        super().__init__(sentence)
        self.event_id = event_id


def verify(connection: Connection, progress: Callable[[int], None] = lambda _: None) -> Report:
    """Check the whole log, streaming.

    Args:
        connection: An open read transaction: one picture of the log.
        progress: Called with the number of events read so far.
    """
    report = Report()
    reader: _Reader | None = None
    try:
        reader = _Reader(connection, report)
        for row in _rows(connection):
            reader.check(row)
            report.events += 1
            if report.events % BATCH == 0:
                progress(report.events)
        reader.finish()
    except _Broken as broken:
        report.verdict, report.problem, report.event_id = Verdict.ALTERED, str(broken), broken.event_id
    progress(report.events)
    report.writers = len(reader.chains) if reader is not None else 0
    if report.verdict is Verdict.WHOLE and report.in_doubt:
        report.verdict = Verdict.IN_DOUBT
        report.problem = f"{len(report.in_doubt)} call(s) have an intent and no outcome: their effect is in doubt."
    return report


class _Reader:
    def __init__(self, connection: Connection, report: Report) -> None:
        self.connection = connection
        self.report = report
        self.chains: dict[str, _Chain] = {}
        self.seen: dict[str, set[str]] = {}  # server → hashes a later start may continue from
        self.open_calls: dict[str, str] = {}
        self.policies = {row.digest: row.text for row in connection.execute(select(policy_texts))}
        self.slices = self._read_slices()
        self.last_id = 0

    def check(self, row: Any) -> None:
        record = self._decode(row)
        self._check_columns(row, record)
        self._check_chain(row, record)
        self._check_phases(record)
        self._check_policies(row, record)
        self.last_id = row.id

    def finish(self) -> None:
        for digest, text in self.policies.items():
            if text_digest(text) != digest:
                raise _Broken(f"The policy text kept under {digest[:12]}… was altered.", None)
        self._check_patients()
        self.report.in_doubt = list(self.open_calls)

    def _read_slices(self) -> set[str]:
        """The digests of the kept entity slices, each checked against its text."""
        known = set()
        for row in self.connection.execution_options(yield_per=BATCH).execute(select(slices.c.digest, slices.c.text)):
            if text_digest(row.text) != row.digest:
                raise _Broken(f"The entity slice kept under {row.digest[:12]}… was altered.", None)
            known.add(row.digest)
        return known

    def _decode(self, row: Any) -> dict[str, Any]:
        try:
            record = json.loads(row.leaf)
            if not isinstance(record, dict) or canonical(record) != row.leaf:
                raise ValueError
        except (ValueError, TypeError) as exc:
            raise _Broken(f"Event {row.event_id} was altered: its bytes are not an event's.", row.event_id) from exc
        return record

    def _check_columns(self, row: Any, record: dict[str, Any]) -> None:
        try:
            expected = project(record, row.leaf)
        except (KeyError, TypeError, AttributeError) as exc:
            raise _Broken(f"Event {row.event_id} was altered: a field is missing.", row.event_id) from exc
        for name, value in expected.items():
            if getattr(row, name) != value:
                raise _Broken(
                    f"Event {row.event_id} was altered: the column {name} differs from the event's bytes.", row.event_id
                )

    def _check_chain(self, row: Any, record: dict[str, Any]) -> None:
        writer = record["writer"]
        known = self.seen.setdefault(row.server, set())
        chain = self.chains.get(row.boot_id)
        if chain is None:
            chain = self.chains[row.boot_id] = _Chain()
            if writer["seq"] != 0:
                raise _Broken(
                    f"Events of {row.server} are missing before {row.event_id}:"
                    f" its writer's chain starts at {writer['seq']}.",
                    row.event_id,
                )
            after = record.get("after") or {}
            last = self.chains.get(after.get("boot_id", ""))
            if writer["prev"] not in known and last is not None and last.seq == after.get("seq"):
                raise _Broken(
                    f"Event {last.event_id} was altered or replaced: {row.event_id}, which follows it, does not fit.",
                    last.event_id,
                )
            if writer["prev"] != GENESIS and writer["prev"] not in known:
                raise _Broken(
                    f"Events of {row.server} are missing before {row.event_id}:"
                    " the event it continues from is not in the log.",
                    row.event_id,
                )
            if writer["prev"] == GENESIS and known:
                raise _Broken(f"Event {row.event_id} starts a chain beside the one {row.server} had.", row.event_id)
        elif writer["seq"] != chain.seq + 1:
            what = "are missing" if writer["seq"] > chain.seq + 1 else "were reordered"
            raise _Broken(
                f"Events of {row.server} {what} before {row.event_id}: {chain.seq} is followed by {writer['seq']}.",
                row.event_id,
            )
        elif writer["prev"] != chain.hash:
            raise _Broken(
                f"Event {chain.event_id} was altered or replaced: {row.event_id}, which follows it, does not fit.",
                chain.event_id,
            )
        chain.seq, chain.hash, chain.event_id = writer["seq"], leaf_hash(row.leaf), row.event_id
        known.add(chain.hash)

    def _check_phases(self, record: dict[str, Any]) -> None:
        call, phase = record["call_id"], record["phase"]
        if phase == "intent":
            self.open_calls[call] = record["event_id"]
        elif phase == "outcome" and self.open_calls.pop(call, None) is None:
            raise _Broken(
                f"Event {record['event_id']} is an outcome whose intent is missing from the log.", record["event_id"]
            )

    def _check_policies(self, row: Any, record: dict[str, Any]) -> None:
        decision = record.get("decision", {})
        for name in ("policy_set", "schema"):
            digest = decision.get(name)
            if digest is not None and digest not in self.policies:
                raise _Broken(f"The policy text behind event {row.event_id} is missing from the log.", row.event_id)
        kept = record.get("cedar", {}).get("slice")
        if kept is not None and kept not in self.slices:
            raise _Broken(f"The entity slice behind event {row.event_id} is missing from the log.", row.event_id)

    def _check_patients(self) -> None:
        """The patient index says exactly what the events say."""
        indexed: dict[str, set[str]] = {}
        for entry in self.connection.execute(select(event_patients)):
            indexed.setdefault(entry.event_id, set()).add(entry.patient_id)
        for row in _rows(self.connection):
            patients = json.loads(row.leaf).get("patients", [])
            said = set(patients) if len(patients) > 1 else set()
            if said != indexed.pop(row.event_id, set()):
                raise _Broken(f"The patient index differs from event {row.event_id}.", row.event_id)
        for event_id in indexed:
            raise _Broken(f"Event {event_id} is in the patient index and missing from the log.", event_id)


def _rows(connection: Connection) -> Iterator[Any]:
    result = connection.execution_options(yield_per=BATCH).execute(select(events).order_by(events.c.id))
    yield from result
