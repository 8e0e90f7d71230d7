"""One audit event: what it holds, how its bytes are made, and how it becomes a row."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

VERSION = 1
"""Version of the event's shape, in every event as `v`."""

GENESIS = "0" * 64
"""`prev` of the first event of a writer that found no earlier one."""


class Phase(StrEnum):
    """Where in the life of a call, or of the system, an event stands."""

    INTENT = "intent"
    DECISION = "decision"
    OUTCOME = "outcome"
    LIFECYCLE = "lifecycle"
    ADMIN = "admin"
    DISCLOSURE = "disclosure"
    AUDIT_READ = "audit_read"
    REVIEW = "review"
    UNAUTHENTICATED = "unauthenticated"


def uuid7() -> str:
    """A time-ordered UUID (RFC 9562, section 5.7) in its text form."""
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds & (2**48 - 1)) << 80 | int.from_bytes(os.urandom(10), "big")
    return str(uuid.UUID(int=value & ~(0xF << 76 | 0b11 << 62) | 0x7 << 76 | 0b10 << 62))


@dataclass(frozen=True)
class Draft:
    """An event before its writer gives it a place in the chain.

    Args:
        phase: Where in the call it stands.
        code: Short stable code, `what.how`, e.g. `call.allowed`.
        call_id: The call (UUID text); events of one call share it.
        body: The remaining fields as JSON values without floats.
        patients: Patient ids asked for or returned.
        slices: Entity slices by the digest the body names them by, to be kept with the event.
        event_id: The event's own id, known before it is written so that a log line can name it.
        details: What the body's commitments are to, by part, for a log that keeps detail.
    """

    phase: Phase
    code: str
    call_id: str
    body: dict[str, Any]
    patients: tuple[str, ...] = ()
    slices: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, Commitment] = field(default_factory=dict)
    event_id: str = field(default_factory=uuid7)


@dataclass(frozen=True)
class Writer:
    """The process that writes: a server, one start of it, and the chain it continues."""

    server: str
    clinic_id: str
    origin: str
    instance: str = field(default_factory=lambda: f"{platform.node()[:40]}:{os.getpid()}")
    boot_id: str = field(default_factory=uuid7)


@dataclass(frozen=True)
class Event:
    """An event as it is stored: its canonical bytes and the columns that repeat parts of them."""

    leaf: bytes
    row: dict[str, Any]
    patients: tuple[str, ...]

    @property
    def hash(self) -> str:
        return leaf_hash(self.leaf)


def canonical(value: Any) -> bytes:
    """The RFC 8785 bytes of a JSON value without floats.

    For strings, integers, booleans, null, and objects with ASCII keys the standard encoder gives the bytes
    RFC 8785 asks for, six times faster than a general implementation; a property test holds it to `rfc8785`.

    Raises:
        ValueError: The value holds a float, a non-ASCII key, an integer beyond 2^53, or a lone surrogate.
    """
    _check(value)
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8")  # UnicodeEncodeError, a ValueError, on lone surrogates


def _check(value: Any) -> None:
    # By exact type, because this runs over every value of every event; other types fail in the encoder.
    kind = type(value)
    if kind is dict:
        for key, item in value.items():
            if not key.isascii():
                raise ValueError("an event's keys are ASCII")
            _check(item)
    elif kind is list or kind is tuple:
        for item in value:
            _check(item)
    elif kind is float or (kind is int and not -(2**53) < value < 2**53):
        raise ValueError("an event holds no floats and no integers beyond 2^53")


def leaf_hash(leaf: bytes) -> str:
    """The RFC 6962 leaf hash, SHA-256 over a zero byte and the leaf, in hex: the chain and, later, the tree use it."""
    return hashlib.sha256(b"\x00" + leaf).hexdigest()


@dataclass(frozen=True)
class Commitment:
    """A salted SHA-256 of a JSON value, and what opens it: the salt and the value's bytes.

    The log holds `text` alone, which tells nothing about the value: the salt is random, so that two equal values give
    different commitments and none can be guessed. Salt and body go to `audit_detail`, or nowhere.

    Args:
        salt: 16 random bytes.
        body: The value as JSON, keys sorted.
    """

    salt: bytes
    body: bytes

    @classmethod
    def to(cls, value: Any) -> Commitment:
        """A commitment to whatever JSON a caller sent or a tool answered."""
        encoded = json.dumps(value, sort_keys=True, default=str).encode("utf-8", "surrogatepass")
        return cls(os.urandom(16), encoded)

    @property
    def text(self) -> str:
        """What the event says, `sha256s:` and 64 hex digits."""
        return "sha256s:" + hashlib.sha256(self.salt + self.body).hexdigest()


_TRACEPARENT = re.compile(r"^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")
_LABEL = re.compile(r"^[A-Za-z0-9._+ /-]{1,64}$")


_ID = re.compile(r"^[A-Za-z0-9._:+~-]{1,64}$")


def safe_id(value: str | None) -> str | None:
    """What somebody typed, where it looks like an id, a time or a place in the log, else nothing: a name has spaces."""
    return value if value is not None and _ID.fullmatch(value) else None


def safe_label(value: object) -> str | None:
    """A self-declared label (client name, version) when it looks like one, else nothing."""
    return value if isinstance(value, str) and _LABEL.fullmatch(value) else None


def safe_traceparent(value: object) -> str | None:
    """A W3C traceparent when it has that form, else nothing."""
    return value if isinstance(value, str) and _TRACEPARENT.fullmatch(value) else None


def safe_request_id(value: object) -> str | int | None:
    """A JSON-RPC id: integers as they are, text by its digest, because a caller chooses it freely."""
    if type(value) is int and abs(value) <= 2**53 - 1:
        return value
    if value is None:
        return None
    return "sha256:" + hashlib.sha256(str(value).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def compose(draft: Draft, writer: Writer, seq: int, prev: str, recorded: str) -> Event:
    """Give a draft its place in the writer's chain and fix its bytes.

    Args:
        draft: The event.
        writer: Who writes it.
        seq: Its place in the writer's chain, from 0.
        prev: Leaf hash of the event before it.
        recorded: ISO 8601 UTC timestamp.
    """
    record = {
        "v": VERSION,
        "origin": writer.origin,
        "clinic": writer.clinic_id,
        "event_id": draft.event_id,
        "call_id": draft.call_id,
        "phase": str(draft.phase),
        "code": draft.code,
        "recorded": recorded,
        "writer": {
            "server": writer.server,
            "instance": writer.instance,
            "boot_id": writer.boot_id,
            "seq": seq,
            "prev": prev,
        },
        **draft.body,
    }
    patients = tuple(dict.fromkeys(draft.patients))
    if patients:
        record["patients"] = list(patients)
    record = {key: value for key, value in record.items() if value is not None}
    leaf = canonical(record)
    return Event(leaf, project(record, leaf), patients)


def project(record: dict[str, Any], leaf: bytes) -> dict[str, Any]:
    """The columns that a record's bytes say it has; `audit verify` compares them with the stored ones."""
    decision = record.get("decision", {})
    principal = record.get("principal", {})
    patients = record.get("patients", [])
    return {
        "event_id": record["event_id"],
        "clinic_id": record["clinic"],
        "call_id": record["call_id"],
        "phase": record["phase"],
        "code": record["code"],
        "recorded": record["recorded"],
        "server": record["writer"]["server"],
        "boot_id": record["writer"]["boot_id"],
        "writer_seq": record["writer"]["seq"],
        "principal": f"{principal['type']}:{principal['id']}" if principal else None,
        "agent": record.get("agent", {}).get("id"),
        "consultation": record.get("session", {}).get("consultation"),
        "tool": record.get("call", {}).get("tool"),
        "decision": decision.get("effect"),
        "policies": " ".join(decision["policies"]) if "policies" in decision else None,
        "outcome": record.get("outcome", {}).get("status"),
        "patient": patients[0] if len(patients) == 1 else None,
        "leaf": leaf,
    }
