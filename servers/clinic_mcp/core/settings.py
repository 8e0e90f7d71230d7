"""Every setting the servers have, read from the environment in this file only."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import platformdirs
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

SERVERS = ("patient-records", "knowledge-base", "pharmacy", "prescriptions")
"""The MCP servers, in the order of their default ports."""

CONSULTATIONS = "consultations"
"""The audience of tokens meant for the consultations service."""

SUITE = "clinic-mcp"
"""The audience of a grant that `clinic-mcp grant` makes without naming a server: good for the four servers."""

DEFAULT_PORTS = {CONSULTATIONS: 8100, **{name: 8101 + i for i, name in enumerate(SERVERS)}}


def _home() -> Path:
    return Path(platformdirs.user_data_dir("clinic-mcp", appauthor=False))


class Settings(BaseSettings):
    """What an operator may set. Each field is the environment variable `CLINIC_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix="CLINIC_", extra="ignore", frozen=True)

    home: Path = Field(default_factory=_home)
    """Data folder: database, keys (0600), credentials."""
    database_url: str = ""
    """SQLAlchemy URL; empty means the SQLite file `clinic.db` in `home`."""
    policies: Path | None = None
    """Folder of `.cedarschema` and `.cedar` files; none means the shipped ones."""
    id: str = Field(default="main", pattern=r"^[A-Za-z0-9_-]{1,32}$")
    """The clinic these processes serve (`clinic_id` of every row)."""
    issuer: str = "urn:clinic-mcp:issuer"
    """`iss` of the tokens this clinic mints and accepts."""
    token: SecretStr | None = None
    """stdio only: the caller's token, where the call's `_meta` brings none."""
    token_file: Path | None = None
    """stdio only: a file with the token, read again when it changes."""
    allowed_hosts: list[str] = []
    """Host headers accepted beside loopback; needed to bind any other address."""
    consultations_url: str = "http://127.0.0.1:8100"
    """Where agents find the consultations service."""
    log_level: str = "INFO"
    tool_timeout: float = Field(default=30.0, gt=0, le=300)
    """Seconds a tool may take, its recording included."""
    concurrency: int = Field(default=64, ge=1, le=4096)
    """Requests in flight before HTTP answers 503."""

    @cached_property
    def url(self) -> str:
        """The database URL in force."""
        return self.database_url or f"sqlite:///{self.home / 'clinic.db'}"

    @property
    def keys(self) -> Path:
        return self.home / "keys"

    @property
    def credentials(self) -> Path:
        return self.home / "credentials"
