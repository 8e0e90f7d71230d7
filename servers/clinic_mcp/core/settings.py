"""Every setting the servers have, read from the environment in this file only."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from clinic_mcp.core.urls import secure

SERVERS = ("patient-records", "knowledge-base", "pharmacy", "prescriptions", "desk")
"""The MCP servers, in the order of their default ports."""

CONSULTATIONS = "consultations"
"""The audience of tokens meant for the consultations service."""

REVIEW = "review"
"""The audience of tokens meant for the auditor's review page."""

SUITE = "clinic-mcp"
"""The audience of a grant that `clinic-mcp grant` makes without naming a server: good for the four servers."""

DEFAULT_PORTS = {CONSULTATIONS: 8100, **{name: 8101 + i for i, name in enumerate(SERVERS)}, REVIEW: 8110}


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
    providers: Path | None = None
    """TOML file of the OpenID providers whose access tokens are accepted too; none means none."""
    public_urls: Annotated[dict[str, str], NoDecode] = {}
    """The URL clients know each server by, where it is not its address on this machine: the `aud` of providers'
    tokens."""
    token: SecretStr | None = None
    """stdio only: the caller's token, where the call's `_meta` brings none."""
    token_file: Path | None = None
    """stdio only: a file with the token, read again when it changes."""
    allowed_hosts: Annotated[list[str], NoDecode] = []
    """Host headers accepted beside loopback; needed to bind any other address."""
    consultations_url: str = "http://127.0.0.1:8100"
    """Where agents find the consultations service."""
    log_level: str = "INFO"
    tool_timeout: float = Field(default=30.0, gt=0, le=300)
    """Seconds a tool may take, its recording included."""
    concurrency: int = Field(default=64, ge=1, le=4096)
    """Requests in flight before HTTP answers 503."""
    audit_timeout: float = Field(default=10.0, gt=0, le=300)
    """Seconds the audit log may take for an event before calls are refused."""
    disk_path: Path | None = None
    """A folder of the file system the log is on; none means the one of the SQLite file, and unwatched on PostgreSQL."""
    disk_warn_mb: int = Field(default=1024, ge=0)
    """Free megabytes below which servers warn."""
    disk_bulk_mb: int = Field(default=256, ge=0)
    """Free megabytes below which tools that answer about many patients are refused."""
    disk_stop_mb: int = Field(default=64, ge=0)
    """Free megabytes below which every call is refused, so that the log is never cut for want of room."""
    otlp_endpoint: str = ""
    """Base URL of an OpenTelemetry collector (OTLP over HTTP); empty means that nothing is sent anywhere."""
    witness: Path | None = None
    """A file, best on another medium, to which every checkpoint of the audit log is appended."""

    audit_detail: Literal["off", "arguments", "all"] = "off"
    """What of allowed calls is kept beside the audit log, to be erased again: nothing, arguments, or results too."""
    audit_detail_days: int = Field(default=90, ge=1, le=3650)
    """Days after which `clinic-mcp audit purge` removes that detail."""
    audit_retention_years: int = Field(default=6, ge=1, le=100)
    """Years for which the audit log's events are kept at least; `clinic-mcp audit purge` removes older ones."""
    controller: str = ""
    """Whose processing this is (GDPR, Article 30(1)(a)): the clinic's name, for the report `audit ropa`."""
    controller_contact: str = ""
    """How to reach them."""
    data_protection_officer: str = ""
    """Name and contact of the data protection officer."""

    @field_validator("public_urls", "allowed_hosts", mode="before")
    @classmethod
    def _from_json(cls, value: Any) -> Any:
        """Read here and not by the library, whose error for what is not JSON names no setting."""
        return json.loads(value) if isinstance(value, str) else value

    @field_validator("public_urls")
    @classmethod
    def _known_and_secure(cls, urls: dict[str, str]) -> dict[str, str]:
        if urls.keys() - DEFAULT_PORTS.keys():
            raise ValueError(f"the servers are {', '.join(DEFAULT_PORTS)}")
        return {server: secure(url) for server, url in urls.items()}

    @field_validator("disk_bulk_mb", "disk_stop_mb")
    @classmethod
    def _in_order(cls, value: int, info: ValidationInfo) -> int:
        before = info.data.get("disk_warn_mb" if info.field_name == "disk_bulk_mb" else "disk_bulk_mb", value)
        if value > before:
            raise ValueError("the three steps come in order: warn, bulk, stop")
        return value

    @cached_property
    def url(self) -> str:
        """The database URL in force."""
        return self.database_url or f"sqlite:///{self.home / 'clinic.db'}"

    @property
    def details(self) -> tuple[str, ...]:
        """The parts of allowed calls that are kept beside the audit log."""
        return {"off": (), "arguments": ("arguments",), "all": ("arguments", "result")}[self.audit_detail]

    @property
    def keys(self) -> Path:
        return self.home / "keys"

    @property
    def credentials(self) -> Path:
        return self.home / "credentials"
