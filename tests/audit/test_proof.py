"""Proofs, exports and partial checks: parts of the log that stand without it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from clinic_mcp.audit import keys
from clinic_mcp.audit.export import CHECKPOINTS, EVENTS, MANIFEST, TEXTS, _lines
from support.attacks import drop_triggers
from support.clinic import Clinic
from support.signed import sign, witness_of, work


@pytest.fixture(scope="module")
def day(module_clinic: Clinic) -> Clinic:
    work(module_clinic)
    sign(module_clinic)
    (module_clinic.home / "first.txt").write_text(module_clinic.run("audit", "checkpoint").stdout)
    work(module_clinic)
    sign(module_clinic)
    return module_clinic


@pytest.fixture
def copied(day: Clinic, tmp_path: Path) -> Clinic:
    shutil.copytree(day.home, tmp_path / "home")
    return Clinic(tmp_path / "home")


# Proofs


@pytest.fixture(scope="module")
def proven(day: Clinic) -> tuple[Path, Path]:
    """A proof and the event it is of."""
    event = day.execute("SELECT event_id FROM audit_events WHERE code = 'call.refused'")[0][0]
    proof, leaf = day.home / "one.tlog-proof", day.home / "one.json"
    day.run("audit", "prove", event, "--out", str(proof), "--leaf", str(leaf))
    return proof, leaf


def test_a_proof_has_the_standard_form(day: Clinic, proven: tuple[Path, Path]) -> None:
    text = proven[0].read_text()
    head, note = text.split("\n\n", 1)
    lines = head.split("\n")
    assert lines[0] == "c2sp.org/tlog-proof@v1"
    assert lines[1].split(" ")[0] == "index"
    assert all(len(line) == 44 for line in lines[2:])
    assert note == day.run("audit", "checkpoint").stdout


def test_a_proof_holds_without_the_clinic(proven: tuple[Path, Path], day: Clinic, tmp_path: Path) -> None:
    vkey = tmp_path / "clinic.pub"
    shutil.copy(day.home / "keys" / keys.PUBLIC, vkey)
    nowhere = Clinic(tmp_path / "elsewhere")
    shown = nowhere.json("audit", "verify-proof", str(proven[0]), "--event", str(proven[1]), "--vkey", str(vkey))
    assert (shown["holds"], shown["log"]) == (True, "clinic-mcp/main")
    nowhere.run("audit", "verify-proof", str(proven[0]), "--event", str(proven[1]), code=4)


def test_every_event_can_be_proven(day: Clinic) -> None:
    from clinic_mcp.audit.proof import parse, prove

    pinned = list(keys.pinned(day.home / "keys" / keys.PUBLIC))
    rows = day.execute("SELECT e.event_id, e.leaf FROM audit_events e JOIN audit_leaves l ON l.event = e.id")
    size = day.execute("SELECT max(size) FROM audit_checkpoints")[0][0]
    with day.database() as database, database.read() as connection:
        for row in rows[:size]:
            proof, leaf = prove(connection, row["event_id"])
            assert leaf == row["leaf"]
            assert parse(str(proof)).check(leaf, pinned).size == size


def wrong_proofs(text: str) -> dict[str, str]:
    """Each line altered, dropped, doubled; swapped hashes; another place; another format; more at the end."""
    lines = text.split("\n")
    found = {}
    for at, line in enumerate(lines[:-1]):
        found[f"line {at} dropped"] = "\n".join([*lines[:at], *lines[at + 1 :]])
        if not line.startswith("—"):  # the same signature twice is still one
            found[f"line {at} doubled"] = "\n".join([*lines[:at], line, *lines[at:]])
        if len(line) > 2:
            other = "A" if line[-3] != "A" else "B"
            found[f"line {at} altered"] = "\n".join([*lines[:at], line[:-3] + other + line[-2:], *lines[at + 1 :]])
    found["swapped"] = "\n".join([*lines[:2], lines[3], lines[2], *lines[4:]])
    index = int(lines[1].removeprefix("index "))
    for other in (index + 1, index - 1, index ^ 2, index * 2, -index, 10**12):
        found[f"place {other}"] = "\n".join([lines[0], f"index {other}", *lines[2:]])
    found["place 0n"] = "\n".join([lines[0], f"index 0{index}", *lines[2:]])
    found["no place"] = "\n".join([lines[0], *lines[2:]])
    found["v2"] = text.replace("@v1", "@v2")
    found["more"] = text + "more\n"
    found["empty"] = ""
    return found


def test_every_wrong_proof_is_refused(proven: tuple[Path, Path], day: Clinic) -> None:
    from clinic_mcp.audit.findings import Found
    from clinic_mcp.audit.proof import parse

    text, leaf = proven[0].read_text(), proven[1].read_bytes()
    pinned = list(keys.pinned(day.home / "keys" / keys.PUBLIC))
    assert parse(text).check(leaf, pinned)
    accepted = []
    for name, wrong in wrong_proofs(text).items():
        try:
            parse(wrong).check(leaf, pinned)
        except Found:
            continue
        accepted.append(name)
    assert not accepted
    for other in (leaf + b" ", leaf[:-1], b"", leaf.replace(b"P002", b"P003")):
        with pytest.raises(Found, match="not of this event"):
            parse(text).check(other, pinned)


def test_extra_data_is_passed_over_and_not_trusted(proven: tuple[Path, Path], day: Clinic) -> None:
    from clinic_mcp.audit.proof import parse

    pinned = list(keys.pinned(day.home / "keys" / keys.PUBLIC))
    text = proven[0].read_text().replace("@v1\n", "@v1\nextra aGVsbG8=\n")
    assert parse(text).check(proven[1].read_bytes(), pinned)


def test_the_commands_exit_codes(copied: Clinic, proven: tuple[Path, Path]) -> None:
    proof, leaf = (str(path) for path in proven)
    copied.run("audit", "verify-proof", proof, "--event", leaf)
    copied.run("audit", "verify-proof", proof, "--event", proof, code=1)
    copied.run("audit", "verify-proof", proof, "--event", "/nowhere", code=4)
    copied.run("audit", "prove", "01a00000-0000-7000-8000-000000000000", code=4)
    newest = copied.execute("SELECT event_id FROM audit_events ORDER BY id DESC LIMIT 1")[0][0]
    assert "audit sequence" in copied.run("audit", "prove", newest, code=3).stderr
    (event,) = [one for one in copied.json("audit", "list") if one.get("asked", {}).get("event") == newest]
    assert event["code"] == "audit.prove"


# Only the new part


def test_since_reads_the_new_part_only_and_finds_the_same(copied: Clinic) -> None:
    whole = copied.json("audit", "verify")
    first = str(copied.home / "first.txt")
    shown = json.loads(copied.run("audit", "verify", "--since", first, "--json").stdout)
    assert shown["verdict"] == "whole"
    assert shown["covered"] == whole["covered"]
    assert 0 < shown["events"] < whole["events"]


def test_since_finds_what_was_altered_after_and_leaves_the_rest_to_a_full_check(copied: Clinic) -> None:
    first = str(copied.home / "first.txt")
    place = "(SELECT event FROM audit_leaves WHERE leaf_index = (SELECT size FROM audit_checkpoints WHERE id = 2)%s)"
    with copied.sql() as prompt:
        drop_triggers(prompt)
        prompt.execute(f"UPDATE audit_events SET code = 'x' WHERE id = {place % ' - 1'}")  # noqa: S608
    assert json.loads(copied.run("audit", "verify", "--since", first, "--json", code=3).stdout)["events"] > 0
    assert copied.json("audit", "verify", code=1)["event_id"]
    with copied.sql() as prompt:
        prompt.execute(f"UPDATE audit_events SET code = 'x' WHERE id = {place % ''}")  # noqa: S608
    copied.run("audit", "verify", "--since", first, code=1)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE audit_nodes SET hash = (SELECT hash FROM audit_leaves WHERE leaf_index = 0) WHERE level = 3",
        "DELETE FROM audit_nodes",
    ],
)
def test_since_finds_a_damaged_tree(copied: Clinic, damage: str) -> None:
    with copied.sql() as prompt:
        drop_triggers(prompt)
        prompt.execute(damage)
    assert copied.run("audit", "verify", "--since", str(copied.home / "first.txt"), code=None).returncode in (1, 2)


def test_since_needs_a_checkpoint_of_this_log(copied: Clinic) -> None:
    path = copied.home / "forged.txt"
    path.write_text(
        (copied.home / "first.txt").read_text().replace("\n\n— clinic-mcp/main ", "\nmore\n\n— clinic-mcp/main ")
    )
    copied.run("audit", "verify", "--since", str(path), code=4)


# Exports


@pytest.fixture(scope="module")
def exported(day: Clinic) -> Path:
    folder = day.home / "export"
    day.run("audit", "export", "jsonl", str(folder))
    return folder


@pytest.fixture
def carried(exported: Path, day: Clinic, tmp_path: Path) -> tuple[Clinic, Path, str]:
    """The export on another machine, and the public key that was brought there some other way."""
    shutil.copytree(exported, tmp_path / "export")
    shutil.copy(day.home / "keys" / keys.PUBLIC, tmp_path / "trusted.pub")
    return Clinic(tmp_path / "no-clinic"), tmp_path / "export", str(tmp_path / "trusted.pub")


def test_an_export_is_checked_elsewhere(carried: tuple[Clinic, Path, str], day: Clinic) -> None:
    elsewhere, folder, vkey = carried
    more = ("--vkey", vkey, "--witness", str(witness_of(day)))
    shown = json.loads(elsewhere.run("audit", "verify", "--export", str(folder), *more, "--json").stdout)
    manifest = json.loads((folder / MANIFEST).read_text())
    assert (shown["verdict"], shown["events"], shown["witnessed"]) == ("whole", manifest["count"], 2)
    assert manifest["checkpoint"] == day.run("audit", "checkpoint").stdout
    assert {name: about["lines"] for name, about in manifest["files"].items()}[EVENTS] == manifest["count"]
    assert not elsewhere.home.exists()
    assert "keys are those of the export itself" in elsewhere.run("audit", "verify", "--export", str(folder)).stderr
    elsewhere.run("audit", "verify", "--export", str(folder), "--since", vkey, code=4)
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir())


def lines_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def forge(folder: Path, name: str, change: Callable[[list[dict[str, object]]], object]) -> None:
    """Change a file and give the manifest its new digest."""
    documents = lines_of(folder / name)
    change(documents)
    (folder / name).unlink()
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][name] = _lines(folder / name, documents)
    (folder / MANIFEST).write_text(json.dumps(manifest))


FORGERIES: dict[str, tuple[str, Callable[[list[dict[str, object]]], object], int]] = {
    "an event altered": (EVENTS, lambda all_: all_[5].update(leaf=str(all_[5]["leaf"]).replace("main", "Main")), 1),
    "an event removed": (EVENTS, lambda all_: all_.pop(5), 1),
    "two events swapped": (EVENTS, lambda all_: all_.insert(5, all_.pop(6)), 1),
    "the end cut off": (EVENTS, lambda all_: all_.__delitem__(slice(-8, None)), 2),
    "a line that is none": (EVENTS, lambda all_: all_[5].pop("leaf"), 1),
    "the checkpoints removed": (CHECKPOINTS, lambda all_: all_.clear(), 2),
    "a checkpoint altered": (CHECKPOINTS, lambda all_: all_[1].update(root="A" * 43 + "="), 1),
    "a policy removed": (TEXTS["policies"], lambda all_: all_.clear(), 1),
    "a slice altered": (TEXTS["slices"], lambda all_: all_[0].update(text="[]"), 1),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_export_is_found_though_its_manifest_fits(carried: tuple[Clinic, Path, str], forgery: str) -> None:
    elsewhere, folder, vkey = carried
    name, change, code = FORGERIES[forgery]
    forge(folder, name, change)
    done = elsewhere.run("audit", "verify", "--export", str(folder), "--vkey", vkey, code=code)
    assert "Traceback" not in done.stderr


def test_an_export_that_its_manifest_does_not_fit_is_found(carried: tuple[Clinic, Path, str]) -> None:
    elsewhere, folder, vkey = carried
    with (folder / EVENTS).open("a") as file:
        file.write("\n")
    done = elsewhere.run("audit", "verify", "--export", str(folder), "--vkey", vkey, "--json", code=1)
    assert "is not the file the manifest names" in json.loads(done.stdout)["problem"]
    (folder / EVENTS).unlink()
    elsewhere.run("audit", "verify", "--export", str(folder), "--vkey", vkey, code=4)
    elsewhere.run("audit", "verify", "--export", "/nowhere", "--vkey", vkey, code=4)


def test_an_export_overwrites_nothing(day: Clinic, exported: Path) -> None:
    assert "is not empty" in day.run("audit", "export", "jsonl", str(exported), code=4).stderr
