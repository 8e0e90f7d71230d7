"""The grant-signing key and the credentials of clients: Ed25519 keys as JWK (RFC 8037), files with mode 0600."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from clinic_mcp.core import files
from clinic_mcp.core.errors import Misconfigured

SIGNING_KEY = "grants.jwk"
JWKS = "jwks.json"
CLIENT_AUDIENCE = "urn:clinic-mcp:consultations"
"""`aud` of a client's assertion (RFC 7523)."""


def new_key() -> dict[str, str]:
    """A new Ed25519 private key as a JWK; its `kid` is the RFC 7638 thumbprint."""
    private = Ed25519PrivateKey.generate()
    x = _b64(private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
    d = _b64(private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()))
    thumbprint = json.dumps({"crv": "Ed25519", "kty": "OKP", "x": x}, separators=(",", ":"), sort_keys=True)
    kid = _b64(hashlib.sha256(thumbprint.encode()).digest())
    return {"kty": "OKP", "crv": "Ed25519", "x": x, "d": d, "kid": kid, "use": "sig", "alg": "EdDSA"}


def public_part(key: dict[str, str]) -> dict[str, str]:
    """A JWK without its private part."""
    return {name: value for name, value in key.items() if name != "d"}


def ensure_signing_key(folder: Path) -> bool:
    """Create the signing key and its public set unless they exist.

    Returns:
        Whether a key was created.

    Raises:
        Misconfigured: The folder cannot be written.
    """
    path = folder / SIGNING_KEY
    if path.exists():
        key = read_signing_key(folder)
        created = False
    else:
        key = new_key()
        created = write_secret(path, key)
    if not (folder / JWKS).exists():
        write_public(folder / JWKS, {"keys": [public_part(key)]})
    return created


def read_signing_key(folder: Path) -> dict[str, str]:
    """The private key grants are signed with; only the consultations service and the operator's CLI read it.

    Raises:
        Misconfigured: There is none, or it cannot be read.
    """
    try:
        key: dict[str, str] = json.loads((folder / SIGNING_KEY).read_text("utf-8"))
        return key
    except (OSError, ValueError) as exc:
        raise Misconfigured(
            "The grant-signing key cannot be read.", "Run `clinic-mcp init` as the user who runs the servers."
        ) from exc


class SigningKey:
    """The private key grants are signed with, read again when `clinic-mcp keys rotate` has replaced it.

    Args:
        folder: The clinic's `keys` folder.

    Raises:
        Misconfigured: There is none, or it cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._stamp = self._look()
        self._key = read_signing_key(folder)

    def current(self) -> dict[str, str]:
        """The key to sign with now. While the file cannot be read, the last one."""
        with self._lock:
            stamp = self._look()
            if stamp is not None and stamp != self._stamp:
                with suppress(Misconfigured):
                    self._key, self._stamp = read_signing_key(self._folder), stamp
            return self._key

    def _look(self) -> tuple[int, int] | None:
        try:
            stat = (self._folder / SIGNING_KEY).stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_ino


def published_keys(folder: Path) -> dict[str, Any]:
    """The JWK Set that anyone may have: without the keys that have retired.

    Raises:
        Misconfigured: It cannot be read.
    """
    try:
        keys, now = json.loads((folder / JWKS).read_text("utf-8"))["keys"], time.time()
        return {"keys": [key for key in keys if key.get("exp", now + 1) > now]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise Misconfigured("The public keys cannot be read.", "Run `clinic-mcp init` for this data folder.") from exc


def write_secret(path: Path, document: Any) -> bool:
    """Write a file that only its owner may read, unless it exists: whole or not at all.

    Raises:
        Misconfigured: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    except OSError as exc:
        raise Misconfigured(
            f"{path} cannot be written ({exc.strerror}).", "Set CLINIC_HOME to a folder you own."
        ) from exc
    with os.fdopen(descriptor, "w") as file:
        file.write(document if isinstance(document, str) else json.dumps(document, indent=2))
        file.flush()
        os.fsync(file.fileno())
    return True


def write_public(path: Path, document: Any) -> None:
    """Replace a file that anyone may read, atomically."""
    files.replace(path, json.dumps(document, indent=2), 0o644)


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
