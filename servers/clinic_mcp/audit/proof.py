"""One event's proof, in the form any tool of the tlog ecosystem reads (C2SP tlog-proof, `c2sp.org/tlog-proof@v1`).

The text followed is tlog-proof.md of the C2SP repository (c2sp.org/tlog-proof), section "Format": the first line names
the format; an `extra` line is optional and never trusted; `index` and the leaf's place from 0; the inclusion proof of
RFC 6962, section 2.1.1, a hash in base64 on each line, the leaf's sibling first; an empty line; the signed checkpoint,
verbatim.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, select

from clinic_mcp.audit import checkpoint
from clinic_mcp.audit.checkpoint import Checkpoint
from clinic_mcp.audit.findings import Found, Verdict
from clinic_mcp.audit.merkle import inclusion_proof, leaf_hash, verify_inclusion
from clinic_mcp.audit.models import checkpoints, events, leaves, purges
from clinic_mcp.audit.note import BadNote, Verifier
from clinic_mcp.audit.tree import StoredNodes

HEADER = "c2sp.org/tlog-proof@v1"


@dataclass(frozen=True)
class Proof:
    """That a leaf is in the log.

    Args:
        index: The leaf's place, from 0.
        path: The inclusion proof, 32 bytes each.
        note: The signed checkpoint.
    """

    index: int
    path: tuple[bytes, ...]
    note: str

    def __str__(self) -> str:
        lines = [HEADER, f"index {self.index}", *(base64.b64encode(one).decode() for one in self.path)]
        return "\n".join(lines) + f"\n\n{self.note}"

    def check(self, leaf: bytes, known: Collection[Verifier]) -> Checkpoint:
        """Hold the proof to a leaf.

        Args:
            leaf: The event's bytes.
            known: The keys that may have signed the checkpoint.

        Returns:
            The checkpoint the leaf is under.

        Raises:
            Found: The checkpoint does not hold, or the leaf is not in its tree.
        """
        try:
            signed = checkpoint.parse(self.note)
            signed.signer(known)
        except BadNote as exc:
            raise Found(f"The proof's checkpoint does not hold: {exc}.") from exc
        found = signed.checkpoint
        if not verify_inclusion(leaf_hash(leaf), self.index, found.size, self.path, found.root):
            raise Found("The proof is not of this event: its path does not lead to the signed root.")
        return found


def parse(text: str) -> Proof:
    """Read a proof; nothing in it is checked yet.

    Raises:
        Found: It has not the form of one.
    """
    head, blank, note = text.partition("\n\n")
    lines = head.split("\n")
    if not blank or lines[0] != HEADER or len(lines) < 2:
        raise Found(f"That is not a proof of the form {HEADER}.")
    rest = lines[2:] if lines[1].startswith("extra ") else lines[1:]
    word, _, index = (rest[0] if rest else "").partition(" ")
    if word != "index" or not (index.isascii() and index.isdecimal()) or str(int(index)) != index:
        raise Found("The proof names no place in the log.")
    try:
        path = tuple(_hash(line) for line in rest[1:])
    except (binascii.Error, ValueError) as exc:
        raise Found("The proof's path cannot be read.") from exc
    return Proof(int(index), path, note)


def prove(connection: Connection, event_id: str) -> tuple[Proof, bytes]:
    """The proof of an event under the newest checkpoint, and the event's bytes.

    Raises:
        Found: There is no such event, it is under no checkpoint yet, or the tree was damaged.
    """
    placed = (
        select(events.c.leaf, leaves.c.leaf_index)
        .select_from(events.outerjoin(leaves, leaves.c.event == events.c.id))
        .where(events.c.event_id == event_id)
    )
    row = connection.execute(placed).first()
    if row is None:
        raise Found(_missing(connection, event_id), event_id, Verdict.CANNOT_CHECK)
    newest = connection.execute(select(checkpoints).order_by(checkpoints.c.id.desc()).limit(1)).first()
    if row.leaf_index is None or newest is None or newest.size <= row.leaf_index:
        raise Found(
            "The event is under no checkpoint yet. The consultations service signs one every minute;"
            " `clinic-mcp audit sequence` signs one now.",
            event_id,
            Verdict.IN_DOUBT,
        )
    try:
        path = inclusion_proof(StoredNodes(connection), row.leaf_index, newest.size)
    except LookupError as exc:
        raise Found("The tree was damaged. Run `clinic-mcp audit verify`.", event_id) from exc
    return Proof(row.leaf_index, tuple(path), newest.note), bytes(row.leaf)


def _missing(connection: Connection, event_id: str) -> str:
    purged = (
        select(purges.c.cutoff)
        .join_from(leaves, purges, leaves.c.leaf_index < purges.c.upto)
        .where(leaves.c.event_id == event_id)
        .order_by(purges.c.upto)
    )
    cutoff = connection.execute(purged.limit(1)).scalar()
    if cutoff is None:
        return "There is no such event in the log."
    return (
        f"The event was purged with all that was recorded before {cutoff[:10]}. A proof and the event's bytes that were"
        " written before still hold; the log has neither any more."
    )


def _hash(line: str) -> bytes:
    raw = base64.b64decode(line, validate=True)
    if base64.b64encode(raw).decode() != line:
        raise ValueError("not base64")
    return raw
