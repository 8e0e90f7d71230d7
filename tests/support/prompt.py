"""A SQL prompt on a clinic's database as tests write for it: in `sqlite3`'s words, whichever database it is."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import pq
from psycopg.rows import BaseRowFactory


class Row(tuple[Any, ...]):
    """A row by number and by name, as `sqlite3.Row` is."""

    names: tuple[str, ...]

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(self.names.index(key) if isinstance(key, str) else key)

    def keys(self) -> list[str]:
        return list(self.names)


def _rows(cursor: psycopg.Cursor[Any]) -> Any:
    names = tuple(column.name for column in cursor.description or ())

    def row(values: Sequence[Any]) -> Row:
        made = Row(values)
        made.names = names
        return made

    return row


class PostgresPrompt:
    """What of `sqlite3.Connection` the tests use, on PostgreSQL: `?` for values, its errors for errors."""

    def __init__(self, url: str) -> None:
        factory: BaseRowFactory[Any] = _rows
        self._connection = psycopg.connect(url, autocommit=True, row_factory=factory)

    def execute(self, statement: str, values: Sequence[Any] | dict[str, Any] = ()) -> psycopg.Cursor[Any]:
        try:
            return self._connection.execute(_translated(statement, marks=bool(values)), values or None)  # type: ignore[call-overload]
        except psycopg.IntegrityError as exc:
            raise sqlite3.IntegrityError(str(exc)) from exc
        except psycopg.Error as exc:
            raise sqlite3.DatabaseError(str(exc)) from exc

    def executemany(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        with self._connection.cursor() as cursor:
            cursor.executemany(_translated(statement, marks=True), rows)

    @property
    def in_transaction(self) -> bool:
        return self._connection.info.transaction_status != pq.TransactionStatus.IDLE

    def close(self) -> None:
        self._connection.close()


_WORDS = {
    # SQLite numbers its rows; here a row has a place.
    r"\browid = 1\b": "ctid = '(0,1)'",
    r"\browid\b": "ctid",
    # One trigger a table here, where SQLite has one a verb.
    r"DROP TRIGGER (?:IF EXISTS )?(audit_[a-z_]+?)_no_(?:update|delete|replace)\b": (
        r"DROP TRIGGER IF EXISTS \1_append_only ON \1"
    ),
}


def _translated(statement: str, *, marks: bool) -> str:
    """SQLite's words in PostgreSQL's; `?` and `:name` as psycopg has them, where values are given."""
    for wanted, instead in _WORDS.items():
        statement = re.sub(wanted, instead, statement)
    if not marks:
        return statement
    return re.sub(r"(?<![:\w]):([a-z_][a-z0-9_]*)", r"%(\1)s", statement.replace("%", "%%")).replace("?", "%s")


@contextmanager
def prompt(url: str, file: Path) -> Iterator[Any]:
    """A connection in autocommit: what an attacker or an accident has.

    Args:
        url: The database's URL.
        file: Where it is, if it is a file.
    """
    if url.startswith("postgresql:"):
        with closing(PostgresPrompt(url)) as connection:
            yield connection
        return
    with closing(sqlite3.connect(file, isolation_level=None, timeout=10)) as plain:
        plain.row_factory = sqlite3.Row
        yield plain
