"""A log to carry elsewhere: JSON lines that `audit verify --export` checks without the database.

Five files, one more where events were purged, and a manifest with the digest of each. Events are in the tree's order;
an event's leaf bytes are the UTF-8 of its `leaf`, and of a purged event there is only its `hash`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from clinic_mcp.audit.exports.whole import whole_folder
from clinic_mcp.audit.findings import Found
from clinic_mcp.audit.retention.statement import PurgedCall
from clinic_mcp.audit.source import DatabaseSource, KeptCheckpoint, KeptPurge, Kind, Stored, TextState
from clinic_mcp.core import files
from clinic_mcp.core.errors import Misconfigured
from clinic_mcp.core.policy import text_digest

FORMAT = "clinic-mcp-audit-export@v1"
MANIFEST = "manifest.json"
EVENTS, CHECKPOINTS, PURGED = "events.jsonl", "checkpoints.jsonl", "purged.jsonl"
TEXTS: dict[Kind, str] = {"policies": "policies.jsonl", "slices": "slices.jsonl"}
Json = dict[str, Any]
Item = TypeVar("Item")


def write(
    source: DatabaseSource, folder: Path, origin: str, keys: str, progress: Callable[[int], None] = lambda _: None
) -> Json:
    """Write the whole log into a folder.

    Args:
        source: The log.
        folder: A folder that is empty or not there yet; its files can be read by their owner only, because events
            name patients.
        origin: The log's name.
        keys: The text of the public keys' file, for whoever has no other; trust one from elsewhere more.
        progress: Called with the number of events written.

    Returns:
        The manifest.

    Raises:
        Misconfigured: The folder is not empty or cannot be written.
        Found: An event is missing from the log: such a log is verified, not exported.
    """
    with whole_folder(folder) as made:
        events = _Events(source, progress)
        written = {EVENTS: _lines(made / EVENTS, events.lines())}
        kept = _Checkpoints(source)
        written[CHECKPOINTS] = _lines(made / CHECKPOINTS, kept.lines())
        if events.purged:
            written[PURGED] = _lines(made / PURGED, _purged(source, events.floor))
        for kind, name in TEXTS.items():
            texts = ({"digest": digest, "text": text} for digest, text in source.texts(kind))
            written[name] = _lines(made / name, texts)
        files.replace(made / "checkpoints.pub", keys, 0o600)
        manifest = {
            "format": FORMAT,
            "origin": origin,
            "count": events.count,
            "purged": events.purged,
            "sequenced": events.sequenced,
            "range": {"first": events.first, "last": events.last},
            "checkpoint": kept.newest,
            "files": written,
        }
        files.replace(made / MANIFEST, json.dumps(manifest, indent=2, ensure_ascii=False), 0o600)
    return manifest


class _Events:
    """The events on their way into a file, counted."""

    def __init__(self, source: DatabaseSource, progress: Callable[[int], None]) -> None:
        self._source = source
        self._progress = progress
        self.count = self.sequenced = self.purged = 0
        self.floor = max((one.upto for one in source.purges()), default=0)
        self.first: Json | None = None
        self.last: Json | None = None

    def lines(self) -> Iterator[Json]:
        for stored in self._source.events(0):
            if stored.leaf is None and stored.index is not None and stored.index < self.floor:
                self.purged += 1
                yield {"index": stored.index, "event_id": stored.event_id, "hash": (stored.hash or b"").hex()}
                continue
            if stored.leaf is None:
                raise Found(f"Event {stored.event_id} is missing from the log.", stored.event_id)
            place = {"event_id": stored.event_id, "recorded": stored.columns.recorded}
            self.first = self.first or place
            self.last, self.count = place, self.count + 1
            self.sequenced += stored.index is not None
            if self.count % 1_000 == 0:
                self._progress(self.count)
            yield {"index": stored.index, "event_id": stored.event_id, "leaf": stored.leaf.decode("utf-8")}


class _Checkpoints:
    """The checkpoints on their way into a file; the newest is remembered."""

    def __init__(self, source: DatabaseSource) -> None:
        self._source = source
        self.newest: str | None = None

    def lines(self) -> Iterator[Json]:
        for kept in self._source.checkpoints(0):
            self.newest = kept.note
            yield {"size": kept.size, "root": kept.root, "note": kept.note, "recorded": kept.recorded}


def _purged(source: DatabaseSource, floor: int) -> Iterator[Json]:
    """What verification needs to accept that events are missing."""
    for one in source.purges():
        yield {"upto": one.upto, "call_id": one.call_id, "cutoff": one.cutoff}
    for call in source.purged_calls(floor):
        yield {"index": call.index, "call_id": call.call_id, "table": call.table, "row": call.row}


def _lines(path: Path, documents: Iterable[Json]) -> Json:
    """Write JSON lines; how many, and the file's SHA-256."""
    digest, count = hashlib.sha256(), 0
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        for document in documents:
            line = json.dumps(document, ensure_ascii=False).encode() + b"\n"
            digest.update(line)
            file.write(line)
            count += 1
        file.flush()
        os.fsync(file.fileno())
    return {"lines": count, "sha256": digest.hexdigest()}


class ExportSource:
    """A log that was exported.

    Args:
        folder: Where it is.

    Raises:
        Misconfigured: There is no export.
        Found: A file is not the one the manifest has the digest of.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            self.manifest: Json = json.loads((folder / MANIFEST).read_text("utf-8"))
            listed = self.manifest["files"]
            if self.manifest["format"] != FORMAT:
                raise ValueError
            if {EVENTS, CHECKPOINTS, *TEXTS.values()} != listed.keys() - {PURGED}:
                raise ValueError
            self._has_purges = PURGED in listed
            for name, about in listed.items():
                with (folder / name).open("rb") as file:
                    if hashlib.file_digest(file, "sha256").hexdigest() != about["sha256"]:
                        raise Found(f"{name} was altered: it is not the file the manifest names.")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
            raise Misconfigured(f"There is no export in {folder}, or a part of it is missing.") from exc
        # Whether each text is the one of its digest; in an export of a large clinic the texts would fill the memory.
        self._texts = {
            kind: {digest: text_digest(text) == digest for digest, text in self.texts(kind)} for kind in TEXTS
        }

    def events(self, start: int) -> Iterator[Stored]:
        """See `Source`."""
        for stored in self._read(EVENTS, _event):
            if stored.index is None or stored.index >= start:
                yield stored

    def checkpoints(self, start: int) -> Iterator[KeptCheckpoint]:
        """See `Source`."""
        for kept in self._read(CHECKPOINTS, _checkpoint):
            if kept.size >= start:
                yield kept

    def text(self, kind: Kind, digest: str) -> TextState:
        """See `Source`."""
        intact = self._texts[kind].get(digest)
        return "missing" if intact is None else "intact" if intact else "altered"

    def texts(self, kind: Kind) -> Iterator[tuple[str, str]]:
        """See `Source`."""
        yield from self._read(TEXTS[kind], _text)

    # What follows is asked for a few times in a log, so the files are read for it again instead of being remembered.

    def purges(self) -> Iterator[KeptPurge]:
        """See `Source`."""
        for line in self._kept():
            if "upto" in line:
                yield KeptPurge(int(line["upto"]), str(line["call_id"]), str(line["cutoff"]))

    def event_of(self, call_id: str) -> Stored | None:
        """See `Source`."""
        for stored in self._read(EVENTS, _event):
            if stored.leaf is not None and call_id.encode() in stored.leaf:
                record = json.loads(stored.leaf)
                if (record.get("call_id"), record.get("phase")) == (call_id, "admin"):
                    return stored
        return None

    def purged_calls(self, upto: int) -> Iterator[PurgedCall]:
        """See `Source`."""
        for line in self._kept():
            if "upto" not in line and line["index"] < upto:
                yield PurgedCall(int(line["index"]), str(line["call_id"]), line["table"], line["row"])

    def purged_call(self, call_id: str, table: str | None) -> PurgedCall | None:
        """See `Source`."""
        calls = self.purged_calls(self.manifest["sequenced"] + self.manifest["purged"])
        return next((one for one in calls if (one.call_id, one.table) == (call_id, table)), None)

    def purged_leaf(self, hash_: bytes, upto: int) -> bool:
        """See `Source`."""
        return any(
            stored.hash == hash_
            for stored in self._read(EVENTS, _event)
            if stored.index is not None and stored.index < upto
        )

    def _kept(self) -> Iterator[Json]:
        if self._has_purges:
            yield from self._read(PURGED, _kept_line)

    def _read(self, name: str, make: Callable[[Json], Item]) -> Iterator[Item]:
        with (self._folder / name).open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    item = make(json.loads(line))
                except (ValueError, KeyError, TypeError, AttributeError) as exc:
                    raise Found(f"Line {number} of {name} was altered: it cannot be read.") from exc
                yield item


def _event(line: Json) -> Stored:
    index = line["index"]
    if index is not None and type(index) is not int:
        raise ValueError("a place is a number")
    if "leaf" not in line:
        return Stored(str(line["event_id"]), None, index, bytes.fromhex(line["hash"]))
    return Stored(str(line["event_id"]), line["leaf"].encode("utf-8"), index)


def _kept_line(line: Json) -> Json:
    if "upto" not in line and type(line["index"]) is not int:
        raise ValueError("a place is a number")
    return line


def _checkpoint(line: Json) -> KeptCheckpoint:
    return KeptCheckpoint(int(line["size"]), str(line["root"]), str(line["note"]), str(line["recorded"]))


def _text(line: Json) -> tuple[str, str]:
    return str(line["digest"]), str(line["text"])
