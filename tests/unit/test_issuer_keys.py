"""The keys of an issuer: how often it is asked, and what holds while it cannot be."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

from fsserver.policy.service import OAuthRules
from fsserver.transport.auth import issuer_keys
from fsserver.transport.auth.failures import KeysUnavailable
from fsserver.transport.auth.issuer_keys import FRESH_S, KEPT_S, PAUSE_S, RETRY_S, IssuerKeys
from fsserver.transport.auth.keys import MAX_KEYS, read_keys
from fsserver.trust import client_context
from tests.issuer import Answer, FakeIssuer, ec_key, ed_key, fake_issuer, jwk, rsa_key

T = TypeVar("T")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def keys_of(rules: OAuthRules, clock: Clock) -> IssuerKeys:
    return IssuerKeys(rules, client_context(), clock=clock)


def run(test: Callable[[FakeIssuer, Clock, IssuerKeys], Coroutine[Any, Any, T]]) -> T:
    """A test in an event loop, with an issuer, a clock of its own, and nothing asked for yet."""
    with fake_issuer() as issuer:
        clock = Clock()
        return asyncio.run(test(issuer, clock, keys_of(issuer.rules(), clock)))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.002)


async def found(keys: IssuerKeys, kid: str | None = "first") -> bool:
    return bool(await keys.find(kid, "RS256"))


def break_down(issuer: FakeIssuer) -> None:
    issuer.answers["/jwks"] = Answer(status=503)


def test_many_requests_at_once_ask_the_issuer_once() -> None:
    async def test(issuer: FakeIssuer, clock: Clock, keys: IssuerKeys) -> None:
        assert all(await asyncio.gather(*(found(keys) for _ in range(50))))
        assert issuer.asked == ["/jwks"]

    run(test)


def test_flood_of_unknown_key_ids_asks_the_issuer_once_in_a_while() -> None:
    async def test(issuer: FakeIssuer, clock: Clock, keys: IssuerKeys) -> None:
        for part in range(3):
            for number in range(200):
                assert not await found(keys, f"made-up-{part}-{number}")
            await asyncio.gather(*(found(keys, f"at-once-{number}") for number in range(50)))
            assert len(issuer.asked) == part + 1
            assert await found(keys)
            clock.now += PAUSE_S

    run(test)


def test_flood_while_the_issuer_is_down_asks_it_once_in_a_while() -> None:
    async def test(issuer: FakeIssuer, clock: Clock, keys: IssuerKeys) -> None:
        break_down(issuer)
        for part in range(3):
            for _ in range(50):
                with pytest.raises(KeysUnavailable) as unavailable:
                    await found(keys)
                assert 1 <= unavailable.value.retry_after_s <= RETRY_S
            assert len(issuer.asked) == part + 1
            clock.now += RETRY_S

    run(test)


def test_new_key_is_found_when_it_is_first_used() -> None:
    async def test(issuer: FakeIssuer, clock: Clock, keys: IssuerKeys) -> None:
        assert await found(keys)
        issuer.list_keys(jwk(rsa_key()), jwk(rsa_key(1), "second"))
        assert not await found(keys, "second")
        clock.now += PAUSE_S
        assert await found(keys, "second")

    run(test)


def test_withdrawn_key_is_refused_when_the_keys_are_no_longer_fresh() -> None:
    async def test(issuer: FakeIssuer, clock: Clock, keys: IssuerKeys) -> None:
        assert await found(keys)
        issuer.list_keys(jwk(rsa_key(1), "second"))
        clock.now += FRESH_S - 1
        assert await found(keys)
        clock.now += 1
        assert not await found(keys)
        assert await found(keys, "second")

    run(test)


def test_keys_stay_in_use_while_the_issuer_is_down_and_not_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    async def test(issuer: FakeIssuer, clock: Clock, keys: IssuerKeys) -> None:
        assert await found(keys)
        break_down(issuer)
        clock.now += FRESH_S
        assert await found(keys)
        assert keys.status()[0]
        assert "cannot be renewed" in keys.status()[1]
        clock.now += KEPT_S - FRESH_S - 1
        assert await found(keys)
        clock.now += 1
        assert not keys.status()[0]
        with pytest.raises(KeysUnavailable):
            await found(keys)
        issuer.list_keys(jwk(rsa_key()))
        clock.now += RETRY_S
        assert await found(keys)
        assert keys.status()[0]

    run(test)
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(told) == 2, "once when it begins and once when it ends"
    assert "answered 503" in told[0]
    assert "again" in told[1]


def test_nobody_waits_for_an_issuer_that_is_known_to_be_down() -> None:
    release = threading.Event()

    def hang() -> Answer:
        release.wait(10)
        return Answer(status=503)

    async def test(issuer: FakeIssuer, clock: Clock, keys: IssuerKeys) -> None:
        assert await found(keys)
        break_down(issuer)
        clock.now += FRESH_S
        assert await found(keys)
        issuer.answers["/jwks"] = hang
        clock.now += RETRY_S
        async with asyncio.timeout(5):
            assert all([await found(keys) for _ in range(10)])
        await until(lambda: len(issuer.asked) == 3)
        release.set()

    run(test)


def test_caller_who_leaves_does_not_stop_what_others_wait_for() -> None:
    release = threading.Event()

    def slow() -> Answer:
        release.wait(10)
        return Answer({"keys": [jwk(rsa_key())]})

    async def test(issuer: FakeIssuer, clock: Clock, keys: IssuerKeys) -> None:
        issuer.answers["/jwks"] = slow
        first, second = (asyncio.create_task(found(keys)) for _ in range(2))
        await until(lambda: len(issuer.asked) == 1)
        first.cancel()
        await asyncio.wait([first])
        release.set()
        assert await second
        assert issuer.asked == ["/jwks"]

    run(test)


def test_keys_are_renewed_without_anybody_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FRESH_S", "PAUSE_S", "RETRY_S"):
        monkeypatch.setattr(issuer_keys, name, 0.01)

    async def test() -> None:
        with fake_issuer() as issuer:
            keys = IssuerKeys(issuer.rules(), client_context())
            assert keys.status() == (False, f"There are no keys of {issuer.url}: not asked for yet.")
            break_down(issuer)
            renewing = asyncio.create_task(keys.keep_fresh())
            await until(lambda: len(issuer.asked) >= 2)
            assert not keys.status()[0]
            issuer.list_keys(jwk(rsa_key()))
            await until(lambda: keys.status()[0])
            asked = len(issuer.asked)
            await until(lambda: len(issuer.asked) >= asked + 3)
            renewing.cancel()
            await asyncio.wait([renewing])

    asyncio.run(test())


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer({"keys": []}), id="no key"),
        pytest.param(Answer({}), id="no keys"),
        pytest.param(Answer({"keys": "x"}), id="no list"),
        pytest.param(Answer([jwk(rsa_key())]), id="no object"),
        pytest.param(Answer(b"<html>"), id="no JSON"),
        pytest.param(Answer(b"[" * 100_000), id="deep JSON"),
        pytest.param(Answer({"keys": [jwk(rsa_key())]}, status=404), id="not found"),
        pytest.param(Answer({"keys": [jwk(rsa_key())]}, status=201), id="another success"),
        pytest.param(Answer(status=307, headers={"Location": "/jwks"}), id="redirect to itself"),
        pytest.param(Answer({"keys": [jwk(rsa_key())], "x": "x" * 600_000}), id="too large"),
    ],
)
def test_unusable_answer_leaves_the_keys_that_there_are(answer: Answer) -> None:
    async def test(issuer: FakeIssuer, clock: Clock, keys: IssuerKeys) -> None:
        assert await found(keys)
        issuer.answers["/jwks"] = answer
        clock.now += FRESH_S
        assert await found(keys)
        assert len(issuer.asked) == 2
        assert "cannot be renewed" in keys.status()[1]

    run(test)


# --- What is a key.


@pytest.mark.parametrize(
    "unusable",
    [
        pytest.param(jwk(rsa_key(), use="enc"), id="for encryption"),
        pytest.param(jwk(rsa_key(), key_ops=["encrypt"]), id="for another operation"),
        pytest.param(jwk(rsa_key(), key_ops="verify"), id="operations in no list"),
        pytest.param(jwk(rsa_key(), alg="RSA-OAEP"), id="for another algorithm"),
        pytest.param(jwk(rsa_key(), alg="RS384"), id="for an algorithm that is not listed"),
        pytest.param(jwk(rsa_key(), alg=["RS256"]), id="algorithm in a list"),
        pytest.param(jwk(rsa_key(0, 1024)), id="too short"),
        pytest.param({**jwk(rsa_key()), "kid": 7}, id="id that is a number"),
        pytest.param({"kty": "oct", "k": "c2VjcmV0", "kid": "first"}, id="symmetric"),
        pytest.param({"kty": "oct", "k": "c2VjcmV0", "alg": "RS256"}, id="symmetric, called RSA"),
        pytest.param(jwk(rsa_key(), d="AQAB"), id="private"),
        pytest.param({**jwk(ec_key()), "crv": "P-384"}, id="curve that is not listed"),
        pytest.param({**jwk(ec_key()), "x": "AA"}, id="point that is none"),
        pytest.param({**jwk(ec_key()), "x": jwk(ec_key(1))["x"]}, id="point beside the curve"),
        pytest.param({**jwk(rsa_key()), "n": "***"}, id="number that is none"),
        pytest.param({"kty": "RSA"}, id="empty"),
        pytest.param({"kty": ["RSA"]}, id="type in a list"),
        pytest.param(jwk(ed_key(), crv="X25519"), id="key for an exchange"),
        pytest.param("x", id="no object"),
    ],
)
def test_key_that_cannot_be_used_is_left_out(unusable: Any) -> None:
    listed = ("RS256", "ES256", "EdDSA")
    with pytest.raises(ValueError, match="no usable key"):
        read_keys({"keys": [unusable]}, listed)
    usable = read_keys({"keys": [unusable, jwk(ec_key(), "good")]}, listed)
    assert [(key.id, set(key.algorithms)) for key in usable] == [("good", {"ES256"})]


def test_key_is_for_its_own_algorithm_or_for_all_that_fit() -> None:
    keys = [jwk(rsa_key(), "any"), jwk(rsa_key(), "one", alg="PS256"), jwk(ec_key(), None), jwk(ed_key(), "ed")]
    read = read_keys({"keys": keys}, ("RS256", "PS256", "ES256", "ES384", "EdDSA"))
    assert [(key.id, set(key.algorithms)) for key in read] == [
        ("any", {"RS256", "PS256"}),
        ("one", {"PS256"}),
        (None, {"ES256"}),
        ("ed", {"EdDSA"}),
    ]


def test_set_of_too_many_keys_is_refused() -> None:
    with pytest.raises(ValueError, match="no set of keys"):
        read_keys({"keys": [jwk(ec_key(), str(number)) for number in range(MAX_KEYS + 1)]}, ("ES256",))
