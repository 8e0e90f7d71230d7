"""The allow-list on SQLite: a callback that SQLite asks about everything a statement would do, before it runs.

Actions and their arguments: SQLite documentation, "Compile-Time Authorization Callbacks" and "Action Codes".
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from clinic_mcp.core.grants import ALL, ALLOWED, Access

Authorizer = Callable[[int, str | None, str | None, str | None, str | None], int]

FUNCTIONS = frozenset("avg bm25 coalesce count length like lower match max min replace substr sum".split())
"""What statements may call: nothing that reads a file, writes one or loads code."""
PRAGMAS = {"synchronous": frozenset({"FULL", "NORMAL"}), "busy_timeout": None, "data_version": frozenset({None})}
"""The pragmas our own code sets after a connection is open, with their values; FTS5 asks for `data_version`."""
SEARCH_INDEX = "articles_fts"
"""The full-text index, with the tables it keeps itself in, belongs to the articles."""
GUARDED, GUARDING = "audit_detail", "audit_detail_no_replace"
"""A table that is written and not read, and its trigger, which looks whether a row is there that would be replaced."""
_OF_A_STATEMENT = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_SAVEPOINT})


def authorizer(part: str) -> Authorizer:
    """The callback for the connections of one part of the suite.

    Args:
        part: Its name in `core.grants`.

    Raises:
        KeyError: There is no such part.
    """
    tables = {name: _Columns.of(access) for name, access in ALLOWED[part].items()}

    def authorize(action: int, one: str | None, two: str | None, database: str | None, within: str | None) -> int:
        if within == GUARDING and action == sqlite3.SQLITE_READ and one == GUARDED:
            return sqlite3.SQLITE_OK
        return sqlite3.SQLITE_OK if _allowed(tables, action, one, two, database) else sqlite3.SQLITE_DENY

    return authorize


@dataclass(frozen=True)
class _Columns:
    select: frozenset[str]
    insert: bool
    update: frozenset[str]
    delete: bool

    @classmethod
    def of(cls, access: Access) -> _Columns:
        return cls(frozenset(access.select), access.insert, frozenset(access.update), access.delete)

    def reads(self, column: str) -> bool:
        # A statement that names no column of a table, such as count(*), reads "".
        return "*" in self.select or column in self.select or (not column and bool(self.select))


_NOTHING = _Columns.of(Access())
_INDEX = _Columns.of(Access(select=ALL))


def _allowed(tables: dict[str, _Columns], action: int, one: str | None, two: str | None, database: str | None) -> bool:
    if action in _OF_A_STATEMENT:
        return True
    name, column = one or "", two or ""
    if action == sqlite3.SQLITE_FUNCTION:
        return column in FUNCTIONS
    if action == sqlite3.SQLITE_PRAGMA:
        values = PRAGMAS.get(name, frozenset())
        return values is None or two in values
    # Temporary and attached databases: nobody here has any. Which one is not said where no column is read.
    if database != "main" and (database, action, column) != (None, sqlite3.SQLITE_READ, ""):
        return False
    table = tables.get(name, _NOTHING)
    if "articles" in tables:
        if name.startswith(SEARCH_INDEX):
            table = _INDEX
        # Opening the index declares its columns, which SQLite asks about as a change of its schema. A statement that
        # would change the schema is refused by SQLite itself (`writable_schema` is off), or by its own action here.
        if name == "sqlite_master":
            return action == sqlite3.SQLITE_UPDATE or (action, column) == (sqlite3.SQLITE_READ, "ROWID")
    return {
        sqlite3.SQLITE_READ: table.reads(column),
        sqlite3.SQLITE_INSERT: table.insert,
        sqlite3.SQLITE_UPDATE: column in table.update,
        sqlite3.SQLITE_DELETE: table.delete,
    }.get(action, False)
