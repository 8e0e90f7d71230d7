"""The Merkle tree of RFC 6962: roots, inclusion proofs, consistency proofs, and how both are checked.

A tree of n leaves splits at the largest power of two below n (RFC 6962, section 2.1). Every full subtree is a *node*,
named by its level (0 is the leaves) and its position from the left; a node never changes once it is full, so a tree
that only grows is a store that only takes rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol

SIZE = 32
"""Bytes in a hash (SHA-256)."""
EMPTY_ROOT = hashlib.sha256().digest()
"""The root of a tree without leaves (RFC 6962, section 2.1)."""


class Nodes(Protocol):
    """Where the full subtrees' hashes are kept."""

    def hash_of(self, level: int, position: int) -> bytes:
        """The hash of a full subtree.

        Raises:
            LookupError: It is not kept.
        """
        ...


def leaf_hash(leaf: bytes) -> bytes:
    """SHA-256 over a zero byte and the leaf (RFC 6962, section 2.1): no leaf can pose as a node."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256 over a byte of value one and both children (RFC 6962, section 2.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """The right edge of a growing tree: the roots of its full subtrees, one for each bit of its size.

    Args:
        size: Leaves it has.
        peaks: Those roots, the largest subtree first.
    """

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        self.size = size
        self._peaks = list(peaks)

    @classmethod
    def of(cls, nodes: Nodes, size: int) -> Frontier:
        """The edge of a kept tree at a size it has or had.

        Raises:
            LookupError: The tree has not as many leaves, or a node is gone.
        """
        return cls(size, [nodes.hash_of(*peak) for peak in _peaks(0, size)])

    def append(self, leaf: bytes) -> list[tuple[int, int, bytes]]:
        """Add a leaf by its hash.

        Returns:
            The nodes that became full: level, position, hash; the leaf itself first.
        """
        level, position, full = 0, self.size, [(0, self.size, leaf)]
        while position & 1:
            leaf = node_hash(self._peaks.pop(), leaf)
            level, position = level + 1, position >> 1
            full.append((level, position, leaf))
        self._peaks.append(leaf)
        self.size += 1
        return full

    def root(self) -> bytes:
        """The Merkle tree hash of what has been added (RFC 6962, section 2.1)."""
        return _fold(self._peaks)


def root(nodes: Nodes, size: int) -> bytes:
    """The root a kept tree has, or had, at a size.

    Raises:
        LookupError: A node is gone.
    """
    return Frontier.of(nodes, size).root()


def inclusion_proof(nodes: Nodes, index: int, size: int) -> list[bytes]:
    """What proves that a leaf is in the tree, from the leaf's sibling up (RFC 6962, section 2.1.1).

    Args:
        nodes: The kept tree.
        index: The leaf's index, from 0.
        size: The tree's size the proof is for.

    Raises:
        ValueError: There is no such leaf at that size.
        LookupError: A node is gone.
    """
    if not 0 <= index < size:
        raise ValueError("no such leaf in a tree of that size")
    low, high, path = 0, size, []
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            path.append(_range(nodes, middle, high))
            high = middle
        else:
            path.append(_range(nodes, low, middle))
            low = middle
    return path[::-1]


def consistency_proof(nodes: Nodes, old: int, new: int) -> list[bytes]:
    """What proves that the tree of one size only grew to the other (RFC 6962, section 2.1.2).

    Raises:
        ValueError: The sizes are not in order.
        LookupError: A node is gone.
    """
    if not 0 <= old <= new:
        raise ValueError("a tree only grows")
    if old in (0, new):
        return []
    low, high, known, path = 0, new, True, []
    while old != high:
        middle = low + _split(high - low)
        if old <= middle:
            path.append(_range(nodes, middle, high))
            high = middle
        else:
            path.append(_range(nodes, low, middle))
            low, known = middle, False
    if not known:
        path.append(_range(nodes, low, high))
    return path[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], expected: bytes) -> bool:
    """Whether a proof shows that a leaf is in a tree (RFC 9162, section 2.1.3.2).

    Args:
        leaf: The leaf's hash.
        index: Its index, from 0.
        size: The tree's size.
        path: The proof, from the leaf's sibling up.
        expected: The tree's root.
    """
    if not 0 <= index < size or any(len(one) != SIZE for one in (leaf, expected, *path)):
        return False
    place, last, seen = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return False
        if place & 1 or place == last:
            seen = node_hash(sibling, seen)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            seen = node_hash(seen, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and seen == expected


def verify_consistency(old: int, new: int, path: Sequence[bytes], old_root: bytes, new_root: bytes) -> bool:
    """Whether a proof shows that a tree only grew (RFC 9162, section 2.1.4.2).

    Args:
        old: The earlier size. From an empty tree every tree has grown, without a proof.
        new: The later size.
        path: The proof.
        old_root: The root at the earlier size.
        new_root: The root at the later size.
    """
    if not 0 <= old <= new or any(len(one) != SIZE for one in (old_root, new_root, *path)):
        return False
    if old == new:
        return not path and old_root == new_root
    if old == 0:
        return not path and old_root == EMPTY_ROOT
    proof = [old_root, *path] if old & (old - 1) == 0 else list(path)
    if not proof:
        return False
    place, last = old - 1, new - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    before = after = proof[0]
    for sibling in proof[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            before, after = node_hash(sibling, before), node_hash(sibling, after)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            after = node_hash(after, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and before == old_root and after == new_root


def _split(size: int) -> int:
    """The largest power of two below a size of at least two."""
    return 1 << (size - 1).bit_length() - 1


def _peaks(start: int, size: int) -> list[tuple[int, int]]:
    """The full subtrees that make up `size` leaves from `start`, which is a multiple of the largest of them."""
    found = []
    for level in range(size.bit_length() - 1, -1, -1):
        if size >> level & 1:
            found.append((level, start >> level))
            start += 1 << level
    return found


def _range(nodes: Nodes, low: int, high: int) -> bytes:
    return _fold([nodes.hash_of(*peak) for peak in _peaks(low, high - low)])


def _fold(peaks: Sequence[bytes]) -> bytes:
    if not peaks:
        return EMPTY_ROOT
    folded = peaks[-1]
    for peak in reversed(peaks[:-1]):
        folded = node_hash(peak, folded)
    return folded
