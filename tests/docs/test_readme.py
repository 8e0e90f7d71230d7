"""What the README and the settings page say is what happens."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import anyio
import pytest
from clinic_mcp.core.settings import Settings
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from support.clinic import COMMAND, Clinic

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")


def block(name: str) -> Any:
    """The JSON block that follows a test marker."""
    found = re.search(rf"<!-- test: {name} -->\n```json\n(.*?)```", README, re.DOTALL)
    assert found, name
    return json.loads(found[1])


@pytest.mark.sqlite("the README's configurations are for the embedded default")
@pytest.mark.parametrize(("name", "key"), [("claude-desktop", "mcpServers"), ("copilot", "servers")])
def test_each_client_configuration_starts_servers_that_answer_as_dr_osei(name: str, key: str, clinic: Clinic) -> None:
    token = clinic.home / "dr-osei.token"
    token.write_text(clinic.run("token", "issue", "--as", "dr-osei").stdout)

    async def ask(entry: dict[str, Any]) -> set[str]:
        assert entry["command"].endswith(".venv/bin/clinic-mcp")
        places = {"/home/me/clinic": str(clinic.home)}
        environment = {
            variable: value.replace("/home/me/clinic", places["/home/me/clinic"])
            for variable, value in entry["env"].items()
        }
        command, *arguments = [*COMMAND, *entry["args"]]
        parameters = StdioServerParameters(command=command, args=arguments, env=os.environ | environment)
        with anyio.fail_after(60):
            async with Client(stdio_client(parameters)) as client:
                if entry["args"][-1] == "patient-records":
                    answer = await client.call_tool("get_patient_record", {"patient_id": "P001"})
                    assert answer.structured_content["name"] == "Alice Thompson"
                return {tool.name for tool in (await client.list_tools()).tools}

    for entry in block(name)[key].values():
        assert anyio.run(ask, entry)


def test_every_command_the_readme_names_exists(clinic: Clinic) -> None:
    table = README.split("## The commands")[1].split("\n\n")[1]
    for command in ("init", "serve", "up", "consultation", "grant", "token", "policy", "audit"):
        assert f"clinic-mcp {command}" in table
        clinic.run(command, "--help")


def test_every_setting_is_on_the_settings_page() -> None:
    page = (ROOT / "docs" / "settings.md").read_text("utf-8")
    for name in Settings.model_fields:
        assert f"`CLINIC_{name.upper()}`" in page, name


def test_the_agents_settings_are_on_the_settings_page() -> None:
    page = (ROOT / "docs" / "settings.md").read_text("utf-8")
    source = (ROOT / "agent" / "clinic_agent" / "settings.py").read_text("utf-8")
    named = set(re.findall(r'description="(CLINIC_[A-Z_]+)', source)) | set(re.findall(r'"(CLINIC_[A-Z_]+)"', source))
    assert named
    assert {name for name in named if f"`{name}`" not in page} <= {"CLINIC_"}


def test_links_between_the_documents_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_no_committed_file_names_a_registry_host() -> None:
    import subprocess

    hosts = "|".join(("py" + "pi", "python" + "hosted", "npm" + "js", "deb." + "debian"))
    listed = subprocess.run(
        ["git", "grep", "-nIE", rf"({hosts})[.](org|com)"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert listed.stdout == ""
