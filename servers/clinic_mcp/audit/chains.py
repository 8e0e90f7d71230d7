"""The writers' chains, and the intents and outcomes in them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Protocol

from clinic_mcp.audit.event import GENESIS, leaf_hash
from clinic_mcp.audit.findings import Found

RECENT = 1_024
"""Events of a server among which a new start may find the one it continues from. On SQLite it is the last; on
PostgreSQL others may have been committed meanwhile."""


class Taken(Protocol):
    """Knows what was purged."""

    def has_hash(self, found: str) -> bool:
        """Whether a purged event had this leaf hash."""
        ...

    def has_intent(self, call_id: str, index: int | None) -> bool:
        """Whether the intent of an outcome was purged."""
        ...


class Earlier(Protocol):
    """Looks up what stands before the part that is read."""

    def by_place(self, boot_id: str, seq: int) -> Any:
        """An event by its place in its writer's chain, or nothing."""
        ...

    def intent_of(self, call_id: str) -> str | None:
        """The event id of a call's intent, or nothing."""
        ...


@dataclass
class _Chain:
    """Where a writer's chain stands while the log is read in order."""

    seq: int = -1
    hash: str = GENESIS
    event_id: str = ""


class Chains:
    """Follows every writer's chain. What it remembers grows with the number of process starts, not of events.

    Args:
        taken: What was purged.
        earlier: Where to look up what was checked before, when only a later part is read.
    """

    def __init__(self, taken: Taken, earlier: Earlier | None = None) -> None:
        self._taken = taken
        self._earlier = earlier
        self._chains: dict[str, _Chain] = {}
        self._recent: dict[str, deque[str]] = {}  # server → hashes a later start may continue from
        self._open: dict[str, str] = {}  # call → event id of its intent

    @property
    def writers(self) -> int:
        return len(self._chains)

    @property
    def in_doubt(self) -> list[str]:
        """Calls with an intent and no outcome."""
        return list(self._open)

    def check(self, record: dict[str, Any], leaf: bytes, index: int | None) -> None:
        """Take the next event.

        Args:
            record: The event.
            leaf: Its bytes.
            index: Its place in the tree, if it has one.

        Raises:
            Found: It does not follow what was read.
        """
        writer, event_id = record["writer"], record["event_id"]
        chain = self._chains.get(writer["boot_id"])
        if chain is None:
            chain = self._chains[writer["boot_id"]] = self._begun(record)
        if chain.seq >= 0:
            self._check_next(chain, writer, event_id)
        chain.seq, chain.hash, chain.event_id = writer["seq"], leaf_hash(leaf), event_id
        self._recent.setdefault(writer["server"], deque(maxlen=RECENT)).append(chain.hash)
        self._check_phases(record, index)

    def _check_next(self, chain: _Chain, writer: dict[str, Any], event_id: str) -> None:
        if writer["seq"] != chain.seq + 1:
            what = "are missing" if writer["seq"] > chain.seq + 1 else "were reordered"
            raise Found(
                f"Events of {writer['server']} {what} before {event_id}: {chain.seq} is followed by {writer['seq']}.",
                event_id,
            )
        if writer["prev"] != chain.hash:
            raise Found(
                f"Event {chain.event_id} was altered or replaced: {event_id}, which follows it, does not fit.",
                chain.event_id,
            )

    def _begun(self, record: dict[str, Any]) -> _Chain:
        """A writer's chain at its first event, or where the part that is read meets it."""
        writer, event_id = record["writer"], record["event_id"]
        if writer["seq"] != 0:
            before = self._earlier.by_place(writer["boot_id"], writer["seq"] - 1) if self._earlier else None
            if before is None and self._taken.has_hash(writer["prev"]):
                return _Chain(writer["seq"] - 1, writer["prev"])
            if before is None:
                raise Found(
                    f"Events of {writer['server']} are missing before {event_id}:"
                    f" its writer's chain starts at {writer['seq']}.",
                    event_id,
                )
            return _Chain(writer["seq"] - 1, leaf_hash(bytes(before.leaf)), before.event_id)
        self._check_link(record)
        return _Chain()

    def _check_link(self, record: dict[str, Any]) -> None:
        """The first event of a start names the last of its server."""
        writer, event_id, server = record["writer"], record["event_id"], record["writer"]["server"]
        known, after = self._recent.get(server, ()), record.get("after") or {}
        if writer["prev"] in known or (writer["prev"] == GENESIS and not known and not after):
            return
        last = self._chains.get(after.get("boot_id", ""))
        if last is None and self._earlier is not None and after:
            before = self._earlier.by_place(after["boot_id"], after["seq"])
            if before is not None and leaf_hash(bytes(before.leaf)) == writer["prev"]:
                return
        if last is not None and last.seq == after.get("seq"):
            raise Found(
                f"Event {last.event_id} was altered or replaced: {event_id}, which follows it, does not fit.",
                last.event_id,
            )
        if after and self._taken.has_hash(writer["prev"]):
            return
        if writer["prev"] == GENESIS:
            raise Found(f"Event {event_id} starts a chain beside the one {server} had.", event_id)
        raise Found(
            f"Events of {server} are missing before {event_id}: the event it continues from is not in the log.",
            event_id,
        )

    def _check_phases(self, record: dict[str, Any], index: int | None) -> None:
        call, phase = record["call_id"], record["phase"]
        if phase == "intent":
            self._open[call] = record["event_id"]
        elif phase == "outcome" and self._open.pop(call, None) is None:
            if self._earlier is not None and self._earlier.intent_of(call) is not None:
                return
            if self._taken.has_intent(call, index):
                return
            raise Found(
                f"Event {record['event_id']} is an outcome whose intent is missing from the log.", record["event_id"]
            )
