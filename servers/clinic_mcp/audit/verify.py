"""Is the log whole? Reads every event once and names the first one that was altered, removed or reordered."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Table, select

from clinic_mcp.audit.chains import Chains
from clinic_mcp.audit.checkpoint import Signed
from clinic_mcp.audit.domain import Effects
from clinic_mcp.audit.event import canonical, project
from clinic_mcp.audit.findings import Found, Report, Verdict
from clinic_mcp.audit.growth import Growth, check_nodes
from clinic_mcp.audit.merkle import Frontier
from clinic_mcp.audit.models import event_patients
from clinic_mcp.audit.note import Verifier
from clinic_mcp.audit.retention.detail import check_details
from clinic_mcp.audit.retention.known import Known
from clinic_mcp.audit.since import is_included, trusted_edge
from clinic_mcp.audit.source import BATCH, DatabaseSource, Kind, Source, Stored, columns_of
from clinic_mcp.audit.witness import Outside
from clinic_mcp.core.clinic import timestamp
from clinic_mcp.core.policy import text_digest

UNSIGNED_FOR = timedelta(hours=1)
"""An event that has waited this long for a checkpoint means that nobody sequences, or that somebody removed it."""
REMEMBERED = 10_000
"""Digests of texts that were looked up, remembered at most."""
_WORDS: dict[Kind, str] = {"policies": "policy text", "slices": "entity slice"}
_STRANGE = (TypeError, ValueError, AttributeError, LookupError, OverflowError)
"""What Python says of a value that no row of the log can hold, such as a text in the place of bytes."""
Progress = Callable[[int], None]


def verify(
    connection: Connection,
    pinned: Collection[Verifier],
    *,
    outside: Sequence[Outside] = (),
    since: Signed | None = None,
    effects: Sequence[Table] = (),
    details: bool = False,
    progress: Progress = lambda _: None,
) -> Report:
    """Check the log in the database, streaming.

    Args:
        connection: An open read transaction: one picture of the log.
        pinned: The keys that may have signed checkpoints, the oldest first.
        outside: Checkpoints that were kept elsewhere, in the order of their sizes.
        since: Read in full only what came after this checkpoint; what came before must be what it says.
        effects: The tables the servers' tools write.
        details: Hold kept detail to the events' commitments, too; only the operator may read it.
        progress: Called with the number of events read so far.
    """
    report, source = Report(), DatabaseSource(connection)
    try:
        edge = Frontier() if since is None else trusted_edge(connection, since, pinned)
        later = [one for one in outside if one.size >= edge.size]
        known, edge_size = Known(source, list(pinned)), edge.size
        included = known.evidence is None or is_included(connection, edge.size, edge.root(), *known.evidence)
        growth = Growth(edge, source.checkpoints(edge.size), later, list(pinned), known, report)
        chains = Chains(known, None if since is None else source)
        written = Effects(connection, effects, known.floor)
        ordered = connection.dialect.name == "sqlite"
        reader = _Reader(source, growth, report, chains, known, written, ordered=ordered)
        reader.read(progress)
        known.check_evidence(report.covered, edge_size, included=included)
        written.check_rows()
        if details:
            check_details(connection)
        if since is None:
            reader.check_texts()
            reader.check_patients(connection)
            check_nodes(connection)
        growth.check_signers()
        reader.check_signed_lately()
    except Found as found:
        _tell(report, found)
    except _STRANGE as exc:
        _tell(report, _unreadable(report, exc))
    return _concluded(report)


def verify_source(
    source: Source,
    pinned: Collection[Verifier],
    *,
    outside: Sequence[Outside] = (),
    progress: Progress = lambda _: None,
) -> Report:
    """Check a log that was carried elsewhere: its events, chains, tree, checkpoints and texts, without a database.

    Args:
        source: The export.
        pinned: As in `verify`.
        outside: As in `verify`.
        progress: As in `verify`.
    """
    report = Report()
    try:
        known = Known(source, list(pinned))
        growth = Growth(Frontier(), source.checkpoints(0), outside, list(pinned), known, report)
        reader = _Reader(source, growth, report, Chains(known), known)
        reader.read(progress)
        known.check_evidence(report.covered, 0, included=False)
        reader.check_texts()
        growth.check_signers()
        reader.check_signed_lately()
    except Found as found:
        _tell(report, found)
    except _STRANGE as exc:
        _tell(report, _unreadable(report, exc))
    return _concluded(report)


def _tell(report: Report, found: Found) -> None:
    report.verdict, report.problem, report.event_id = found.verdict, str(found), found.event_id


def _unreadable(report: Report, exc: Exception) -> Found:
    after = f" after event {report.reached}" if report.reached else ""
    return Found(
        f"The log was altered: what stands{after} is nothing the log writes ({type(exc).__name__}).", report.reached
    )


def _concluded(report: Report) -> Report:
    if report.verdict is Verdict.WHOLE and report.in_doubt:
        report.verdict = Verdict.IN_DOUBT
        report.problem = f"{len(report.in_doubt)} call(s) have an intent and no outcome: their effect is in doubt."
    return report


class _Reader:
    """Reads events in the tree's order and checks each against everything that says something about it."""

    def __init__(
        self,
        source: Source,
        growth: Growth,
        report: Report,
        chains: Chains,
        known: Known,
        effects: Effects | None = None,
        *,
        ordered: bool = False,
    ) -> None:
        self._source = source
        self._growth = growth
        self._report = report
        self._chains = chains
        self._known = known
        self._effects = effects
        self._ordered = ordered  # whether an event without a place can only be newer than those that have one
        self._loose = 0
        self._texts: dict[Kind, set[str]] = {"policies": set(), "slices": set()}
        self._indexed = 0  # a sum over what the patient index must hold: order does not matter, memory does
        self._last_row = 0
        self._unsigned: tuple[str, str] | None = None  # the oldest event under no checkpoint: when, and which

    def read(self, progress: Progress) -> None:
        """All events, then what only their end can tell.

        Raises:
            Found: Something is wrong.
        """
        report, placed = self._report, True
        try:
            for stored in self._source.events(self._growth.size):
                if stored.index is None and placed:
                    placed = False
                    self._growth.finish()
                self._check(stored)
                if report.events % BATCH == 0:
                    progress(report.events)
            if placed:
                self._growth.finish()
        finally:
            progress(report.events)
            report.writers, report.in_doubt = self._chains.writers, self._chains.in_doubt
        report.uncovered = max(self._growth.size - report.covered, 0) + self._loose
        if self._growth.size and not report.checkpoints:
            raise Found("The log was truncated: its checkpoints are gone.", None, Verdict.TRUNCATED)
        if report.events and not self._growth.size:
            raise Found("The log was truncated: its tree and its checkpoints are gone.", None, Verdict.TRUNCATED)

    def _check(self, stored: Stored) -> None:
        if stored.index is None:
            self._check_loose(stored)
        elif not self._growth.add(stored):
            return
        assert stored.leaf is not None  # noqa: S101 - the growth says so
        record = _decoded(stored)
        self._check_columns(stored, record)
        self._chains.check(record, stored.leaf, stored.index)
        self._known.saw(record, stored.index, self._growth.newest_key)
        self._check_inputs(record)
        if self._effects is not None:
            self._effects.check(record)
        self._index(record)
        self._report.events += 1
        self._report.reached = stored.event_id
        if self._report.covered == self._growth.size and stored.index is not None:
            self._unsigned = None
        elif self._unsigned is None:
            self._unsigned = (str(record["recorded"]), stored.event_id)
        if stored.index is not None:
            self._last_row = stored.row

    def _check_loose(self, stored: Stored) -> None:
        self._loose += 1
        if self._ordered and stored.row <= self._last_row:
            raise Found(
                f"Event {stored.event_id} was put in later: the log has sequenced what stands after it.",
                stored.event_id,
            )

    def _check_columns(self, stored: Stored, record: dict[str, Any]) -> None:
        columns = columns_of(stored)
        try:
            expected = project(record, stored.leaf or b"")
        except (KeyError, TypeError, AttributeError) as exc:
            raise Found(f"Event {stored.event_id} was altered: a field is missing.", stored.event_id) from exc
        if record["event_id"] != stored.event_id:
            raise Found(f"Event {stored.event_id} was altered: its bytes are another event's.", stored.event_id)
        if columns is None:
            return
        for name, value in expected.items():
            if columns[name] != value:
                raise Found(
                    f"Event {stored.event_id} was altered: the column {name} differs from the event's bytes.",
                    stored.event_id,
                )

    def _check_inputs(self, record: dict[str, Any]) -> None:
        decision = record.get("decision", {})
        for name in ("policy_set", "schema"):
            self._look_up("policies", decision.get(name), record["event_id"])
        self._look_up("slices", record.get("cedar", {}).get("slice"), record["event_id"])

    def _look_up(self, kind: Kind, digest: str | None, event_id: str) -> None:
        known, what = self._texts[kind], _WORDS[kind]
        if digest is None or digest in known:
            return
        state = self._source.text(kind, digest)
        if state == "missing":
            raise Found(f"The {what} behind event {event_id} is missing from the log.", event_id)
        if state == "altered":
            raise Found(f"The {what} behind event {event_id}, kept under {digest[:12]}…, was altered.", event_id)
        if len(known) >= REMEMBERED:
            known.clear()
        known.add(digest)

    def check_texts(self) -> None:
        """Every kept text against its digest, those of no decision too.

        Raises:
            Found: One was altered.
        """
        for kind, what in _WORDS.items():
            for digest, text in self._source.texts(kind):
                if text_digest(text) != digest:
                    raise Found(f"The {what} kept under {digest[:12]}… was altered.")

    def check_signed_lately(self) -> None:
        """Whether the sequencer is at work.

        Raises:
            Found: Events have waited too long for a checkpoint.
        """
        if self._unsigned is not None and self._unsigned[0] < timestamp(datetime.now(UTC) - UNSIGNED_FOR):
            raise Found(
                f"{self._report.uncovered} event(s), the oldest of {self._unsigned[0]}, are under no checkpoint: is the"
                " consultations service running? `clinic-mcp audit sequence` signs them now.",
                self._unsigned[1],
                Verdict.IN_DOUBT,
            )

    def _index(self, record: dict[str, Any]) -> None:
        patients = set(record.get("patients", []))
        if len(patients) > 1:
            self._indexed += sum(_weight(record["event_id"], patient) for patient in patients)

    def check_patients(self, connection: Connection) -> None:
        """The patient index says exactly what the events say.

        Raises:
            Found: It does not; which event, found by reading both again.
        """
        indexed = sum(_weight(row.event_id, row.patient_id) for row in connection.execute(select(event_patients)))
        if indexed == self._indexed:
            return
        entries: dict[str, set[str]] = {}
        for row in connection.execute(select(event_patients)):
            entries.setdefault(row.event_id, set()).add(row.patient_id)
        for stored in self._source.events(0):
            patients = json.loads(stored.leaf or b"{}").get("patients", [])
            said = set(patients) if len(patients) > 1 else set()
            if said != entries.pop(stored.event_id, set()):
                raise Found(f"The patient index differs from event {stored.event_id}.", stored.event_id)
        event_id = next(iter(entries), None)
        raise Found(f"Event {event_id} is in the patient index and missing from the log.", event_id)


def _decoded(stored: Stored) -> dict[str, Any]:
    leaf = stored.leaf or b""
    try:
        record = _DECODER.decode(leaf.decode("utf-8"))
        if not isinstance(record, dict):
            raise ValueError
        # What has no float and only ASCII need not be walked through to know its canonical form.
        expected = _ENCODER.encode(record).encode("utf-8") if leaf.isascii() else canonical(record)
        if expected != leaf:
            raise ValueError
    except (ValueError, TypeError, AttributeError, RecursionError) as exc:
        raise Found(f"Event {stored.event_id} was altered: its bytes are not an event's.", stored.event_id) from exc
    return record


def _no_number(text: str) -> Any:
    raise ValueError(f"an event holds no {text}")


def _integer(text: str) -> int:
    value = int(text)
    return value if -(2**53) < value < 2**53 else _no_number(text)


_DECODER = json.JSONDecoder(parse_float=_no_number, parse_constant=_no_number, parse_int=_integer)
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _weight(event_id: str, patient: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{event_id}|{patient}".encode()).digest(), "big")
