"""Checkpoints (C2SP tlog-checkpoint): the tree's size and root, signed. Three lines that hold no patient data."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clinic_mcp.audit import note
from clinic_mcp.audit.merkle import SIZE
from clinic_mcp.audit.note import BadNote, Note, Verifier


def origin_of(clinic_id: str) -> str:
    """The name a clinic's log signs under: `clinic-mcp/` and the clinic's id."""
    return f"clinic-mcp/{clinic_id}"


@dataclass(frozen=True)
class Checkpoint:
    """The tree at a size.

    Args:
        origin: Which log it is.
        size: How many leaves it has.
        root: The root at that size, 32 bytes (RFC 6962, section 2.1).
    """

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The note's text: origin, size, root in base64, a line each (C2SP tlog-checkpoint, "Note text")."""
        return f"{self.origin}\n{self.size}\n{self.root64}\n"

    @property
    def root64(self) -> str:
        return base64.b64encode(self.root).decode()

    def signed(self, key: Ed25519PrivateKey) -> str:
        """The signed note; the key's name is the origin."""
        return note.sign(self.text, self.origin, key)


@dataclass(frozen=True)
class Signed:
    """A checkpoint as it was found: what it says, and the note that says it."""

    checkpoint: Checkpoint
    note: Note

    def signer(self, known: Iterable[Verifier]) -> Verifier:
        """The known key that signed it.

        Raises:
            BadNote: None did, or a signature is wrong.
        """
        return self.note.signer([key for key in known if key.name == self.checkpoint.origin])


def parse(text: str) -> Signed:
    """Read a signed checkpoint; its signature is not checked yet.

    Raises:
        BadNote: It is not one.
    """
    found = note.parse(text)
    lines = found.text.split("\n")[:-1]
    if len(lines) < 3 or not all(lines):
        raise BadNote("That is not a checkpoint.")
    origin, size, root = lines[:3]
    try:
        checkpoint = Checkpoint(origin, int(size), base64.b64decode(root, validate=True))
    except ValueError as exc:
        raise BadNote("That is not a checkpoint.") from exc
    # Lines that follow are the specification's extensions: part of what is signed, and nothing to us.
    if checkpoint.size < 0 or len(checkpoint.root) != SIZE or not found.text.startswith(checkpoint.text):
        raise BadNote("That is not a checkpoint.")
    return Signed(checkpoint, found)
