"""Where paused consultations are kept: one SQLite file, so that a doctor's answer may come after a restart."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver

from clinic_agent.errors import SettingsProblem


@contextlib.contextmanager
def open_checkpoints(path: Path) -> Iterator[SqliteSaver]:
    """Open the file, made with mode 0600 when it is not there: it holds what patients said.

    Raises:
        SettingsProblem: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        connection = sqlite3.connect(path, check_same_thread=False, timeout=10)
    except (OSError, sqlite3.Error):
        raise SettingsProblem(f"Checkpoints cannot be written at {path}: set CLINIC_CHECKPOINTS elsewhere.") from None
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        # None allows only LangGraph's own safe types: what is stored can never name code to run.
        yield SqliteSaver(connection, serde=JsonPlusSerializer(allowed_msgpack_modules=None))
    except sqlite3.DatabaseError as error:
        raise SettingsProblem(f"The checkpoints at {path} cannot be used ({error}).") from None
    finally:
        connection.close()
