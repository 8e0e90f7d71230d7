"""Tokens that were verified lately, each with the very key that verified it, so that the next call need not."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

import jwt

C = TypeVar("C")

SIZE = 1_024
"""Tokens remembered at most; the oldest is forgotten first."""


@dataclass(frozen=True)
class Entry(Generic[C]):
    """What a token said, and the key it was verified with."""

    claims: C
    kid: str
    key: jwt.PyJWK


class Remembered(Generic[C]):
    """A bounded memory of verified tokens. Only valid tokens come in, so that a stranger cannot push others out.

    Whoever reads it has to ask whether the key is still in force, by identity: a key that left the set, or that was
    replaced under its own name, takes its tokens along.
    """

    def __init__(self) -> None:
        self._entries: OrderedDict[bytes, Entry[C]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, token: str) -> Entry[C] | None:
        """What is remembered of a token."""
        with self._lock:
            return self._entries.get(_fingerprint(token))

    def put(self, token: str, claims: C, kid: str, key: jwt.PyJWK) -> None:
        """Remember a token that was verified."""
        with self._lock:
            self._entries[_fingerprint(token)] = Entry(claims, kid, key)
            if len(self._entries) > SIZE:
                self._entries.popitem(last=False)


def _fingerprint(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
