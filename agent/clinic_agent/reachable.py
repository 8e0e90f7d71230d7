"""Whether anything answers at all, asked before a consultation is opened or a sign-off is spent."""

import shutil
import socket
from contextlib import closing
from urllib.parse import urlsplit

from clinic_agent.errors import SettingsProblem, Unavailable
from clinic_agent.settings import SERVERS, Settings

_CONNECT_LIMIT = 3.0


def check_servers(settings: Settings) -> None:
    """Find out whether the MCP servers can be reached; one that can is enough, the tools say which cannot.

    Raises:
        Unavailable: nothing listens at any of the servers' addresses.
        SettingsProblem: on stdio, there is no clinic-mcp program to run.
    """
    if settings.servers == "stdio":
        command, _ = settings.server_command(SERVERS[0])
        if shutil.which(command) is None:
            raise SettingsProblem(f"There is no program at {command}: set CLINIC_MCP_COMMAND to that of clinic-mcp.")
        return
    urls = [settings.url_of(server) for server in SERVERS]
    if not any(_listens(url) for url in urls):
        raise Unavailable(
            f"No MCP server can be reached ({urls[0]} and the others); start them with `clinic-mcp up`"
            " or set CLINIC_SERVER_URLS."
        )


def _listens(url: str) -> bool:
    parts = urlsplit(url)
    try:
        address = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
        with closing(socket.create_connection(address, timeout=_CONNECT_LIMIT)):
            return True
    except (OSError, ValueError):
        return False
