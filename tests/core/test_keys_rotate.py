"""A new signing key: nobody is locked out by it, nothing is started again, and the old one ends in its time."""

from __future__ import annotations

import json
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from clinic_mcp.consultations import rotation
from clinic_mcp.consultations.keys import SigningKey, published_keys, read_signing_key
from clinic_mcp.consultations.rotation import OVERLAP, Rotation, listed, rotate
from clinic_mcp.core.errors import AuditUnavailable, Misconfigured, Unauthenticated
from clinic_mcp.core.tokens import TokenVerifier
from support.clinic import Clinic
from support.log import AuditReader
from support.servers import post_call, running, serving
from support.tokens import Minter

AUDIENCE = "knowledge-base"


def nobody(_rotation: Rotation) -> None:
    """Records nothing."""


def verifier(clinic: Clinic) -> TokenVerifier:
    return TokenVerifier(clinic.home / "keys" / "jwks.json", "urn:clinic-mcp:issuer", frozenset({AUDIENCE}))


def keys_of(clinic: Clinic) -> Path:
    return clinic.home / "keys"


def token_of(clinic: Clinic) -> str:
    """A token signed with the key in force."""
    return Minter(keys_of(clinic)).person("dr-osei", AUDIENCE)


def test_both_keys_count_and_the_new_one_signs(clinic: Clinic) -> None:
    check, before = verifier(clinic), token_of(clinic)
    check.verify(before)
    made = rotate(keys_of(clinic), nobody)
    after = token_of(clinic)
    assert jwt.get_unverified_header(after)["kid"] == made.new
    assert jwt.get_unverified_header(before)["kid"] == made.old
    assert check.verify(before)
    assert check.verify(after)
    assert 0 <= made.retires - (time.time() + OVERLAP) + 5 <= 5
    assert OVERLAP >= 12 * 3600 + 60, "the longest token it may have signed has expired by then"


def test_the_old_key_retires_at_its_moment_though_nothing_changes(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = verifier(clinic)
    before = Minter(keys_of(clinic)).person("dr-osei", AUDIENCE, exp=int(time.time()) + 43_000)
    check.verify(before)
    made = rotate(keys_of(clinic), nobody)
    check.verify(before)
    monkeypatch.setattr("clinic_mcp.core.own_keys.time.time", lambda: made.retires + 1.0)
    with pytest.raises(Unauthenticated) as refused:
        check.verify(before)
    assert refused.value.reason == "unknown-key"
    assert [key["kid"] for key in published_keys(keys_of(clinic))["keys"]] == [made.new]
    assert {key.state for key in listed(keys_of(clinic))} == {"signing", "retired"}


def test_retired_keys_leave_the_file_with_the_next_rotation(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    made = rotate(keys_of(clinic), nobody)
    monkeypatch.setattr("clinic_mcp.consultations.rotation.time.time", lambda: made.retires + 1.0)
    again = rotate(keys_of(clinic), nobody)
    assert {key.kid for key in listed(keys_of(clinic))} == {again.new, again.old}


def test_private_parts_are_the_owners_alone_and_leave_with_their_key(clinic: Clinic) -> None:
    old = read_signing_key(keys_of(clinic))["d"]
    rotate(keys_of(clinic), nobody)
    private, public = keys_of(clinic) / "grants.jwk", keys_of(clinic) / "jwks.json"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert not any("d" in key for key in json.loads(public.read_text("utf-8"))["keys"])
    assert not any(old in path.read_text("utf-8") for path in keys_of(clinic).iterdir())
    written = {path.name for path in keys_of(clinic).iterdir()}
    assert written == {"grants.jwk", "jwks.json", "checkpoints.jwk", "checkpoints.pub"}, "nothing half-written"


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("step", ["first", "recorded", "second", "third"])
def test_killed_half_way_every_token_still_counts_and_the_next_rotation_makes_up_for_it(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    before, writes = token_of(clinic), iter(("first", "second", "third"))
    real = rotation.files.replace

    def replace(path: Path, text: str, mode: int) -> None:
        if next(writes) == step:
            raise Killed
        real(path, text, mode)

    def record(_rotation: Rotation) -> None:
        if step == "recorded":
            raise Killed

    with monkeypatch.context() as killing:
        killing.setattr("clinic_mcp.core.files.replace", replace)
        with pytest.raises(Killed):
            rotate(keys_of(clinic), record)
    check = verifier(clinic)
    assert check.verify(before)
    assert check.verify(token_of(clinic)), "whatever signs now is published"
    signing = read_signing_key(keys_of(clinic))["kid"]
    made = rotate(keys_of(clinic), nobody)
    assert made.old == signing
    for token in (before, token_of(clinic)):
        assert check.verify(token)
    states = {key.kid: key.state for key in listed(keys_of(clinic))}
    assert states.pop(made.new) == "signing"
    assert set(states.values()) == {"retiring"}, "no key is left that counts for ever and signs nothing"


def test_what_cannot_be_recorded_does_not_happen(clinic: Clinic) -> None:
    def record(_rotation: Rotation) -> None:
        raise AuditUnavailable("no")

    signing = read_signing_key(keys_of(clinic))
    with pytest.raises(AuditUnavailable):
        rotate(keys_of(clinic), record)
    assert read_signing_key(keys_of(clinic)) == signing


def test_rotations_at_the_same_time_come_one_after_the_other(clinic: Clinic) -> None:
    start = threading.Barrier(4)

    def one() -> Rotation:
        start.wait(10)
        return rotate(keys_of(clinic), nobody)

    with ThreadPoolExecutor(4) as pool:
        made = [future.result(20) for future in [pool.submit(one) for _ in range(4)]]
    assert len({rotation.old for rotation in made}) == 4, "each replaced another's"
    assert {key.kid for key in listed(keys_of(clinic))} == {kid for one in made for kid in (one.old, one.new)}


def test_without_keys_there_is_nothing_to_rotate(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured):
        rotate(tmp_path, nobody)
    with pytest.raises(Misconfigured):
        listed(tmp_path / "nowhere")


def test_the_signing_key_is_read_again_and_the_last_one_kept_while_it_cannot_be(clinic: Clinic) -> None:
    signing = SigningKey(keys_of(clinic))
    made = rotate(keys_of(clinic), nobody)
    assert signing.current()["kid"] == made.new
    (keys_of(clinic) / "grants.jwk").write_text("{", "utf-8")
    assert signing.current()["kid"] == made.new
    (keys_of(clinic) / "grants.jwk").unlink()
    assert signing.current()["kid"] == made.new


# the command, and processes that run


def test_the_command_rotates_lists_and_records(clinic: Clinic) -> None:
    log = AuditReader(clinic)
    (only,) = clinic.json("keys", "list")
    made = clinic.json("keys", "rotate")
    assert made["old"] == only["kid"]
    assert [(key["kid"], key["state"]) for key in clinic.json("keys", "list")] == [
        (made["new"], "signing"),
        (made["old"], "retiring"),
    ]
    (event,) = log.events()
    assert (event["phase"], event["code"]) == ("admin", "keys.rotated")
    assert event["keys"] == made
    assert event["principal"]["type"] == "Operator"
    assert "retiring" in clinic.run("keys", "list").stdout
    assert "Signing key replaced" in clinic.run("keys", "rotate").stdout


def test_without_a_log_the_command_changes_nothing(clinic: Clinic) -> None:
    signing = read_signing_key(keys_of(clinic))
    with clinic.write_lock():
        done = clinic.run("keys", "rotate", code=4)
    assert "Traceback" not in done.stderr
    assert read_signing_key(keys_of(clinic)) == signing


def test_running_processes_take_the_new_key_without_a_restart(clinic: Clinic) -> None:
    def exchanged(url: str) -> str:
        answer = httpx.post(f"{url}/oauth/token", data=_form(clinic), timeout=20)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    with running(clinic, "consultations") as service, serving(clinic, "knowledge-base") as server:

        def asked(token: str) -> int:
            return post_call(f"{server.url}/mcp", "search_knowledge_base", {"query": "fever"}, token)[0]

        first = exchanged(service.url)
        assert asked(first) == 200
        made: dict[str, Any] = clinic.json("keys", "rotate")
        second = exchanged(service.url)
        assert jwt.get_unverified_header(first)["kid"] == made["old"]
        assert jwt.get_unverified_header(second)["kid"] == made["new"]
        assert asked(first) == 200
        assert asked(second) == 200
        shown = httpx.get(f"{service.url}/.well-known/jwks.json", timeout=20).json()["keys"]
        assert {key["kid"]: key.get("exp") for key in shown} == {made["new"]: None, made["old"]: made["retires"]}


def _form(clinic: Clinic) -> dict[str, str]:
    credential = json.loads((clinic.home / "credentials" / "dr-osei.json").read_text("utf-8"))
    now = int(time.time())
    claims = {"iss": "dr-osei", "sub": "dr-osei", "aud": credential["audience"], "iat": now, "exp": now + 60}
    claims["jti"] = f"{time.time_ns()}"
    assertion = jwt.encode(claims, jwt.PyJWK(credential["private_key"], algorithm="EdDSA"), algorithm="EdDSA")
    return {
        "grant_type": "client_credentials",
        "audience": AUDIENCE,
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": assertion,
    }
