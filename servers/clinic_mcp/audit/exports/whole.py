"""Files and folders that are new, and there whole at the end or not at all; nobody but their owner may read them."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO

from clinic_mcp.core.errors import Misconfigured


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A new file to write into.

    Args:
        path: Where it will be; nothing is there before it is whole.

    Raises:
        Misconfigured: There is a file already, or it cannot be written.
    """
    partial = _beside(path)
    with _said(path):
        _absent(path)
        try:
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            # Somebody else's file that came meanwhile is not replaced: ours stands there empty first.
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            os.replace(partial, path)
            _sync(path.parent)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A new folder to write into.

    Args:
        path: Where it will be; an empty folder may be there already.

    Raises:
        Misconfigured: There is something in it already, or it cannot be written.
    """
    partial = _beside(path)
    with _said(path):
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise Misconfigured(f"{path} is not empty.", "Name a new folder: an export is never overwritten.")
        try:
            partial.mkdir(mode=0o700, parents=True)
            yield partial
            _sync(partial)
            os.replace(partial, path)
            _sync(path.parent)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


@contextmanager
def told_to_stop() -> Iterator[Callable[[], None]]:
    """What leaves, where it is called, once the process was told to stop; so nothing half is left behind.

    A signal's handler cannot leave itself: in the middle of a read of the database that would be a failure of the
    database. Told twice, it does.
    """
    told: list[int] = []

    def remember(number: int, _frame: FrameType | None) -> None:
        if told:
            raise KeyboardInterrupt
        told.append(number)

    def leave() -> None:
        if told:
            raise SystemExit(128 + told[0])

    before = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield leave
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _said(path: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError as exc:
        raise Misconfigured(f"{path} exists already.", "Choose another name: an export is never overwritten.") from exc
    except OSError as exc:
        raise Misconfigured(f"{path} cannot be written ({exc.strerror}).", "Nothing of it was left behind.") from exc


def _absent(path: Path) -> None:
    if path.exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")


def _sync(folder: Path) -> None:
    """Make names durable, where the filesystem knows that for folders."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as exc:
        if exc.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
