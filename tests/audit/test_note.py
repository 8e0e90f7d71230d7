"""Signed notes and checkpoints: their published examples, and what is none."""

from __future__ import annotations

import pytest
from clinic_mcp.audit import checkpoint, keys, note
from clinic_mcp.audit.checkpoint import Checkpoint
from clinic_mcp.audit.note import BadNote, Verifier
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from support.clinic import Clinic

# The example of the Go package golang.org/x/mod/sumdb/note: another implementation's key, text and signature.
NEUMANN = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
SAYING = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
# The example of C2SP tlog-checkpoint.
SOFA = (
    "example.com/behind-the-sofa\n"
    "20852163\n"
    "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    "\n"
    "— example.com/behind-the-sofa"
    " Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
)


def made(text: str = "hello\n", name: str = "example.com/log") -> tuple[str, Verifier]:
    key = Ed25519PrivateKey.generate()
    return note.sign(text, name, key), Verifier(name, key.public_key().public_bytes_raw())


def test_another_implementations_note_and_key_are_understood() -> None:
    key = Verifier.parse(NEUMANN)
    assert str(key) == NEUMANN
    assert note.parse(SAYING).signer([key]) == key


def test_the_published_checkpoint_is_understood() -> None:
    signed = checkpoint.parse(SOFA)
    assert (signed.checkpoint.origin, signed.checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert SOFA.startswith(signed.checkpoint.text + "\n")


def test_every_character_of_a_note_counts() -> None:
    text, key = made()
    for at, char in enumerate(text):
        for other in ("x" if char != "x" else "y", "\n" if char != "\n" else " "):
            changed = text[:at] + other + text[at + 1 :]
            try:
                signer = note.parse(changed).signer([key])
            except BadNote:
                continue
            raise AssertionError(f"{changed!r} passes for {signer}")


def test_a_note_of_two_keys_holds_by_either_and_falls_by_a_wrong_one() -> None:
    """Witnesses add lines: those of unknown keys are passed over, a wrong one of a known key is not."""
    first, key = made()
    second, other = made()
    both = first + second.split("\n\n")[1]
    assert note.parse(both).signer([other]) == other
    assert note.parse(both).signer([key]) == key
    wrong = first + made("another text\n")[0].split("\n\n")[1]
    assert note.parse(wrong).signer([key]) == key
    signature = made("hello\n")[0].split("\n\n")[1]
    with pytest.raises(BadNote, match="no key of this clinic"):
        note.parse(f"hello\n\n{signature}").signer([key])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello\n",
        "hello\n\n",
        SAYING[:-1],
        SAYING + "\n",
        SAYING + "more\n",
        SAYING.replace("— ", "- "),
        SAYING.replace("Neumann x08", "Neumann  x08"),
        SAYING.replace("— PeterNeumann ", "— Peter+Neumann "),
        SAYING.replace("JnAM=", "JnAN="),
        SAYING.replace("If", "\x07If"),
        "x" * 200_000 + SAYING,
    ],
)
def test_what_is_no_note_is_refused(text: str) -> None:
    with pytest.raises(BadNote):
        note.parse(text).signer([Verifier.parse(NEUMANN)])


@pytest.mark.parametrize(
    "line",
    [
        "",
        "PeterNeumann",
        NEUMANN.replace("c74f", "c74e"),
        NEUMANN.replace("+AR", "+BB"),
        NEUMANN[:-4],
        NEUMANN.replace("Peter", "Peter "),
        NEUMANN.replace("PeterNeumann", ""),
    ],
)
def test_what_is_no_key_line_is_refused(line: str) -> None:
    with pytest.raises(BadNote):
        Verifier.parse(line)


@pytest.mark.parametrize("size", ["01", "+1", "-1", " 1", "1_0", "", "1.0", "٣"])
def test_a_size_has_one_spelling(size: str) -> None:
    text, _key = made(f"example.com/log\n{size}\n{'A' * 43}=\n")
    with pytest.raises(BadNote):
        checkpoint.parse(text)


@pytest.mark.parametrize("root", ["", "AAAA", "A" * 44, "A" * 43, "A" * 42 + "B="])
def test_a_root_has_32_bytes_in_one_spelling(root: str) -> None:
    text, _key = made(f"example.com/log\n1\n{root}\n")
    with pytest.raises(BadNote):
        checkpoint.parse(text)


def test_a_checkpoint_is_signed_under_its_origin() -> None:
    key = Ed25519PrivateKey.generate()
    stranger = Verifier("example.com/other", key.public_key().public_bytes_raw())
    signed = checkpoint.parse(Checkpoint("example.com/log", 3, bytes(32)).signed(key))
    with pytest.raises(BadNote):
        signed.signer([stranger])
    assert signed.signer([Verifier("example.com/log", stranger.public)])


def test_the_key_is_its_owner_s_and_the_public_half_is_pinned(clinic: Clinic) -> None:
    folder = clinic.home / "keys"
    assert (folder / keys.PRIVATE).stat().st_mode & 0o777 == 0o600
    assert (folder / keys.PUBLIC).stat().st_mode & 0o777 == 0o644
    ((verifier, since),) = keys.pinned(folder / keys.PUBLIC).items()
    assert verifier.name == "clinic-mcp/main"
    assert since.endswith("Z")
    assert str(verifier).startswith("clinic-mcp/main+")


def test_a_key_that_was_not_pinned_when_init_was_killed_is_pinned_by_the_next(clinic: Clinic) -> None:
    folder = clinic.home / "keys"
    before = keys.pinned(folder / keys.PUBLIC).keys()
    (folder / keys.PUBLIC).unlink()
    clinic.run("init")
    assert keys.pinned(folder / keys.PUBLIC).keys() == before


def test_rotation_is_on_the_record_and_old_checkpoints_stay_verifiable(clinic: Clinic) -> None:
    before = list(keys.pinned(clinic.home / "keys" / keys.PUBLIC))
    rotated = clinic.json("audit", "rotate-key")
    after = keys.pinned(clinic.home / "keys" / keys.PUBLIC)
    assert [str(one) for one in after] == [str(before[0]), rotated["new"]]
    assert rotated["old"] == str(before[0])
    assert list(after.values())[1] == rotated["since"]
    clinic.run("audit", "sequence")
    notes = [row["note"] for row in clinic.execute("SELECT note FROM audit_checkpoints ORDER BY id")]
    assert [checkpoint.parse(one).signer(after) for one in notes] == list(after)
    assert clinic.json("audit", "verify")["verdict"] == "whole"
    (event,) = [one for one in clinic.json("audit", "list") if one["code"] == "audit.key_rotated"]
    assert event["keys"]["new"] == rotated["new"]
    assert event["principal"]["type"] == "Operator"
