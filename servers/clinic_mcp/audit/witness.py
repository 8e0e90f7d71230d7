"""The witness: a file outside the database, best outside the machine, to which every checkpoint is appended.

It holds what somebody who can rewrite the whole database cannot take back.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from clinic_mcp.audit import checkpoint
from clinic_mcp.audit.checkpoint import Signed
from clinic_mcp.audit.note import BadNote, Verifier
from clinic_mcp.core.errors import Misconfigured


@dataclass(frozen=True, order=True)
class Outside:
    """A checkpoint that was kept elsewhere: its size, its root in base64, and whether a pinned key signed it."""

    size: int
    root: str
    known: bool


def append(path: Path, note: str) -> None:
    """Add a note to the file and wait for the medium.

    Args:
        path: The file; its folder must be there, so that a stick which is not plugged in shows.
        note: The signed note.

    Raises:
        OSError: The medium is missing, full or read-only.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        end = os.fstat(descriptor).st_size
        # After a torn write an empty line comes first, so that the next note can be read.
        torn = end > 0 and os.pread(descriptor, 2, max(0, end - 2)) != b"\n\n"
        data = (("\n\n" if torn else "") + note + "\n").encode()
        while data:
            data = data[os.write(descriptor, data) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(path: Path) -> Iterator[Signed]:
    """The checkpoints of a file, in its order: one signed note or many, with empty lines between. What is no
    checkpoint, such as the half of one before the medium was full, is passed over.

    Raises:
        OSError: It cannot be read.
    """
    with path.open(encoding="utf-8", errors="replace") as file:
        text, block = "", ""
        for line in chain(file, "\n"):
            if line != "\n":
                block += line
                continue
            if block.startswith("— ") and text:
                yield from _checkpoint(f"{text}\n{block}")
                text = ""
            elif block:
                text = block
            block = ""


def _checkpoint(note: str) -> Iterator[Signed]:
    try:
        yield checkpoint.parse(note)
    except BadNote:
        return


def outside(path: Path, pinned: Collection[Verifier], origin: str) -> list[Outside]:
    """The checkpoints of a witness file, each once, in the order of their sizes.

    Args:
        path: The file.
        pinned: The keys that may have signed.
        origin: The log they must be of.

    Raises:
        Misconfigured: The file cannot be read, holds no checkpoint, or one of another log.
    """
    found: set[Outside] = set()
    try:
        for signed in read(path):
            if signed.checkpoint.origin != origin:
                raise Misconfigured(f"{path} holds a checkpoint of another log, {signed.checkpoint.origin}.")
            found.add(Outside(signed.checkpoint.size, signed.checkpoint.root64, _known(signed, pinned)))
    except OSError as exc:
        raise Misconfigured(f"{path} cannot be read ({exc.strerror}).") from exc
    if not found:
        raise Misconfigured(f"There is no checkpoint in {path}.")
    return sorted(found)


def one(path: Path) -> Signed:
    """The newest checkpoint of a file.

    Raises:
        Misconfigured: The file cannot be read, or holds none.
    """
    try:
        found = list(read(path))
    except OSError as exc:
        raise Misconfigured(f"{path} cannot be read ({exc.strerror}).") from exc
    if not found:
        raise Misconfigured(f"There is no checkpoint in {path}.")
    return max(found, key=lambda signed: signed.checkpoint.size)


def _known(signed: Signed, pinned: Collection[Verifier]) -> bool:
    try:
        signed.signer(pinned)
    except BadNote:
        return False
    return True
