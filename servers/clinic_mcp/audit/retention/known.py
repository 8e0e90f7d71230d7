"""What a log may lack: the events below a recorded purge, and only those."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from clinic_mcp.audit.findings import Found
from clinic_mcp.audit.merkle import leaf_hash
from clinic_mcp.audit.note import Verifier
from clinic_mcp.audit.retention import hold
from clinic_mcp.audit.retention.statement import CODE, Purge
from clinic_mcp.audit.source import KeptPurge, Source, Stored

_HASH = re.compile("[0-9a-f]{64}")


class Known:
    """The purges of a log, as verification judges them.

    An event may be missing only below the newest purge whose own event is in the tree, under a checkpoint.

    Args:
        source: The log.
        pinned: The keys that may have signed, the oldest first.

    Raises:
        Found: A purge is listed that no event records, or that says something else than its event.
    """

    def __init__(self, source: Source, pinned: Sequence[Verifier]) -> None:
        self._source = source
        self._pinned = pinned
        self._held: bool | None = None
        self._seen: dict[str, int] = {}
        self._evidence: Stored | None = None
        self.floor, self._before = 0, 0.0
        covered = max((one.size for one in source.checkpoints(0)), default=0)
        listed = sorted(source.purges(), key=lambda one: one.upto, reverse=True)
        for number, one in enumerate(listed):
            stored = source.event_of(one.call_id)
            if stored is None:
                self._check_purged_itself(one, first=number == 0)
                continue
            purge = self._judged(one, stored)
            if number == 0:
                self._check_calls(purge, stored)
            if not self.floor and stored.index is not None and stored.index < covered:
                self.floor, self._before, self._evidence = purge.size, _milliseconds(purge.cutoff), stored

    def _judged(self, listed: KeptPurge, stored: Stored) -> Purge:
        """A listed purge, held to its event."""
        try:
            record = json.loads(stored.leaf or b"")
            purge = Purge.of(record)
        except (ValueError, TypeError, AttributeError) as exc:
            raise Found(f"Event {stored.event_id} was altered: its bytes are not an event's.", stored.event_id) from exc
        purge.check(record, self._pinned)
        if (purge.size, purge.cutoff) != (listed.upto, listed.cutoff):
            raise Found(
                f"The purge of event {stored.event_id} took {purge.size} events; it is listed with {listed.upto}.",
                stored.event_id,
            )
        kept = next((one for one in self._source.checkpoints(purge.size) if one.size == purge.size), None)
        if kept is None or kept.root != purge.root or kept.recorded > purge.cutoff:
            raise Found(
                f"The purge of event {stored.event_id} does not end at a checkpoint that was older than its cutoff.",
                stored.event_id,
            )
        return purge

    def _check_purged_itself(self, listed: KeptPurge, *, first: bool) -> None:
        """A purge whose event is gone must have been taken by a later one, which keeps that it was made."""
        kept = None if first else self._source.purged_call(listed.call_id, "audit_purges")
        if kept is None or kept.row != str(listed.upto):
            raise Found(f"A purge of {listed.upto} events is listed that no event records.")

    def _check_calls(self, purge: Purge, stored: Stored) -> None:
        digest = hashlib.sha256()
        for one in self._source.purged_calls(purge.size):
            digest.update(one.line)
        if digest.hexdigest() != purge.calls:
            raise Found(
                f"What was kept of purged calls is not what the purge of event {stored.event_id} kept.",
                stored.event_id,
            )

    def took(self, stored: Stored) -> bool:
        """Whether an event that is missing was purged.

        Raises:
            Found: It stands below the purge and is too young to have been taken by it.
        """
        if stored.index is None or stored.index >= self.floor:
            return False
        if _born(stored.event_id) >= self._before:
            raise Found(
                f"Event {stored.event_id} is missing from the log: it was younger than what the purge took.",
                stored.event_id,
            )
        return True

    def has_hash(self, found: str) -> bool:
        """Whether a chain's `prev` is the hash of a leaf below the purge."""
        if not self.floor or not _HASH.fullmatch(found):
            return False
        return self._source.purged_leaf(bytes.fromhex(found), self.floor)

    def has_intent(self, call_id: str, index: int | None) -> bool:
        """Whether an outcome's intent was purged. Of a call that is half purged while a purge is at work, the outcome
        is about to go, too."""
        if not self.floor:
            return False
        if index is not None and index < self.floor:
            return True
        return self._source.purged_call(call_id, None) is not None

    def saw(self, record: Mapping[str, Any], index: int | None, newest_key: int) -> None:
        """An event on its way past: those of purges and holds are judged.

        Args:
            record: The event.
            index: Its place.
            newest_key: The newest key that a checkpoint before it was signed with.

        Raises:
            Found: A purge was made with a replaced key, while the log was on hold, or does not hold itself.
        """
        code = record["code"]
        if code in hold.CODES:
            self._held = code == hold.ON
        elif code == CODE:
            event_id = record["event_id"]
            if Purge.of(record).check(record, self._pinned) < newest_key:
                raise Found(f"The purge of event {event_id} was signed with a key that had been replaced.", event_id)
            if self._held:
                raise Found(f"The purge of event {event_id} was made while the log was on hold.", event_id)
            if index is not None:
                self._seen[event_id] = index

    def check_evidence(self, covered: int, edge: int, *, included: bool) -> None:
        """Whether the purge's own event was met in the tree, under a checkpoint.

        Args:
            covered: How many events are.
            edge: The size of the tree before the part that was read.
            included: Whether the event was shown to be in that tree, where it stands there.

        Raises:
            Found: It was not.
        """
        stored = self._evidence
        if stored is None:
            return
        if stored.index is not None and stored.index < edge:
            if included:
                return
        elif self._seen.get(stored.event_id, covered) < covered:
            return
        raise Found(f"The purge of event {stored.event_id} is not in the tree that was signed.", stored.event_id)

    @property
    def evidence(self) -> tuple[int, bytes] | None:
        """The place of the purge's own event, and its leaf hash."""
        stored = self._evidence
        if stored is None or stored.index is None:
            return None
        return stored.index, leaf_hash(stored.leaf or b"")


def _born(event_id: str) -> float:
    """When an event id was made, in milliseconds (RFC 9562, section 5.7); what is no such id is as young as can be."""
    try:
        return int(event_id[:8] + event_id[9:13], 16)
    except ValueError:
        return math.inf


def _milliseconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp() * 1_000
