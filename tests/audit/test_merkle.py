"""The tree of RFC 6962: published vectors, another implementation, and every way to damage a proof."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from clinic_mcp.audit.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root,
    verify_consistency,
    verify_inclusion,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from pymerkle import InmemoryTree

# The eight leaves and the roots after each, from the Certificate Transparency project's reference tests of RFC 6962.
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
# (leaf, size) → path, and (old, new) → path, of the same tests.
PATHS = {
    (0, 1): [],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
GROWTHS = {
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}


class Kept:
    """A tree in memory."""

    def __init__(self, leaves: list[bytes]) -> None:
        self._nodes: dict[tuple[int, int], bytes] = {}
        edge = Frontier()
        self.roots = [edge.root()]
        for leaf in leaves:
            self._nodes |= {(level, position): found for level, position, found in edge.append(leaf_hash(leaf))}
            self.roots.append(edge.root())

    def hash_of(self, level: int, position: int) -> bytes:
        return self._nodes[level, position]


@pytest.fixture(scope="module")
def published() -> Kept:
    return Kept(LEAVES)


def numbered(count: int) -> list[bytes]:
    return [b"leaf %d" % number for number in range(count)]


def test_the_published_roots(published: Kept) -> None:
    assert published.roots[0] == EMPTY_ROOT
    assert [one.hex() for one in published.roots[1:]] == ROOTS
    assert [root(published, size).hex() for size in range(1, 9)] == ROOTS


@pytest.mark.parametrize(("which", "path"), PATHS.items(), ids=str)
def test_the_published_inclusion_proofs(published: Kept, which: tuple[int, int], path: list[str]) -> None:
    assert [one.hex() for one in inclusion_proof(published, *which)] == path


@pytest.mark.parametrize(("which", "path"), GROWTHS.items(), ids=str)
def test_the_published_consistency_proofs(published: Kept, which: tuple[int, int], path: list[str]) -> None:
    assert [one.hex() for one in consistency_proof(published, *which)] == path


def test_another_implementation_has_the_same_roots_and_proofs() -> None:
    leaves = numbered(70)
    kept, oracle = Kept(leaves), InmemoryTree(algorithm="sha256")
    for leaf in leaves:
        oracle.append_entry(leaf)
    for size in range(1, 71):
        assert root(kept, size) == oracle.get_root(size)
        for index in range(size):
            theirs = oracle.prove_inclusion(index + 1, size)
            # Its path starts with the leaf's own hash.
            assert inclusion_proof(kept, index, size) == [bytes(one) for one in theirs.path[1:]]


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_every_leaf_of_every_size_is_proven(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 300))
    leaves = numbered(size)
    kept, index, old = Kept(leaves), data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size))
    path = inclusion_proof(kept, index, size)
    assert verify_inclusion(leaf_hash(leaves[index]), index, size, path, kept.roots[size])
    growth = consistency_proof(kept, old, size)
    assert verify_consistency(old, size, growth, kept.roots[old], kept.roots[size])


def test_no_leaf_no_proof(published: Kept) -> None:
    for index, size in ((-1, 8), (8, 8), (0, 0)):
        with pytest.raises(ValueError, match="no such leaf"):
            inclusion_proof(published, index, size)
    with pytest.raises(ValueError, match="only grows"):
        consistency_proof(published, 5, 4)


def flipped(one: bytes) -> Iterator[bytes]:
    """Every byte changed, one at a time; then the wrong lengths."""
    yield from (one[:at] + bytes([one[at] ^ 1]) + one[at + 1 :] for at in range(len(one)))
    yield from (b"", one[:-1], one + b"\x00", bytes(32))


def damaged(path: list[bytes]) -> Iterator[list[bytes]]:
    """A path with each hash altered, dropped, doubled, swapped with the next, and with more at either end."""
    for at, one in enumerate(path):
        yield from ([*path[:at], other, *path[at + 1 :]] for other in flipped(one))
        yield [*path[:at], *path[at + 1 :]]
        yield [*path[:at], one, *path[at:]]
        if path[at + 1 :] and path[at + 1] != one:
            yield [*path[:at], path[at + 1], one, *path[at + 2 :]]
    yield from ([*path, bytes(32)], [bytes(32), *path], [*path, b""], [*path, EMPTY_ROOT])
    if path:
        yield []
    if len(path) > 1:
        yield path[::-1]


SIZES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 16, 17)


@pytest.mark.parametrize("size", SIZES)
def test_every_damaged_inclusion_proof_is_refused(size: int) -> None:
    leaves = numbered(size + 2)
    kept = Kept(leaves)
    for index in range(size):
        leaf, path, head = leaf_hash(leaves[index]), inclusion_proof(kept, index, size), kept.roots[size]
        assert verify_inclusion(leaf, index, size, path, head)
        wrong = [(other, index, size, path, head) for other in flipped(leaf)]
        wrong += [(leaf, index, size, path, other) for other in flipped(head)]
        wrong += [(leaf, index, size, other, head) for other in damaged(path)]
        wrong += [(leaf, other, size, path, head) for other in (*range(-2, size + 2), index + 2**40) if other != index]
        # A proof does not bind the size by itself: at other sizes the tree has other roots.
        wrong += [(leaf, index, other, path, kept.roots[other]) for other in range(size + 3) if other != size]
        wrong += [(leaf, index, other, path, head) for other in (0, -1, -size)]
        wrong += [(leaf_hash(leaves[(index + 1) % (size + 2)]), index, size, path, head)]
        wrong += [(leaf_hash(leaf), index, size, path, head)]
        accepted = [one for one in wrong if verify_inclusion(*one)]
        assert not accepted


@pytest.mark.parametrize("new", SIZES)
def test_every_damaged_consistency_proof_is_refused(new: int) -> None:
    kept = Kept(numbered(new + 2))
    for old in range(new + 1):
        path, before, after = consistency_proof(kept, old, new), kept.roots[old], kept.roots[new]
        assert verify_consistency(old, new, path, before, after)
        wrong = [(old, new, path, other, after) for other in flipped(before)]
        if old:  # from the empty tree every tree has grown: there is nothing to hold the later root to
            wrong += [(old, new, path, before, other) for other in flipped(after)]
            wrong += [(other, new, path, before, after) for other in range(-1, new + 3) if other != old]
            wrong += [(old, other, path, before, kept.roots[other]) for other in range(1, new + 3) if other != new]
            wrong += [(old, new, path, after, before)] if old != new else []
        wrong += [(old, new, other, before, after) for other in damaged(path)]
        wrong += [(new, old, path, before, after)] if old != new else []
        accepted = [one for one in wrong if verify_consistency(*one)]
        assert not accepted
