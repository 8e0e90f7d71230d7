"""What somebody with the database file and a SQL prompt can do to the log."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import Any

from clinic_mcp.audit.event import canonical, project

Event = dict[str, Any]


def drop_triggers(connection: Any) -> None:
    if not isinstance(connection, sqlite3.Connection):
        found = (
            "SELECT tgname, tgrelid::regclass::text FROM pg_trigger WHERE tgname LIKE 'audit_%' AND NOT tgisinternal"
        )
        for name, table in connection.execute(found).fetchall():
            connection.execute(f"DROP TRIGGER {name} ON {table}")
        return
    for row in connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'audit_%'"
    ).fetchall():
        connection.execute(f"DROP TRIGGER {row[0]}")


def events(connection: Any) -> list[tuple[int, Event]]:
    rows = connection.execute("SELECT id, leaf FROM audit_events ORDER BY id").fetchall()
    return [(row[0], json.loads(row[1])) for row in rows]


def rewrite(connection: Any, row_id: int, change: Callable[[Event], Event]) -> None:
    """Change an event well: its bytes stay canonical and its columns follow."""
    (leaf,) = connection.execute("SELECT leaf FROM audit_events WHERE id = ?", (row_id,)).fetchone()
    record = change(json.loads(leaf))
    columns = project(record, canonical(record))
    names = ", ".join(f"{name} = ?" for name in columns)
    connection.execute(f"UPDATE audit_events SET {names} WHERE id = ?", (*columns.values(), row_id))  # noqa: S608


def paths(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The way to every leaf of a JSON value."""
    if isinstance(value, dict):
        return [found for key, item in value.items() for found in paths(item, (*path, key))]
    if isinstance(value, list) and value:
        return [found for number, item in enumerate(value) for found in paths(item, (*path, number))]
    return [path]


def altered(record: Event, path: tuple[str | int, ...]) -> Event:
    """A copy with one field changed to something else of its kind."""
    copy: Event = json.loads(json.dumps(record))
    at: Any = copy
    for step in path[:-1]:
        at = at[step]
    value = at[path[-1]]
    if isinstance(value, bool):
        at[path[-1]] = not value
    elif isinstance(value, int):
        at[path[-1]] = value + 1
    elif isinstance(value, str):
        at[path[-1]] = value[:-1] + ("0" if value[-1:] != "0" else "1")
    else:
        at[path[-1]] = "changed"
    return copy
