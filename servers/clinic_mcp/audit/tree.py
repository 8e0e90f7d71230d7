"""The tree as the database keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, select

from clinic_mcp.audit.merkle import Frontier, leaf_hash
from clinic_mcp.audit.models import checkpoints, events, leaves, nodes

_LEAF = select(leaves.c.hash).where(leaves.c.leaf_index == bindparam("position"))
_NODE = select(nodes.c.hash).where(nodes.c.level == bindparam("level"), nodes.c.position == bindparam("position"))


class StoredNodes:
    """The full subtrees' hashes, read one at a time: a proof needs about twenty of a million.

    Args:
        connection: An open transaction.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def hash_of(self, level: int, position: int) -> bytes:
        """The hash of a full subtree.

        Raises:
            LookupError: It is not kept.
        """
        place = {"level": level, "position": position}
        found = self._connection.execute(_NODE if level else _LEAF, place).scalar()
        if found is None:
            raise LookupError(f"node {level}/{position}")
        return bytes(found)


def size(connection: Connection) -> int:
    """How many events have a place in the tree."""
    last: int | None = connection.execute(select(func.max(leaves.c.leaf_index))).scalar()
    return 0 if last is None else last + 1


def latest_checkpoint(connection: Connection) -> Any:
    """The newest checkpoint's row, or nothing."""
    return connection.execute(select(checkpoints).order_by(checkpoints.c.id.desc()).limit(1)).first()


def grow(connection: Connection, pending: Sequence[Any]) -> int:
    """Give events their places, in the order given, and write the nodes that become full.

    Args:
        connection: An open write transaction that nobody else sequences beside.
        pending: Rows with `id`, `event_id` and `leaf`.

    Returns:
        The tree's size afterwards.

    Raises:
        LookupError: A node the tree grows from is gone.
    """
    edge = Frontier.of(StoredNodes(connection), size(connection))
    placed, full = [], []
    for row in pending:
        place = {"leaf_index": edge.size, "event": row.id, "event_id": row.event_id, "hash": leaf_hash(bytes(row.leaf))}
        placed.append(place)
        full += [
            {"level": level, "position": position, "hash": found}
            for level, position, found in edge.append(place["hash"])
            if level
        ]
    if placed:
        connection.execute(insert(leaves), placed)
    if full:
        connection.execute(insert(nodes), full)
    return edge.size


def pending(connection: Connection, limit: int, *, sqlite: bool) -> Sequence[Any]:
    """Events without a place in the tree, in the order of their rows.

    SQLite's writers commit in the order of their rows, so what comes later has a higher one: a row that appears below
    was not written by the log, and stays outside the tree for `audit verify` to name. On PostgreSQL a transaction may
    commit after one that began later, so a stretch below the last is looked at again.
    """
    last = select(leaves.c.event).order_by(leaves.c.leaf_index.desc()).limit(1)
    reached: int = connection.execute(last).scalar() or 0
    query = select(events.c.id, events.c.event_id, events.c.leaf, events.c.recorded).order_by(events.c.id).limit(limit)
    if sqlite:
        return connection.execute(query.where(events.c.id > reached)).all()
    placed = select(leaves.c.event).where(leaves.c.event == events.c.id).exists()
    return connection.execute(query.where(events.c.id > reached - LATE, ~placed)).all()


LATE = 10_000
"""Rows below the last sequenced one among which PostgreSQL may still show a new one."""
