"""SQLite's disk, failing when it is told to: see `fault.c`, which gcc makes into a library for LD_PRELOAD."""

from __future__ import annotations

import mmap
import shutil
import struct
import subprocess
from enum import IntEnum
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

SOURCE = Path(__file__).with_name("fault.c")
_SHAPE = struct.Struct("=qqq")


class Kind(IntEnum):
    """What happens at the operation."""

    DIE_BEFORE = 1
    DIE_WITHIN = 2
    INPUT_OUTPUT_ERROR = 3
    DISK_FULL = 4


@cache
def library() -> Path:
    """The shim, built once a session."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    assert compiler, "these tests need a C compiler: install the package `gcc`"
    made = Path(mkdtemp(prefix="clinic-fault-")) / "fault.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-o", str(made), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True, timeout=60)
    return made


class FaultyDisk:
    """The files of one clinic's database as a server's process has them.

    Args:
        folder: Where the shared numbers are kept.
        match: A part of the database's file names.
    """

    def __init__(self, folder: Path, match: str) -> None:
        path = folder / "fault"
        path.write_bytes(bytes(_SHAPE.size))
        with path.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), _SHAPE.size)
        self.environment = {"LD_PRELOAD": str(library()), "FAULT_FILE": str(path), "FAULT_MATCH": match}

    @property
    def count(self) -> int:
        """Operations so far."""
        return int(_SHAPE.unpack_from(self._shared)[0])

    def fail(self, kind: Kind, *, after: int) -> None:
        """Let the operation after so many more fail; errors go on until it is mended."""
        _SHAPE.pack_into(self._shared, 0, self.count, self.count + after + 1, kind)

    def mend(self) -> None:
        """Work again."""
        _SHAPE.pack_into(self._shared, 0, self.count, 0, 0)
