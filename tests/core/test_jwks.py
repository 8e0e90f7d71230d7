"""A provider's keys: fetched seldom and from one place, kept when the provider is away, and never more than fit."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from clinic_mcp.core import jwks
from clinic_mcp.core.jwks import MAX_AGE, REFRESH_PAUSE, ProviderKeys, usable
from clinic_mcp.core.providers import Provider
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from support.encoding import b64
from support.issuer import Issuer, Key, issuing
from support.waiting import eventually


class Clock:
    """Seconds that go when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing() as opened:
        yield opened


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(issuer: Issuer, clock: Clock, tmp_path: Path) -> ProviderKeys:
    return make(issuer, clock, tmp_path)


def make(issuer: Issuer, clock: Clock, folder: Path) -> ProviderKeys:
    return ProviderKeys(Provider(**issuer.entry()), folder, clock=clock)


def test_nothing_is_fetched_before_a_token_asks(issuer: Issuer, keys: ProviderKeys) -> None:
    assert keys.empty
    assert issuer.requests == []


def test_a_set_is_fetched_once_and_serves_many(issuer: Issuer, keys: ProviderKeys, clock: Clock) -> None:
    for _ in range(5):
        assert keys.find(issuer.key.kid) is not None
        clock.now += 60
    assert issuer.requests == ["/keys"]


def test_after_ten_minutes_it_is_fetched_again_so_that_a_withdrawn_key_ends(
    issuer: Issuer, keys: ProviderKeys, clock: Clock
) -> None:
    keys.find(issuer.key.kid)
    old = issuer.rotate()
    assert keys.find(old.kid) is not None
    clock.now += MAX_AGE
    assert keys.find(old.kid) is None
    assert len(issuer.requests) == 2


def test_an_unknown_key_is_asked_for_at_most_every_thirty_seconds(
    issuer: Issuer, keys: ProviderKeys, clock: Clock
) -> None:
    keys.find(issuer.key.kid)
    fetched = len(issuer.requests)
    for _ in range(10):
        assert keys.find("nobody") is None
    assert len(issuer.requests) == fetched, "it was fetched a moment ago"
    clock.now += REFRESH_PAUSE
    for number in range(10):
        assert keys.find(f"nobody-{number}") is None
    assert len(issuer.requests) == fetched + 1


def test_a_new_key_is_known_as_soon_as_it_may_be_asked_for(issuer: Issuer, keys: ProviderKeys, clock: Clock) -> None:
    keys.find(issuer.key.kid)
    clock.now += REFRESH_PAUSE
    issuer.rotate()
    assert keys.find(issuer.key.kid) is not None


@pytest.mark.parametrize("answer", ["error", "redirect", "huge", "not json", "a list", "compressed"])
def test_the_last_good_set_stays_in_force_whatever_the_provider_answers(
    issuer: Issuer, keys: ProviderKeys, clock: Clock, answer: str
) -> None:
    assert keys.find(issuer.key.kid) is not None
    issuer.answer = answer
    old = issuer.rotate()
    clock.now += MAX_AGE
    assert keys.find(old.kid) is not None
    assert keys.find(issuer.key.kid) is None, "a key that came with such an answer does not count"
    assert len(issuer.requests) == 2
    assert "/elsewhere" not in issuer.requests, "a redirect is not followed"
    clock.now += REFRESH_PAUSE - 1
    keys.find("nobody")
    assert len(issuer.requests) == 2, "a failure too is followed by a pause"
    issuer.answer = "keys"
    clock.now += 1
    assert keys.find(issuer.key.kid) is not None


def test_the_last_good_set_stays_in_force_when_nobody_answers(issuer: Issuer, keys: ProviderKeys, clock: Clock) -> None:
    keys.find(issuer.key.kid)
    issuer.stop()
    for _ in range(3):
        clock.now += MAX_AGE
        assert keys.find(issuer.key.kid) is not None


def test_the_last_good_set_survives_a_restart_with_the_provider_away(
    issuer: Issuer, keys: ProviderKeys, clock: Clock, tmp_path: Path
) -> None:
    keys.find(issuer.key.kid)
    issuer.stop()
    again = make(issuer, clock, tmp_path)
    assert not again.empty
    assert again.find(issuer.key.kid) is not None


def test_what_is_kept_on_disk_is_public_and_its_owners_alone(
    issuer: Issuer, keys: ProviderKeys, tmp_path: Path
) -> None:
    issuer.documents.append({**issuer.key.public, "kid": "leaked", "d": "c2VjcmV0", "p": "c2VjcmV0"})
    keys.find(issuer.key.kid)
    (kept,) = tmp_path.iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    text = kept.read_text("utf-8")
    assert json.loads(text)["issuer"] == issuer.url
    assert "c2VjcmV0" not in text


def test_a_kept_set_counts_for_its_own_provider_and_address_alone(
    issuer: Issuer, keys: ProviderKeys, clock: Clock, tmp_path: Path
) -> None:
    keys.find(issuer.key.kid)
    entry = issuer.entry(jwks_uri=f"{issuer.url}/moved")
    assert ProviderKeys(Provider(**entry), tmp_path, clock=clock).empty
    (kept,) = tmp_path.iterdir()
    kept.write_text("{", "utf-8")
    assert make(issuer, clock, tmp_path).empty


def test_a_folder_that_cannot_be_written_costs_nothing_but_the_copy(
    issuer: Issuer, clock: Clock, tmp_path: Path
) -> None:
    assert make(issuer, clock, tmp_path / "nowhere").find(issuer.key.kid) is not None


def test_callers_that_come_together_fetch_once(issuer: Issuer, keys: ProviderKeys) -> None:
    issuer.answer = "slow"
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(keys.find, issuer.key.kid) for _ in range(8)]
        eventually(lambda: issuer.requests)
        issuer.let_go.set()
        assert all(future.result(10) is not None for future in asked)
    assert issuer.requests == ["/keys"]


def test_while_one_waits_for_a_slow_provider_known_keys_are_answered_at_once(
    issuer: Issuer, keys: ProviderKeys, clock: Clock
) -> None:
    keys.find(issuer.key.kid)
    issuer.answer = "slow"
    clock.now += MAX_AGE
    assert not keys.ready(issuer.key.kid), "the set is old: asking may wait"
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(keys.find, "nobody")
        eventually(lambda: len(issuer.requests) == 2)
        assert keys.ready(issuer.key.kid)
        assert not keys.ready("nobody-else")
        assert keys.find(issuer.key.kid) is not None
        assert not waiting.done()
        issuer.let_go.set()
        assert waiting.result(10) is None
    assert keys.ready("nobody"), "it was just asked for: the answer is known"


def test_a_provider_that_does_not_answer_is_given_up_in_time(
    issuer: Issuer, keys: ProviderKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "FETCH_TIMEOUT", 0.2)
    issuer.answer = "slow"
    assert keys.find(issuer.key.kid) is None


def test_an_answer_that_has_no_key_that_fits_lets_nobody_in(issuer: Issuer, keys: ProviderKeys, clock: Clock) -> None:
    keys.find(issuer.key.kid)
    issuer.documents = []
    clock.now += MAX_AGE
    assert keys.find(issuer.key.kid) is None
    assert keys.empty


# which keys fit

RSA, EC, ED = Key("RS256", "rsa"), Key("ES256", "ec"), Key("EdDSA", "ed")
SMALL = Key("RS256", "small", rsa.generate_private_key(65537, 1024))  # noqa: S505 - that it is passed over
P384 = ec.generate_private_key(ec.SECP384R1()).public_key().public_numbers()


def _changed(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**RSA.public, **changes}.items() if value is not ...}


@pytest.mark.parametrize(("algorithm", "fits"), [("RS256", "rsa"), ("ES256", "ec"), ("EdDSA", "ed"), ("PS256", None)])
def test_only_keys_of_the_pinned_algorithm_are_taken(algorithm: str, fits: str | None) -> None:
    found = usable({"keys": [RSA.public, EC.public, ED.public, SMALL.public]}, algorithm)
    assert set(found) == ({fits} if fits else set())


@pytest.mark.parametrize("changes", [{"alg": ...}, {"use": ...}, {"key_ops": ["verify"]}, {"x5t": "x"}], ids=str)
def test_what_a_key_does_not_say_is_not_held_against_it(changes: dict[str, Any]) -> None:
    assert set(usable({"keys": [_changed(**changes)]}, "RS256")) == {"rsa"}


@pytest.mark.parametrize(
    "wrong",
    [
        _changed(alg="PS256"),
        _changed(alg="none"),
        _changed(use="enc"),
        _changed(key_ops=["encrypt"]),
        _changed(key_ops="verify"),
        _changed(kty="oct", k="c2VjcmV0"),
        _changed(kty="EC"),
        _changed(kty=...),
        _changed(kid=...),
        _changed(kid=""),
        _changed(kid=7),
        _changed(kid="k" * 300),
        _changed(n=...),
        _changed(n="AAAA"),
        _changed(n=7),
        _changed(e="AA"),
        SMALL.public,
        "rsa",
        None,
        [],
    ],
    ids=lambda value: " ".join(sorted(value)) if isinstance(value, dict) else repr(value),
)
def test_a_key_that_does_not_fit_is_passed_over_and_its_neighbour_taken(wrong: Any) -> None:
    neighbour = {**RSA.public, "kid": "neighbour"}
    assert set(usable({"keys": [wrong, neighbour]}, "RS256")) == {"neighbour"}


def test_a_name_that_two_keys_share_names_neither() -> None:
    assert usable({"keys": [RSA.public, {**Key("RS256").public, "kid": "rsa"}]}, "RS256") == {}


def test_a_curve_that_does_not_fit_is_passed_over() -> None:
    public = {"kty": "EC", "crv": "P-384", "kid": "p384"}
    public |= {"x": b64(P384.x.to_bytes(48, "big")), "y": b64(P384.y.to_bytes(48, "big"))}
    assert usable({"keys": [public]}, "ES256") == {}


@pytest.mark.parametrize("document", [None, [], "keys", {}, {"keys": None}, {"keys": {}}], ids=str)
def test_what_is_no_set_of_keys_is_said_so(document: Any) -> None:
    with pytest.raises(jwks.UnavailableError):
        usable(document, "RS256")
