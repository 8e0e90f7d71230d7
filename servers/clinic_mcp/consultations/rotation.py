"""A new signing key, while tokens of the old one live out their time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clinic_mcp.consultations.keys import JWKS, SIGNING_KEY, new_key, public_part, read_signing_key, write_public
from clinic_mcp.core import files
from clinic_mcp.core.errors import Misconfigured
from clinic_mcp.core.jws import LEEWAY
from clinic_mcp.core.tokens import PERSON_LIFETIME

OVERLAP = PERSON_LIFETIME + LEEWAY
"""Seconds a replaced key still counts: the longest life of a token it may have signed, and the leeway."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Rotation:
    """What a rotation does.

    Args:
        new: `kid` of the key that signs from now on.
        old: `kid` of the key it replaces.
        retires: When the old one stops counting, seconds since the epoch.
    """

    new: str
    old: str
    retires: int


@dataclass(frozen=True)
class ListedKey:
    """A published key: `signing`, `retiring` until its moment, or `retired`."""

    kid: str
    state: str
    retires: int | None


def rotate(folder: Path, record: Callable[[Rotation], None]) -> Rotation:
    """Replace the signing key.

    The order makes every moment a good one to be killed in. First the new public key is published beside the old one,
    so that no token is ever signed with a key nobody knows; then the event is on the record; then the private key is
    replaced; last, the old public key gets the moment it retires. Killed before the last step, the next rotation makes
    up for it: whatever is published without a moment and does not sign gets one then.

    Args:
        folder: The clinic's `keys` folder.
        record: Puts the rotation on the audit log, before it takes effect.

    Raises:
        Misconfigured: The keys cannot be read or written.
        AuditUnavailable: It cannot be recorded; the old key goes on signing.
    """
    with _writing(folder), files.alone(folder):
        old, fresh, now = read_signing_key(folder), new_key(), int(time.time())
        published = [key for key in _published(folder) if key.get("exp", now + 1) > now]
        if old["kid"] not in {key["kid"] for key in published}:
            published.append(public_part(old))
        write_public(folder / JWKS, {"keys": [public_part(fresh), *published]})
        rotation = Rotation(fresh["kid"], old["kid"], now + OVERLAP)
        record(rotation)
        files.replace(folder / SIGNING_KEY, json.dumps(fresh, indent=2), 0o600)
        retiring = [{"exp": rotation.retires, **key} for key in published]
        write_public(folder / JWKS, {"keys": [public_part(fresh), *retiring]})
    return rotation


def listed(folder: Path) -> list[ListedKey]:
    """The published keys, the signing one first.

    Raises:
        Misconfigured: The keys cannot be read.
    """
    with _writing(folder):
        signing, now = read_signing_key(folder)["kid"], time.time()
        keys = []
        for key in _published(folder):
            retires = key.get("exp")
            state = "signing" if key["kid"] == signing else "published"
            if retires is not None:
                state = "retiring" if retires > now else "retired"
            keys.append(ListedKey(key["kid"], state, retires))
    return sorted(keys, key=lambda key: key.state != "signing")


def _published(folder: Path) -> list[Json]:
    keys: list[Json] = json.loads((folder / JWKS).read_text("utf-8"))["keys"]
    return keys


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise Misconfigured(
            f"The keys in {folder} cannot be read or written ({type(exc).__name__}).",
            "Run this as the user who runs the servers.",
        ) from exc
