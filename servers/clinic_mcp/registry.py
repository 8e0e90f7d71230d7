"""The suite's servers by name. Each is imported only when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from clinic_mcp.core.settings import SERVERS as NAMES
from clinic_mcp.core.tool import ServerTools


def _loader(name: str) -> Callable[[], ServerTools]:
    def load() -> ServerTools:
        server: ServerTools = import_module(f"clinic_mcp.{name.replace('-', '_')}.server").SERVER
        return server

    return load


SERVERS: dict[str, Callable[[], ServerTools]] = {name: _loader(name) for name in NAMES}
