"""The clinic's own public keys: a JWK Set in a file, read again when it changes."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import jwt

from clinic_mcp.core.errors import Misconfigured

ALGORITHM = "EdDSA"
"""The one algorithm of the clinic's own tokens (RFC 8037, Ed25519); a token's header never chooses."""


@dataclass(frozen=True)
class _Published:
    key: jwt.PyJWK
    retires: int | None


class OwnKeys:
    """The keys that count now.

    Args:
        path: The JWK Set (RFC 7517, section 5). A key may have an `exp`, seconds since the epoch: the moment from
            which it counts no more, because `clinic-mcp keys rotate` replaced it.

    Raises:
        Misconfigured: There are no keys to check against.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._keys: dict[str, _Published] = {}
        self._lock = threading.Lock()
        self._read()  # a server without keys could let nobody in: it does not start

    def find(self, kid: str) -> jwt.PyJWK | None:
        """The key of that id, unless nobody published it or it has retired.

        Raises:
            Misconfigured: There are no keys to check against.
        """
        with self._lock:
            self._read()
            found = self._keys.get(kid)
        if found is None or (found.retires is not None and found.retires <= time.time()):
            return None
        return found.key

    def _read(self) -> None:
        try:
            stat = self._path.stat()
            stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if stamp == self._stamp:
                return
            document = json.loads(self._path.read_text("utf-8"))
            keys = {key["kid"]: _Published(jwt.PyJWK(key, algorithm=ALGORITHM), _exp(key)) for key in document["keys"]}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, jwt.PyJWTError) as exc:
            if self._keys:
                return  # the last good set stays in force
            raise Misconfigured(
                "There are no keys to check credentials with.", "Run `clinic-mcp init` for this data folder first."
            ) from exc
        self._keys, self._stamp = keys, stamp


def _exp(key: dict[str, object]) -> int | None:
    moment = key.get("exp")
    if moment is not None and type(moment) is not int:
        raise ValueError("a key's exp is a whole number of seconds")
    return moment
