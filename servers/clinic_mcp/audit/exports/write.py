"""Writes an export: streaming, whole or not at all, with a manifest that says what it holds."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from clinic_mcp.audit.exports import fhir, ocsf, table
from clinic_mcp.audit.questions.calls import Call
from clinic_mcp.core.clinic import now
from clinic_mcp.core.errors import Misconfigured

FORMATS = ("csv", "fhir", "ocsf")


def export(
    calls: Iterable[Call],
    path: Path,
    kind: str,
    *,
    clinic: str,
    period: dict[str, str | None],
    progress: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    """Write calls to a file, and beside it `<file>.manifest.json`.

    Args:
        calls: The calls, the oldest first.
        path: The file; one that exists is not overwritten.
        kind: `csv`; `fhir`, one AuditEvent a line (FHIR's NDJSON); `ocsf`, one event a line.
        clinic: The clinic.
        period: `since` and `until` as asked for, for the manifest.
        progress: Called with the number of calls written so far.

    Returns:
        The manifest.

    Raises:
        Misconfigured: The file exists, or cannot be written.
    """
    partial = path.with_name(path.name + ".part")
    counted = _Counted(calls, progress)
    try:
        if path.exists():
            raise Misconfigured(f"{path} exists already.", "Choose another name: an export is never overwritten.")
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            lines = _write(counted, file, kind, clinic)
            file.flush()
            os.fsync(file.fileno())
        manifest = {
            "file": path.name,
            "format": kind,
            "clinic": clinic,
            "written": now(),
            **period,
            "calls": counted.count,
            "lines": lines,
            "first_call": counted.first,
            "last_call": counted.last,
            "sha256": _sha256(partial),
        }
        os.replace(partial, path)
        path.with_name(path.name + ".manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")
    except OSError as exc:
        with suppress(OSError):
            partial.unlink()
        raise Misconfigured(f"{path} cannot be written ({exc.strerror}).") from exc
    return manifest


class _Counted:
    """Calls on their way into a file, counted."""

    def __init__(self, calls: Iterable[Call], progress: Callable[[int], None]) -> None:
        self._calls = calls
        self._progress = progress
        self.count = 0
        self.first: str | None = None
        self.last: str | None = None

    def __iter__(self) -> Iterator[Call]:
        for call in self._calls:
            self.count += 1
            self.first, self.last = self.first or call.call_id, call.call_id
            if self.count % 500 == 0:
                self._progress(self.count)
            yield call
        self._progress(self.count)


def _write(calls: Iterable[Call], file: TextIO, kind: str, clinic: str) -> int:
    """Write the lines of a format; returns how many, headings not counted."""
    if kind == "csv":
        writer = csv.writer(file)
        writer.writerow(table.COLUMNS)
        lines = 0
        for call in calls:
            writer.writerow(table.row(call))
            lines += 1
        return lines
    lines = 0
    for call in calls:
        made = fhir.audit_events(call, clinic=clinic) if kind == "fhir" else [ocsf.api_activity(call, clinic=clinic)]
        for event in made:
            file.write(json.dumps(event, ensure_ascii=False) + "\n")
            lines += 1
    return lines


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
