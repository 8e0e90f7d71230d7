"""The architecture's rules, read from the imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import clinic_mcp
import pytest

ROOT = Path(clinic_mcp.__file__).parent
SERVERS = ("patient_records", "knowledge_base", "pharmacy", "prescriptions")
FILES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))


def imports(file: str) -> Iterator[str]:
    """Every module and name a file imports, wherever in it the import stands."""
    for node in ast.walk(_tree(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def calls(file: str, name: str) -> bool:
    """Whether a file calls `name`, e.g. `create_engine` or `structlog.configure`."""
    made = {ast.unparse(node.func) for node in ast.walk(_tree(file)) if isinstance(node, ast.Call)}
    return any(f".{call}".endswith(f".{name}") for call in made)


def _tree(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text("utf-8"))


def importing(module: str) -> set[str]:
    return {file for file in FILES if any(f"{name}.".startswith(f"{module}.") for name in imports(file))}


def test_there_is_something_to_read() -> None:
    assert {"core/guard.py", "core/policy.py", "prescriptions/server.py"} <= set(FILES)


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith("core/")])
def test_core_imports_no_server(file: str) -> None:
    servers = {f"clinic_mcp.{name}" for name in (*SERVERS, "consultations")}
    assert not {name for name in imports(file) for server in servers if f"{name}.".startswith(f"{server}.")}


@pytest.mark.parametrize("server", SERVERS)
def test_a_server_imports_core_and_itself_and_no_other_part(server: str) -> None:
    allowed = ("clinic_mcp.core.", f"clinic_mcp.{server}.", f"clinic_mcp.{server}")
    for file in (file for file in FILES if file.startswith(f"{server}/")):
        ours = {name for name in imports(file) if name.startswith("clinic_mcp")}
        strangers = {name for name in ours if not any(f"{name}.".startswith(own) for own in allowed)}
        assert not strangers, f"{file} imports {strangers}"


def test_the_consultations_service_knows_nothing_clinical() -> None:
    for server in SERVERS:
        assert not {file for file in importing(f"clinic_mcp.{server}") if file.startswith("consultations/")}


def test_cedar_is_imported_in_one_file() -> None:
    assert importing("cedarpy") == {"core/policy.py"}


def test_the_provisional_middleware_api_is_imported_in_two_files() -> None:
    assert importing("mcp.server.context") == {"core/guard.py", "core/app.py"}


def test_mcp_is_imported_by_no_server_and_no_store() -> None:
    assert {file.split("/")[0] for file in importing("mcp") | importing("mcp_types")} == {"core"}


def test_the_environment_is_read_by_settings_alone() -> None:
    readers = (
        {
            file
            for file in FILES
            for node in ast.walk(_tree(file))
            if isinstance(node, ast.Attribute) and ast.unparse(node) in ("os.environ", "os.getenv", "os.environb")
        }
        | importing("os.environ")
        | importing("os.getenv")
    )
    assert readers <= {"core/settings.py", "core/console.py"}
    assert (ROOT / "core/console.py").read_text("utf-8").count("os.environ") == 1, "NO_COLOR is the one exception"
    assert 'os.environ.get("NO_COLOR")' in (ROOT / "core/console.py").read_text("utf-8")


def test_settings_are_declared_in_one_file() -> None:
    assert importing("pydantic_settings") == {"core/settings.py"}


@pytest.mark.parametrize(
    ("name", "file"),
    [("create_engine", "core/db.py"), ("structlog.configure", "core/log.py"), ("logging.basicConfig", "core/log.py")],
)
def test_each_concern_is_set_up_in_one_place(name: str, file: str) -> None:
    assert {other for other in FILES if calls(other, name)} == {file}


def test_nobody_prints_to_stdout_but_the_commands() -> None:
    """stdout of a stdio server carries JSON-RPC only."""
    printing = {
        file
        for file in FILES
        for node in ast.walk(_tree(file))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "sys.stdout.write")
    }
    assert printing == set()
