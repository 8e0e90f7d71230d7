"""The grant-signing key and the credentials of clients: Ed25519 keys as JWK (RFC 8037), files with mode 0600."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

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
        json.dump(document, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    return True


def write_public(path: Path, document: Any) -> None:
    """Replace a file that anyone may read, atomically."""
    partial = path.with_suffix(".new")
    partial.write_text(json.dumps(document, indent=2), "utf-8")
    os.replace(partial, path)


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
