"""The parts of a compact JWS, made by hand: a library would refuse to make the wrong ones."""

from __future__ import annotations

import base64
import json
from typing import Any


def part(value: Any) -> str:
    """A JSON value as base64url."""
    return b64(json.dumps(value).encode("utf-8"))


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
