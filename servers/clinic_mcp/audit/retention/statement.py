"""What a purge says of itself: in its event, over the signature of the key that signs checkpoints.

Whoever can only write the database cannot make one. The signed text cannot pose as a checkpoint: its second line is no
number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clinic_mcp.audit import checkpoint, note
from clinic_mcp.audit.event import canonical
from clinic_mcp.audit.findings import Found
from clinic_mcp.audit.note import BadNote, Verifier
from clinic_mcp.core.clinic import timestamp

CODE = "audit.purged"
SKEW = timedelta(minutes=5)
"""How far ahead of this machine's clock another one may have written."""


@dataclass(frozen=True)
class Purge:
    """What is taken from the log: the events below a place of the tree.

    Args:
        size: That place: the size of a signed checkpoint.
        root: The tree's root at that size, in base64.
        checkpoint: The signed note of it.
        cutoff: Everything taken was recorded before this moment, ISO 8601.
        years: The retention it respects.
        first: When the first event was recorded that it takes.
        last: When the last one was.
        counts: How many `events`, rows of the patient index (`patients`), bodies (`details`), and of `calls` what is
            kept.
        calls: SHA-256 over what is kept of calls (`calls_digest`), from the log's first purge to this one.
    """

    size: int
    root: str
    checkpoint: str
    cutoff: str
    years: int
    first: str
    last: str
    counts: Mapping[str, int]
    calls: str

    @property
    def facts(self) -> dict[str, Any]:
        return {
            "size": self.size,
            "root": self.root,
            "checkpoint": self.checkpoint,
            "cutoff": self.cutoff,
            "years": self.years,
            "range": {"from": self.first, "to": self.last},
            "counts": dict(self.counts),
            "calls": self.calls,
        }

    def signed(self, origin: str, key: Ed25519PrivateKey) -> dict[str, Any]:
        """The facts with the signed statement of them: what the event holds as `purge`."""
        return {**self.facts, "statement": note.sign(self._text(origin), origin, key)}

    def _text(self, origin: str) -> str:
        return f"{origin}\npurge\n{hashlib.sha256(canonical(self.facts)).hexdigest()}\n"

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Purge:
        """Read a purge's event; nothing in it is checked yet.

        Raises:
            Found: It says of no purge.
        """
        try:
            said = record["purge"]
            times, counts = said["range"], {name: int(count) for name, count in said["counts"].items()}
            found = cls(
                int(said["size"]),
                said["root"],
                said["checkpoint"],
                said["cutoff"],
                int(said["years"]),
                times["from"],
                times["to"],
                counts,
                said["calls"],
            )
            if {**found.facts, "statement": said["statement"]} != said or record["code"] != CODE:
                raise ValueError
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            raise _wrong(record, "says of no purge") from exc
        return found

    def check(self, record: Mapping[str, Any], pinned: Sequence[Verifier]) -> int:
        """Hold it to itself: its signatures, and that it took only what its retention had passed for.

        Args:
            record: Its event.
            pinned: The keys that may have signed it, the oldest first.

        Returns:
            Which of them did.

        Raises:
            Found: Something in it does not hold.
        """
        origin = record["origin"]
        mine = [key for key in pinned if key.name == origin]
        try:
            statement, under = note.parse(record["purge"]["statement"]), checkpoint.parse(self.checkpoint)
            signer = statement.signer(mine)
            under.signer(mine)
        except BadNote as exc:
            raise _wrong(record, f"was not made by this clinic's purge: {str(exc).rstrip('.')}") from exc
        if statement.text != self._text(origin):
            raise _wrong(record, "says something else than was signed")
        if (under.checkpoint.size, under.checkpoint.root64) != (self.size, self.root):
            raise _wrong(record, "names another checkpoint than its numbers")
        made = datetime.fromisoformat(record["recorded"])
        if made > datetime.now(UTC) + SKEW:
            raise _wrong(record, "is dated in the future")
        if self.years < 1 or self.cutoff > timestamp(years_before(made, self.years)) or self.last >= self.cutoff:
            raise _wrong(record, f"took events before their {self.years} years of retention were over")
        return list(pinned).index(signer)


def years_before(moment: datetime, years: int) -> datetime:
    """The same moment that many years earlier; the 29th of February becomes the 28th."""
    try:
        return moment.replace(year=moment.year - years)
    except ValueError:
        return moment.replace(year=moment.year - years, day=28)


@dataclass(frozen=True)
class PurgedCall:
    """What is kept of a purged call: no person, no patient.

    Args:
        index: The place of the event that said it.
        call_id: The call.
        table: The table it wrote; none for an intent whose outcome was not purged with it.
        row: The row.
    """

    index: int
    call_id: str
    table: str | None
    row: str | None

    @property
    def line(self) -> bytes:
        return canonical([self.index, self.call_id, self.table, self.row]) + b"\n"


def _wrong(record: Mapping[str, Any], what: str) -> Found:
    event_id = str(record.get("event_id"))
    return Found(f"The purge of event {event_id} {what}.", event_id)
