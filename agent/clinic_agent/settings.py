"""What the environment sets; no other file reads it."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from pydantic import AliasChoices, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from clinic_agent.errors import SettingsProblem

SERVERS = ("patient-records", "knowledge-base", "pharmacy", "prescriptions")
DEFAULT_URLS = {name: f"http://127.0.0.1:{8101 + index}/mcp" for index, name in enumerate(SERVERS)}

_PASSED_ON = ("CLINIC_", "XDG_", "PG", "LC_")
_PASSED_ON_EXACTLY = frozenset({"TZ", "TMPDIR", "VIRTUAL_ENV"})
_KEPT_BACK = frozenset({"CLINIC_TOKEN", "CLINIC_AGENT_CREDENTIAL", "CLINIC_CLINICIAN_CREDENTIAL"})


def _default_home() -> Path:
    return Path(platformdirs.user_data_dir("clinic-mcp", appauthor=False))


class Settings(BaseSettings):
    """Every setting of the agent, each from one environment variable."""

    model_config = SettingsConfigDict(env_prefix="CLINIC_", extra="ignore", env_ignore_empty=True)

    home: Path = Field(default_factory=_default_home, description="CLINIC_HOME: the clinic's data folder.")
    servers: Literal["http", "stdio"] = Field("http", description="CLINIC_SERVERS: how the MCP servers are reached.")
    server_urls: Annotated[dict[str, str], NoDecode] = Field(
        default_factory=dict, description="CLINIC_SERVER_URLS: name=url,… or a JSON object; …/sse is SSE."
    )
    mcp_command: str = Field("", description="CLINIC_MCP_COMMAND: the clinic-mcp program for stdio servers.")
    consultations_url: str = Field("", description="CLINIC_CONSULTATIONS_URL: where the consultations service listens.")
    agent_credential: Path | None = Field(None, description="CLINIC_AGENT_CREDENTIAL: the file `init` wrote.")
    clinician_credential: Path | None = Field(None, description="CLINIC_CLINICIAN_CREDENTIAL: who signs off.")
    call_timeout: float = Field(30.0, gt=0, le=600, description="CLINIC_CALL_TIMEOUT: seconds one tool call may take.")
    checkpoints: Path | None = Field(None, description="CLINIC_CHECKPOINTS: SQLite file of paused consultations.")

    model: str = Field("rules", description="CLINIC_MODEL: rules | bedrock:<inference profile> | ollama:<name>.")
    cost_ceiling: float = Field(0.05, ge=0, description="CLINIC_COST_CEILING: US dollars one consultation may cost.")
    bedrock_endpoint: str = Field("", description="CLINIC_BEDROCK_ENDPOINT: another Bedrock endpoint, for tests.")
    aws_region: str = Field(
        "us-east-1", validation_alias=AliasChoices("CLINIC_AWS_REGION", "AWS_REGION", "AWS_DEFAULT_REGION")
    )
    ollama_host: str = Field(
        "http://127.0.0.1:11434", validation_alias=AliasChoices("CLINIC_OLLAMA_HOST", "OLLAMA_HOST")
    )

    @field_validator("server_urls", mode="before")
    @classmethod
    def _parse_urls(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("{"):
            return json.loads(value)
        pairs = [part.split("=", 1) for part in value.split(",") if part.strip()]
        if any(len(pair) != 2 for pair in pairs):
            raise ValueError("expected name=url,name=url or a JSON object")
        return {name.strip(): url.strip() for name, url in pairs}

    @field_validator("server_urls")
    @classmethod
    def _known_servers(cls, value: dict[str, str]) -> dict[str, str]:
        unknown = sorted(set(value) - set(SERVERS))
        if unknown:
            raise ValueError(f"unknown server {unknown[0]!r}; the servers are {', '.join(SERVERS)}")
        return value

    @field_validator("ollama_host")
    @classmethod
    def _with_scheme(cls, value: str) -> str:
        return value if "://" in value else f"http://{value}"

    def url_of(self, server: str) -> str:
        """Return the URL the named MCP server listens on."""
        return self.server_urls.get(server, DEFAULT_URLS[server])

    def agent_credential_path(self) -> Path:
        """Return the file with the agent's own credential."""
        return self.agent_credential or self.home / "credentials" / "clinic-agent.json"

    def clinician_credential_path(self, clinician: str | None) -> Path:
        """Return the file with a clinician's credential.

        Args:
            clinician: id such as `dr-osei`; None takes CLINIC_CLINICIAN_CREDENTIAL, else the demo's only physician
                of the starter patients.

        Raises:
            SettingsProblem: nobody was named and no file says who it is.
        """
        folder = self.home / "credentials"
        if clinician is not None:
            return folder / f"{Path(clinician).name}.json"
        if self.clinician_credential is not None:
            return self.clinician_credential
        demo = folder / "dr-osei.json"
        if demo.is_file():
            return demo
        raise SettingsProblem("Say which clinician answers: --clinician ID, or CLINIC_CLINICIAN_CREDENTIAL=FILE.")

    def checkpoints_path(self) -> Path:
        """Return the SQLite file that keeps paused consultations."""
        return self.checkpoints or self.home / "checkpoints.db"

    def server_command(self, server: str) -> tuple[str, list[str]]:
        """Return the program and arguments that serve one MCP server on stdio.

        Raises:
            SettingsProblem: clinic-mcp is nowhere to be found.
        """
        beside_the_repository = Path(__file__).resolve().parents[2] / ".venv" / "bin" / "clinic-mcp"
        command = self.mcp_command or shutil.which("clinic-mcp") or ""
        if not command and beside_the_repository.is_file():
            command = str(beside_the_repository)
        if not command:
            raise SettingsProblem("clinic-mcp was not found: install it, or set CLINIC_MCP_COMMAND to its path.")
        return command, ["serve", server, "--transport", "stdio"]

    def server_environment(self) -> dict[str, str]:
        """Return the environment a spawned server needs; the agent's and the model's own secrets stay behind."""
        passed = {
            name: value
            for name, value in os.environ.items()
            if (name.startswith(_PASSED_ON) or name in _PASSED_ON_EXACTLY) and name not in _KEPT_BACK
        }
        return {**passed, "CLINIC_HOME": str(self.home)}


def load_settings(**changes: Any) -> Settings:
    """Read the settings from the environment.

    Args:
        changes: values that a command-line option sets instead of the environment.

    Raises:
        SettingsProblem: a variable has a value that cannot be used; the message names it.
    """
    try:
        return Settings(**{name: value for name, value in changes.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "?"
        variable = name if name.isupper() else f"CLINIC_{name.upper()}"
        reason = str(first["msg"]).removeprefix("Value error, ")
        raise SettingsProblem(f"{variable} cannot be used: {reason}.") from None


def is_interactive() -> bool:
    """Say whether a person can be asked at this terminal."""
    return sys.stdin.isatty()
