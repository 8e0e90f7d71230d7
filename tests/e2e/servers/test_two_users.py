"""The hardened deployment of docs/audit.md: the tool servers run as another user, who cannot read a signing key."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from support.clinic import Clinic
from support.ports import free_port
from support.servers import answers, post_call
from support.waiting import eventually

CLINIC, TOOLS = 64001, 64002
"""User and group ids of nobody else on this machine; two users need no names."""
PRIVATE = ("grants.jwk", "checkpoints.jwk")
pytestmark = [
    pytest.mark.skipif(os.getuid() != 0, reason="only root can start processes as other users"),
    pytest.mark.sqlite("on PostgreSQL the roles do this, see tests/core/test_grants.py"),
]


@dataclass(frozen=True)
class As:
    """A user, and the groups it is in."""

    user: int
    groups: tuple[int, ...]

    def popen(self, *command: str, **options: Any) -> subprocess.Popen[str]:
        ids = {"user": self.user, "group": self.groups[0], "extra_groups": list(self.groups[1:])}
        return subprocess.Popen(command, text=True, umask=0o007, **ids, **options)

    def run(self, *command: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
        pipe = subprocess.PIPE
        with self.popen(*command, env=env, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe) as child:
            out, err = child.communicate(timeout=60)
            return subprocess.CompletedProcess(command, child.returncode, out, err)


OWNER, TOOL_SERVERS = As(CLINIC, (CLINIC,)), As(TOOLS, (TOOLS, CLINIC))
SITE = sysconfig.get_path("purelib")
MINOR = f"python{sys.version_info.major}.{sys.version_info.minor}"


@cache
def command() -> list[str]:
    """`clinic-mcp` with an interpreter that other users can run: this one may be in somebody's home."""
    for python in (sys.executable, f"/usr/bin/{MINOR}", f"/usr/local/bin/{MINOR}"):
        script = (
            f"import site, sys, runpy; site.addsitedir({SITE!r}); sys.argv[0] = 'clinic-mcp';"
            " runpy.run_module('clinic_mcp', run_name='__main__')"
        )
        found = [python, "-S", "-c", script]  # -S: without the distribution's own packages
        with suppress(OSError):  # not there, or not for other users
            if TOOL_SERVERS.run(*found, "--help", env={"PATH": os.environ["PATH"]}).returncode == 0:
                return found
    pytest.skip(f"no {MINOR} that other users can run with the packages in {SITE}")


@pytest.fixture
def hardened(clinic: Clinic, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinic]:
    """The clinic's folder as docs/audit.md says, in a place both users reach."""
    command()
    top = Path("/var/tmp") / f"clinic-two-users-{os.getpid()}"  # noqa: S108 - made for two users, and removed
    shutil.copytree(clinic.home, top)
    for path in (top, *top.rglob("*")):
        os.chown(path, CLINIC, CLINIC)
    top.chmod(0o2770)
    for path in top.glob("clinic.db*"):
        path.chmod(0o660)
    (top / "keys").chmod(0o711)
    yield Clinic(top)
    shutil.rmtree(top)


@contextmanager
def served(clinic: Clinic, user: As, *arguments: str) -> Iterator[int]:
    """A part of the suite, run by a user; its port."""
    port = free_port()
    nowhere = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    child = user.popen(*command(), *arguments, "--port", str(port), env=clinic.environment, cwd="/", **nowhere)
    try:
        eventually(lambda: answers(port) or child.poll() is not None, 30)
        assert child.poll() is None, "it did not start"
        yield port
    finally:
        child.terminate()
        child.wait(15)


def test_tool_servers_answer_and_record_as_a_user_who_cannot_read_a_signing_key(hardened: Clinic) -> None:
    modes = {name: (hardened.home / "keys" / name).stat().st_mode & 0o777 for name in PRIVATE}
    assert modes == dict.fromkeys(PRIVATE, 0o600)
    for name in PRIVATE:
        tried = TOOL_SERVERS.run("/bin/cat", str(hardened.home / "keys" / name), env={})
        assert tried.returncode != 0
        assert "Permission denied" in tried.stderr
    token = hardened.tokens.person("pharm-rossi", "pharmacy")
    with served(hardened, OWNER, "consultations"):
        with served(hardened, TOOL_SERVERS, "serve", "pharmacy", "--transport", "http") as port:
            delivery = {"medication_name": "Paracetamol 500mg", "lot": "L-2", "quantity": 1, "expires": "2099-01-31"}
            _, body = post_call(f"http://127.0.0.1:{port}/mcp", "receive_stock", delivery, token)
            assert not body["result"].get("isError"), body
        # What the tool servers wrote, the other user numbers and signs.
        eventually(
            lambda: hardened.execute(
                "SELECT (SELECT count(*) FROM audit_leaves) = (SELECT count(*) FROM audit_events)"
            )[0][0],
            15,
        )
    signed = OWNER.run(*command(), "audit", "sequence", env=hardened.environment)
    assert signed.returncode == 0, signed.stderr
    assert OWNER.run(*command(), "audit", "verify", env=hardened.environment).returncode == 0


def test_the_tool_servers_user_can_sign_no_checkpoint_and_mint_no_grant(hardened: Clinic) -> None:
    assert OWNER.run(*command(), "audit", "list", env=hardened.environment).returncode == 0  # something to sign
    for arguments in (("audit", "sequence"), ("audit", "rotate-key"), ("token", "issue", "--as", "dr-osei")):
        tried = TOOL_SERVERS.run(*command(), *arguments, env=hardened.environment)
        assert tried.returncode == 4, (arguments, tried.stdout)
        assert "Traceback" not in tried.stderr


def test_what_that_user_does_to_the_file_itself_shows(hardened: Clinic) -> None:
    OWNER.run(*command(), "audit", "sequence", env=hardened.environment)
    script = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]);"
        " c.execute('DROP TRIGGER audit_events_no_update');"
        " c.execute(\"UPDATE audit_events SET leaf = CAST(replace(leaf, 'initialised', 'initializer') AS BLOB)\");"
        " c.commit()"
    )
    done = TOOL_SERVERS.run(command()[0], "-S", "-c", script, str(hardened.file), env={})
    assert done.returncode == 0, done.stderr
    found = OWNER.run(*command(), "audit", "verify", env=hardened.environment)
    assert found.returncode == 1
    assert "altered" in found.stdout
