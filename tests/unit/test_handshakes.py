"""Session ids that hold what was agreed: whose they are, how long, and that nobody else makes them."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsserver.server.handshakes import MAX_ENDED, MAX_ID, Handshakes, Hello

KEY = bytes(range(32))
CAPABILITIES = {"elicitation": {"form": {}}, "roots": {"listChanged": True}, "sampling": {}}


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def hello(**changed: object) -> Hello:
    given = {"protocol": "2025-11-25", "name": "client", "version": "1", "capabilities": CAPABILITIES}
    return Hello.new(**(given | changed))  # type: ignore[arg-type]


def test_any_replica_with_the_key_reads_what_another_agreed() -> None:
    agreed = hello()
    identifier = Handshakes(KEY, 60).seal(agreed, "token:ci")
    assert Handshakes(KEY, 60).read(identifier, "token:ci") == agreed
    assert agreed.capabilities == CAPABILITIES


def test_two_handshakes_are_two_sessions() -> None:
    assert hello().id != hello().id


def test_it_is_of_no_use_to_another_principal() -> None:
    identifier = Handshakes(KEY, 60).seal(hello(), "token:a")
    assert Handshakes(KEY, 60).read(identifier, "token:b") is None


def test_it_is_of_no_use_under_another_key() -> None:
    identifier = Handshakes(KEY, 60).seal(hello(), "token:a")
    assert Handshakes(bytes(32), 60).read(identifier, "token:a") is None


def test_it_ends() -> None:
    clock = Clock()
    handshakes = Handshakes(KEY, 60, clock=clock)
    identifier = handshakes.seal(hello(), "token:a")
    clock.now += 60
    assert handshakes.read(identifier, "token:a") is not None
    clock.now += 1
    assert handshakes.read(identifier, "token:a") is None


def test_its_client_ends_it_for_itself_only() -> None:
    handshakes = Handshakes(KEY, 60)
    ended, other = hello(), hello()
    identifiers = [handshakes.seal(each, "token:ci") for each in (ended, other)]
    handshakes.end(ended, "token:elsewhere")
    assert handshakes.read(identifiers[0], "token:ci") == ended
    handshakes.end(ended, "token:ci")
    assert [handshakes.read(each, "token:ci") for each in identifiers] == [None, other]


def test_what_was_ended_last_is_remembered() -> None:
    handshakes = Handshakes(KEY, 60)
    agreed = [hello() for _ in range(MAX_ENDED + 1)]
    for each in agreed:
        handshakes.end(each, "token:ci")
    known = [handshakes.read(handshakes.seal(each, "token:ci"), "token:ci") is not None for each in agreed]
    assert known == [True] + [False] * MAX_ENDED


def test_a_principal_cannot_be_moved_into_what_is_sealed() -> None:
    handshakes = Handshakes(KEY, 60)
    body, _, mac = handshakes.seal(hello(), "a").partition(".")
    assert handshakes.read(f"x{body}.{mac}", "") is None
    assert handshakes.read(f"{body[1:]}.{mac}", f"a{body[0]}") is None


@given(st.data())
def test_one_changed_letter_ends_it(data: st.DataObject) -> None:
    handshakes = Handshakes(KEY, 60)
    identifier = handshakes.seal(hello(), "token:a")
    place = data.draw(st.integers(0, len(identifier) - 1))
    letter = data.draw(st.sampled_from("abcdefXYZ0189.-_"))
    changed = identifier[:place] + letter + identifier[place + 1 :]
    assert (handshakes.read(changed, "token:a") is None) == (changed != identifier)


@given(st.text(max_size=200))
def test_no_other_text_is_a_session(text: str) -> None:
    assert Handshakes(KEY, 60).read(text, "token:a") is None


def test_what_is_too_long_is_not_looked_at() -> None:
    assert Handshakes(KEY, 60).read("a" * (MAX_ID + 1), "token:a") is None


@pytest.mark.parametrize("letter", ["ü", "😀", '"', "\x00"], ids=ascii)
def test_a_client_that_says_much_gets_an_id_that_fits_a_header(letter: str) -> None:
    much = {
        "elicitation": {"form": {"x" * 5000: 1}},
        "roots": {"listChanged": True},
        "sampling": {"tools": {"y": "z" * 5000}},
    }
    agreed = hello(name=letter * 5000, version=letter * 5000, capabilities={**much, "experimental": {"x": {}}})
    identifier = Handshakes(KEY, 60).seal(agreed, "p" * 500)
    assert len(identifier) <= MAX_ID
    assert identifier.isascii()
    assert not set(identifier) & set(' ,;"')
    read = Handshakes(KEY, 60).read(identifier, "p" * 500)
    assert read is not None
    assert read.capabilities == {"elicitation": {"form": {}}, "roots": {"listChanged": True}, "sampling": {"tools": {}}}


@pytest.mark.parametrize("said", [None, [], "yes", {"elicitation": []}, {"elicitation": {"form": None}}])
def test_odd_capabilities_are_none(said: object) -> None:
    agreed = hello(capabilities=said if isinstance(said, dict) else {})
    assert not any(agreed.capabilities.values())


def test_nothing_but_what_was_agreed_is_in_it() -> None:
    body = Handshakes(KEY, 60).seal(hello(), "token:secret").partition(".")[0]
    fields = json.loads(base64.urlsafe_b64decode(body))
    assert "secret" not in json.dumps(fields)
