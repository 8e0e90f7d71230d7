"""The key that checkpoints are signed with, and the public ones by which old and new checkpoints are checked.

`checkpoints.jwk` is the private key (0600): the sequencer's alone. `checkpoints.pub` (0644) has a line for every key
there ever was, the newest last, each under the moment it came.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clinic_mcp.audit.note import BadNote, Verifier
from clinic_mcp.core import files
from clinic_mcp.core.clinic import now
from clinic_mcp.core.errors import Misconfigured

PRIVATE = "checkpoints.jwk"
PUBLIC = "checkpoints.pub"
_SINCE = "# since "


@dataclass(frozen=True)
class Rotation:
    """What a rotation does: the key that signs from now on, the one it replaces, each as its line; and when."""

    new: str
    old: str
    since: str


def ensure(folder: Path, name: str) -> bool:
    """Create the key unless it is there, and pin its public half.

    Args:
        folder: The clinic's `keys` folder.
        name: The name it signs under, the log's origin.

    Returns:
        Whether a key was created.

    Raises:
        Misconfigured: The folder cannot be written.
    """
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with files.alone(folder):
            created = not (folder / PRIVATE).exists()
            if created:
                files.replace(folder / PRIVATE, _jwk(Ed25519PrivateKey.generate()), 0o600)
            _pin(folder, Verifier(name, read(folder).public_key().public_bytes_raw()), now())
    return created


def read(folder: Path) -> Ed25519PrivateKey:
    """The private key.

    Raises:
        Misconfigured: There is none, or it cannot be read.
    """
    try:
        key = json.loads((folder / PRIVATE).read_text("utf-8"))
        return Ed25519PrivateKey.from_private_bytes(base64.urlsafe_b64decode(key["d"] + "=="))
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise Misconfigured(
            "The key for checkpoints cannot be read.",
            "Run `clinic-mcp init`, or this, as the user who runs the consultations service.",
        ) from exc


def pinned(file: Path) -> dict[Verifier, str]:
    """The public keys of a file, oldest first, and since when each counts; empty for a line without a moment.

    Raises:
        Misconfigured: It cannot be read, or there is no key in it.
    """
    found: dict[Verifier, str] = {}
    since = ""
    try:
        for line in file.read_text("utf-8").splitlines():
            if line.startswith("#"):
                since = line.removeprefix(_SINCE) if line.startswith(_SINCE) else since
            elif line.strip():
                found[Verifier.parse(line)] = since
                since = ""
    except (OSError, ValueError, BadNote) as exc:
        raise Misconfigured(
            f"The public keys for checkpoints in {file} cannot be read.",
            "Run `clinic-mcp init`, or name a file with the key: `--vkey FILE`.",
        ) from exc
    if not found:
        raise Misconfigured(f"There is no public key for checkpoints in {file}.", "Name another: `--vkey FILE`.")
    return found


def rotate(folder: Path, name: str, record: Callable[[Rotation], None]) -> Rotation:
    """Sign with a new key from now on.

    The order makes every moment a good one to be killed in: the new public key is pinned before anything is signed
    with it, the event is on the record before the private key is replaced.

    Args:
        folder: The clinic's `keys` folder.
        name: The name it signs under.
        record: Puts the rotation on the audit log.

    Raises:
        Misconfigured: The keys cannot be read or written.
        AuditUnavailable: It cannot be recorded; the old key goes on signing.
    """
    with _writing(folder), files.alone(folder):
        old, fresh, moment = read(folder), Ed25519PrivateKey.generate(), now()
        verifier = Verifier(name, fresh.public_key().public_bytes_raw())
        _pin(folder, verifier, moment)
        rotation = Rotation(str(verifier), str(Verifier(name, old.public_key().public_bytes_raw())), moment)
        record(rotation)
        files.replace(folder / PRIVATE, _jwk(fresh), 0o600)
    return rotation


def _pin(folder: Path, verifier: Verifier, moment: str) -> None:
    file = folder / PUBLIC
    text = file.read_text("utf-8") if file.exists() else ""
    if str(verifier) not in text.splitlines():
        files.replace(file, f"{text}{_SINCE}{moment}\n{verifier}\n", 0o644)


def _jwk(key: Ed25519PrivateKey) -> str:
    """An Ed25519 private key as a JWK (RFC 8037, section 2)."""
    x, d = (_b64(raw) for raw in (key.public_key().public_bytes_raw(), key.private_bytes_raw()))
    return json.dumps({"kty": "OKP", "crv": "Ed25519", "x": x, "d": d}, indent=2)


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise Misconfigured(
            f"The keys in {folder} cannot be written ({exc.strerror}).",
            "Run this as the user who runs the consultations service.",
        ) from exc
