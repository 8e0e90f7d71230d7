"""Writes calls to a file: streaming, whole or not at all, with a manifest that says what it holds."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from clinic_mcp.audit.exports import fhir, ocsf, table
from clinic_mcp.audit.exports.whole import whole_file
from clinic_mcp.audit.questions.calls import Call
from clinic_mcp.core.clinic import now

FORMAT = "clinic-mcp-audit-calls@v1"
"""What the manifest says it is of."""


def export(
    calls: Iterable[Call],
    path: Path,
    form: str,
    *,
    clinic: str,
    origin: str,
    period: Mapping[str, str | None],
    checkpoint: str | None,
) -> dict[str, Any]:
    """Write calls to a file, and beside it `<file>.manifest.json`.

    Args:
        calls: The calls, the oldest first.
        path: The file; one that exists is not overwritten.
        form: `csv`; `fhir`, one AuditEvent a line (FHIR's NDJSON); `ocsf`, one event a line.
        clinic: The clinic.
        origin: The log's name.
        period: `since` and `until` as asked for.
        checkpoint: The newest signed checkpoint of the log the calls are from.

    Returns:
        The manifest.

    Raises:
        Misconfigured: The file or its manifest exists, or cannot be written.
    """
    beside = path.with_name(path.name + ".manifest.json")
    counted = _Counted(calls)
    with whole_file(path) as file:
        hashed = _Hashed(file)
        lines = _write(counted, hashed, form, clinic)
        manifest = {
            "format": FORMAT,
            "form": form,
            "origin": origin,
            "written": now(),
            "asked": dict(period),
            "calls": counted.count,
            "range": {"first": _place(counted.first), "last": _place(counted.last)},
            "checkpoint": checkpoint,
            "files": {path.name: {"lines": lines, "sha256": hashed.digest}},
        }
        # The manifest first: a file without one would look whole, a manifest without its file does not.
        with whole_file(beside) as text:
            text.write((json.dumps(manifest, indent=2, ensure_ascii=False) + "\n").encode())
    return manifest


class _Counted:
    """Calls on their way into a file, counted."""

    def __init__(self, calls: Iterable[Call]) -> None:
        self._calls = calls
        self.count = 0
        self.first: Call | None = None
        self.last: Call | None = None

    def __iter__(self) -> Iterator[Call]:
        for call in self._calls:
            self.count += 1
            self.first, self.last = self.first or call, call
            yield call


class _Hashed:
    """Text on its way into a file, hashed."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()

    def write(self, text: str) -> int:
        content = text.encode("utf-8")
        self._hash.update(content)
        return self._file.write(content)

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()


def _place(call: Call | None) -> dict[str, str] | None:
    return None if call is None else {"call_id": call.call_id, "time": call.time}


def _write(calls: Iterable[Call], file: _Hashed, form: str, clinic: str) -> int:
    """Write the lines of a form; returns how many, headings not counted."""
    lines = 0
    if form == "csv":
        writer = csv.writer(file)
        writer.writerow(table.COLUMNS)
        for call in calls:
            writer.writerow(table.row(call))
            lines += 1
        return lines
    for call in calls:
        made = fhir.audit_events(call, clinic=clinic) if form == "fhir" else [ocsf.api_activity(call, clinic=clinic)]
        for event in made:
            file.write(json.dumps(event, ensure_ascii=False) + "\n")
            lines += 1
    return lines
