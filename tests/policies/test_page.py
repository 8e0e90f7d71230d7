"""docs/policies.md says what is so: the table of the floor, and what its commands print."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from clinic_mcp.policy_tools.source import texts
from support.clinic import Clinic
from test_golden import FOLDER, SET
from test_replay import by

PAGE = (FOLDER.parent / "docs" / "policies.md").read_text("utf-8")
BLOCKS = re.findall(r"```console\n\$ clinic-mcp (policy .*)\n((?:.*\n)*?)```", PAGE)
EXIT = {"replay": 1}


def plain(text: str) -> str:
    return " ".join(text.replace("│", " ").replace("┃", " ").split())


def test_the_table_of_the_floor_names_every_policy_with_its_effect_and_a_sentence() -> None:
    table = PAGE.split("<!-- test: floor -->")[1]
    rows = re.findall(r"^\| `([^`@]+)` \| (\w+) \| (.+) \|$", table, re.MULTILINE)
    assert {name: effect for name, effect, _ in rows} == {name: one.effect for name, one in SET.policies.items()}
    assert [name for name, _, _ in rows] == list(SET.policies), "in the order of the files"
    sentences = [sentence for _, _, sentence in rows]
    assert all(re.fullmatch(r"[A-Z].+\.", sentence) for sentence in sentences)
    assert len(set(sentences)) == len(sentences)


def test_the_page_explains_every_annotation_the_policies_use() -> None:
    used = {f"@{name}" for policy in SET.policies.values() for name in policy.annotations}
    assert used == set(re.findall(r"^\| `(@\w+)` \|", PAGE, re.MULTILINE))


@pytest.mark.parametrize(("command", "shown"), BLOCKS, ids=[command for command, _ in BLOCKS])
def test_a_command_of_the_page_prints_what_the_page_shows(
    command: str, shown: str, copied_day: Clinic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = shlex.split(command)
    if "candidate" in words:
        _only_one_emergency(copied_day)
        shutil.copytree(FOLDER, tmp_path / "candidate")
        file = tmp_path / "candidate" / "patient-records.cedar"
        file.write_text(file.read_text("utf-8").replace(texts(SET)["physician-breaks-glass"], ""), "utf-8")
    done = copied_day.run(*words, code=EXIT.get(words[1], 0))
    printed = plain(done.stdout)
    for line in shown.splitlines():
        assert plain(line) in printed, line


def _only_one_emergency(clinic: Clinic) -> None:
    """The page shows one flip; the day has two."""
    from support.attacks import drop_triggers

    with clinic.sql() as connection:
        drop_triggers(connection)
        connection.execute("DELETE FROM audit_events WHERE event_id = ?", (by(clinic, "physician-breaks-glass")[1],))


def test_every_command_of_the_policies_is_on_the_page() -> None:
    from clinic_mcp.policy_commands import app

    names = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    assert names == {command.split()[1] for command, _ in BLOCKS}
    assert names == {"check", "explain", "matrix", "replay", "test"}
