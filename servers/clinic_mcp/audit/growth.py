"""The tree, grown again from the events: its root must be the signed one at every checkpoint and every outside note."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import Connection, func, select

from clinic_mcp.audit import checkpoint
from clinic_mcp.audit.findings import Found, Report, Verdict
from clinic_mcp.audit.merkle import Frontier, leaf_hash, node_hash
from clinic_mcp.audit.models import leaves, nodes
from clinic_mcp.audit.note import BadNote, Verifier
from clinic_mcp.audit.retention.known import Known
from clinic_mcp.audit.source import BATCH, KeptCheckpoint, Stored
from clinic_mcp.audit.witness import Outside


class Growth:
    """Grows the tree from events as they are read.

    Args:
        edge: The tree before the first of them.
        kept: The log's own checkpoints, in the order they were signed.
        outside: Notes that were kept elsewhere, in the order of their sizes.
        pinned: The keys that may have signed, the oldest first.
        known: What was purged and may be missing.
        report: Where it is counted.
    """

    def __init__(
        self,
        edge: Frontier,
        kept: Iterator[KeptCheckpoint],
        outside: Sequence[Outside],
        pinned: Sequence[Verifier],
        known: Known,
        report: Report,
    ) -> None:
        self._edge = edge
        self._kept = kept
        self._outside = iter(outside)
        self._pinned = list(pinned)
        self._known = known
        self._report = report
        self.newest_key = 0
        self._last_size = 0
        self._since_checkpoint: str | None = None  # the first event after the last checkpoint that agreed
        self._lost: Stored | None = None
        self._stranger: Outside | None = None
        self._due = next(self._kept, None)
        self._due_outside = next(self._outside, None)
        self._look()

    @property
    def size(self) -> int:
        return self._edge.size

    def add(self, stored: Stored) -> bool:
        """Take the next leaf.

        Returns:
            Whether its event is there.

        Raises:
            Found: It is not the leaf the tree has, or the tree is not the one that was signed.
        """
        if stored.index != self._edge.size:
            raise Found(
                f"The place of event {stored.event_id} was altered: it has {stored.index}, the next is {self.size}.",
                stored.event_id,
            )
        if stored.leaf is None and self._known.took(stored):
            self._since_checkpoint = self._since_checkpoint or stored.event_id
            self._edge.append(stored.hash or b"")
            self._report.purged += 1
            self._look()
            return False
        if stored.leaf is None:
            self._lost = self._lost or stored
            # Its hash still stands in the tree: go on, to tell a hole from an end that was cut off.
            self._edge.append(stored.hash or b"")
            return False
        if self._lost is not None:
            raise self._hole(self._lost)
        found = leaf_hash(stored.leaf)
        if stored.hash is not None and stored.hash != found:
            raise Found(f"Event {stored.event_id} was altered: its bytes are not those the tree has.", stored.event_id)
        if self._since_checkpoint is None:
            self._since_checkpoint = stored.event_id
        self._edge.append(found)
        self._look()
        return True

    def finish(self) -> None:
        """All leaves are read.

        Raises:
            Found: The end is missing: events, or leaves that a checkpoint or an outside note counted.
        """
        if self._lost is not None:
            count = self.size - (self._lost.index or 0)
            raise Found(
                f"The log was truncated: its last {count} sequenced event(s), from {self._lost.event_id} on, are gone.",
                self._lost.event_id,
                Verdict.TRUNCATED,
            )
        if self._due is not None:
            self._check_signed(self._due)
            raise Found(
                f"The log was truncated or rolled back: a checkpoint of {self._due.recorded} counts"
                f" {self._due.size} events, {self.size} are there.",
                None,
                Verdict.TRUNCATED,
            )
        if self._due_outside is not None:
            raise Found(
                f"The log was truncated or rolled back: an outside checkpoint counts {self._due_outside.size} events,"
                f" {self.size} are there.",
                None,
                Verdict.TRUNCATED,
            )

    def check_signers(self) -> None:
        """Whether the outside notes are this log's; asked last, because any other finding says more.

        Raises:
            Found: One agrees with the log and was signed by a key that is not pinned.
        """
        if self._stranger is not None:
            raise Found(
                f"The outside checkpoint of {self._stranger.size} events was not signed by a pinned key: were the keys"
                " replaced? Name a key file you trust: `--vkey FILE`.",
                None,
                Verdict.CANNOT_CHECK,
            )

    def _hole(self, lost: Stored) -> Found:
        return Found(
            f"Event {lost.event_id} is missing from the log: the tree has it at place {lost.index}.", lost.event_id
        )

    def _look(self) -> None:
        """Compare the root with whatever was signed at this size."""
        while self._due is not None and self._due.size <= self.size:
            self._check_signed(self._due)
            if self._due.size < self._last_size:
                raise Found(f"The checkpoint of {self._due.recorded} counts fewer events than the one before it.")
            if self._root() != self._due.root:
                raise Found(
                    f"The events from {self._since_checkpoint} on are not those that were signed in the checkpoint of"
                    f" {self._due.recorded} ({self._due.size} events).",
                    self._since_checkpoint,
                )
            self._since_checkpoint = None
            self._last_size = self._report.covered = self._due.size
            self._report.checkpoints += 1
            self._due = next(self._kept, None)
        while self._due_outside is not None and self._due_outside.size <= self.size:
            if self._root() != self._due_outside.root:
                raise Found(
                    f"The log was truncated or rolled back: at {self._due_outside.size} events it is not the one of the"
                    f" outside checkpoint{'' if self._due_outside.known else ', which a key signed that is not pinned'}"
                    ".",
                    None,
                    Verdict.TRUNCATED,
                )
            if not self._due_outside.known:
                self._stranger = self._due_outside
            self._report.witnessed += 1
            self._due_outside = next(self._outside, None)

    def _root(self) -> str:
        return checkpoint.Checkpoint("", self.size, self._edge.root()).root64

    def _check_signed(self, kept: KeptCheckpoint) -> None:
        where = f"The checkpoint of {kept.recorded} ({kept.size} events)"
        try:
            signed = checkpoint.parse(kept.note)
            key = self._pinned.index(signed.signer(self._pinned))
        except BadNote as exc:
            raise Found(f"{where} does not hold: {str(exc)[0].lower()}{str(exc)[1:].rstrip('.')}.") from exc
        if (signed.checkpoint.size, signed.checkpoint.root64) != (kept.size, kept.root):
            raise Found(f"{where} was altered: its columns differ from its note.")
        if key < self.newest_key:
            raise Found(f"{where} was signed with a key that had been replaced before.")
        self.newest_key = key


def check_nodes(connection: Connection) -> None:
    """Whether the kept nodes are those of the kept leaves: level by level, two streams side by side.

    Raises:
        Found: One is missing, altered or too many.
    """
    below: Any = select(leaves.c.hash).order_by(leaves.c.leaf_index)
    count = connection.execute(select(func.count()).select_from(leaves)).scalar_one()
    level = 0
    while count > 1:
        level, count = level + 1, count // 2
        here = select(nodes.c.position, nodes.c.hash).where(nodes.c.level == level).order_by(nodes.c.position)
        children = (bytes(row.hash) for row in _stream(connection, below))
        position = -1
        for position, row in enumerate(_stream(connection, here)):
            pair = list(islice(children, 2))
            if row.position != position or len(pair) < 2 or bytes(row.hash) != node_hash(*pair):
                raise Found(f"Node {level}/{position} of the tree was altered.")
        if position + 1 != count:
            raise Found(f"Level {level} of the tree has {position + 1} nodes, not {count}.")
        below = select(nodes.c.hash).where(nodes.c.level == level).order_by(nodes.c.position)
    beyond = connection.execute(select(nodes.c.level).where(nodes.c.level > level).limit(1)).first()
    if beyond is not None:
        raise Found(f"The tree has nodes at level {beyond.level}, above its root.")


def _stream(connection: Connection, query: Any) -> Iterator[Any]:
    yield from connection.execution_options(yield_per=BATCH).execute(query)
