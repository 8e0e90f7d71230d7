"""Checking only what is new: what came before is held to a checkpoint that was kept since."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection

from clinic_mcp.audit import checkpoint, tree
from clinic_mcp.audit.checkpoint import Signed
from clinic_mcp.audit.findings import Found, Verdict
from clinic_mcp.audit.merkle import (
    Frontier,
    consistency_proof,
    inclusion_proof,
    verify_consistency,
    verify_inclusion,
)
from clinic_mcp.audit.note import BadNote, Verifier


def trusted_edge(connection: Connection, since: Signed, pinned: Collection[Verifier]) -> Frontier:
    """The tree's edge at a kept checkpoint, once the tree of today is shown to have grown from it (RFC 6962, 2.1.2).

    Args:
        connection: An open read transaction.
        since: The checkpoint.
        pinned: The keys that may have signed it.

    Raises:
        Found: It is not this log's, the log is shorter or another one, or nodes of its tree are gone.
    """
    then, nodes, size = since.checkpoint, tree.StoredNodes(connection), tree.size(connection)
    try:
        since.signer(pinned)
    except BadNote as exc:
        raise Found(f"The checkpoint to start from does not hold: {exc}.", None, Verdict.CANNOT_CHECK) from exc
    if then.size > size:
        raise Found(
            f"The log was truncated or rolled back: the checkpoint to start from counts {then.size} events, {size} are"
            " there.",
            None,
            Verdict.TRUNCATED,
        )
    try:
        edge = Frontier.of(nodes, then.size)
        if edge.root() != then.root:
            raise Found(
                f"The log was truncated or rolled back: at {then.size} events it is not the one of the checkpoint to"
                " start from.",
                None,
                Verdict.TRUNCATED,
            )
        latest = tree.latest_checkpoint(connection)
        now = checkpoint.parse(latest.note).checkpoint if latest is not None else None
        if now is None or now.size < then.size:
            raise Found("The log was truncated: newer checkpoints are gone.", None, Verdict.TRUNCATED)
        proof = consistency_proof(nodes, then.size, now.size)
        if not verify_consistency(then.size, now.size, proof, then.root, now.root):
            raise Found(f"The tree of {now.size} events has not grown from the one of {then.size}.")
    except (LookupError, BadNote) as exc:
        raise Found("The tree was damaged: a node or a checkpoint cannot be read.") from exc
    return edge


def is_included(connection: Connection, size: int, root: bytes, index: int, leaf: bytes) -> bool:
    """Whether the kept nodes show a leaf to be in a trusted tree (RFC 6962, section 2.1.1).

    Args:
        connection: An open read transaction.
        size: The trusted tree's size.
        root: Its root.
        index: The leaf's place.
        leaf: Its hash.
    """
    if index >= size:
        return False
    try:
        path = inclusion_proof(tree.StoredNodes(connection), index, size)
    except LookupError:
        return False
    return verify_inclusion(leaf, index, size, path, root)
