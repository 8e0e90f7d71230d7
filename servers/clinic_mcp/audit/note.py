"""Signed notes (C2SP signed-note v1.0.0): a text, a blank line, and a line for each signature.

Only Ed25519 signatures of type 0x01 are made and checked here; those of other keys, such as a witness's, are passed
over as the specification asks.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

ED25519 = b"\x01"
"""The signature type of plain Ed25519 (C2SP signed-note, "Signature types")."""
SIZE_LIMIT = 100_000
"""Bytes in a note at most; the specification asks for a bound that leaves room for sixteen signatures."""
_DASH = "\u2014 "


class BadNote(ValueError):
    """A text that is no note, or one that no known key signed; the sentence says which."""


@dataclass(frozen=True)
class Verifier:
    """A public key and the name it signs under.

    Args:
        name: The key's name; without spaces and plus signs.
        public: The raw Ed25519 key, 32 bytes (RFC 8032, section 5.1.5).
    """

    name: str
    public: bytes

    @property
    def id(self) -> bytes:
        """The first four bytes of SHA-256(name, newline, 0x01, key) (C2SP signed-note, "Ed25519 signatures")."""
        return hashlib.sha256(self.name.encode() + b"\n" + ED25519 + self.public).digest()[:4]

    def __str__(self) -> str:
        """The line that tools of the note ecosystem take, `name+id+key`: the id in hex, type and key in base64
        (package golang.org/x/mod/sumdb/note, "Verifying Notes")."""
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(ED25519 + self.public).decode()}"

    @classmethod
    def parse(cls, line: str) -> Verifier:
        """Read such a line.

        Raises:
            BadNote: It is none, or of another kind of key.
        """
        name, _, rest = line.strip().partition("+")
        identity, _, key = rest.partition("+")
        raw = _decoded(key)
        verifier = cls(name, raw[1:])
        if not _is_name(name) or raw[:1] != ED25519 or len(raw) != 33 or verifier.id.hex() != identity:
            raise BadNote("That is not the line of an Ed25519 note key.")
        return verifier

    def verify(self, text: str, signature: bytes) -> bool:
        """Whether a signature over a text is this key's (RFC 8032, section 5.1.7)."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text.encode())
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True)
class Note:
    """A note taken apart: its text, and of each signature the key's name, its id and the signature itself."""

    text: str
    signatures: tuple[tuple[str, bytes, bytes], ...]

    def signer(self, known: Iterable[Verifier]) -> Verifier:
        """The first known key that signed this note.

        Raises:
            BadNote: None did, or the signature of one that says it did is wrong.
        """
        keys = {(key.name, key.id): key for key in known}
        for name, identity, signature in self.signatures:
            key = keys.get((name, identity))
            if key is not None:
                if not key.verify(self.text, signature):
                    raise BadNote("a signature on it is wrong")
                return key
        raise BadNote("no key of this clinic signed it")


def sign(text: str, name: str, key: Ed25519PrivateKey) -> str:
    """A note with one signature.

    Args:
        text: The text; ends in a newline.
        name: The key's name.
        key: The key.
    """
    verifier = Verifier(name, key.public_key().public_bytes_raw())
    signature = base64.b64encode(verifier.id + key.sign(text.encode())).decode()
    return f"{text}\n{_DASH}{name} {signature}\n"


def parse(note: str) -> Note:
    """Take a note apart.

    Raises:
        BadNote: It has not the form of one.
    """
    if len(note) > SIZE_LIMIT or any(char < " " and char != "\n" for char in note):
        raise BadNote("That is not a signed note.")
    text, blank, lines = note.rpartition("\n\n")
    if not blank or not lines.endswith("\n"):
        raise BadNote("That is not a signed note.")
    return Note(text + "\n", tuple(_signature(line) for line in lines[:-1].split("\n")))


def _signature(line: str) -> tuple[str, bytes, bytes]:
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    raw = _decoded(encoded)
    if not line.startswith(_DASH) or not _is_name(name) or len(raw) < 5:
        raise BadNote("That is not a signed note.")
    return name, raw[:4], raw[4:]


def _is_name(name: str) -> bool:
    return bool(name) and "+" not in name and not any(char.isspace() for char in name)


def _decoded(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    # One spelling only: base64 with stray bits in its last character decodes to the same bytes.
    if not raw or base64.b64encode(raw).decode() != text:
        raise BadNote("That is not a signed note, nor a key for one.")
    return raw
