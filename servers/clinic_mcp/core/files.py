"""Files that are there whole or as they were before: written beside, made durable, then put in place."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def replace(path: Path, text: str, mode: int) -> None:
    """Put a text in a file's place, atomically (rename in one folder, POSIX.1-2017).

    Args:
        path: The file.
        text: What it will hold.
        mode: Its permissions, from the first byte on.

    Raises:
        OSError: It cannot be written; the file is as it was.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One process at a time changes what is in a folder; the lock goes with the process.

    Raises:
        OSError: There is no such folder.
    """
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
