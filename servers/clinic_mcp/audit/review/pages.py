"""The pages' templates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jinja2


def environment() -> jinja2.Environment:
    """The templates, which escape whatever they are given and fail on what they are not."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["when"] = _when
    made.filters["pretty"] = _pretty
    made.filters["caller_id"] = lambda name: str(name).rpartition(":")[2]
    return made


def _when(timestamp: str | None) -> str:
    """A time as people read it; all times are UTC."""
    return "" if timestamp is None else timestamp[:19].replace("T", " ")


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
