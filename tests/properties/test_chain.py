"""Whatever one change is made to a log's bytes or to the order of its records, verify finds it."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from fsserver.audit.chain import START, ChainError, follow, unseal
from fsserver.audit.entry import Entry
from fsserver.audit.record import canonical, parse, parse_at_sight, summarise
from fsserver.audit.signing import PublicKey, Signer
from fsserver.audit.verify import Status, verify
from tests.audit_logs import CALL, open_file, seal, signed

SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(st.characters())
PLAIN = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))
ANYTHING = st.recursive(
    SCALARS | st.floats() | st.integers() | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@cache
def log() -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        written = open_file(Path(directory) / "audit/log.jsonl")
        for call in range(4):
            written.append("call.outcome", {**CALL, "call": call, "text": 'a\n"}\u2028'})
        written.close()
        return Path(written.path).read_bytes()


KEY = Signer(Ed25519PrivateKey.from_private_bytes(bytes(32)))
SIGNED = b"".join(signed(KEY))


def status(content: bytes, *keys: PublicKey) -> Status:
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        return verify(file.name, keys=keys).status


def test_untouched_log_is_whole() -> None:
    assert status(log()) is Status.WHOLE


@given(place=st.integers(0, len(log()) - 1), value=st.integers(0, 255))
@settings(max_examples=400)
def test_any_changed_byte_is_found(place: int, value: int) -> None:
    changed = log()[:place] + bytes([value]) + log()[place + 1 :]
    assert (status(changed) is Status.WHOLE) == (changed == log())


@given(place=st.integers(0, len(log())), inserted=st.binary(min_size=1, max_size=4))
@settings(max_examples=300)
def test_any_inserted_bytes_are_found(place: int, inserted: bytes) -> None:
    assert status(log()[:place] + inserted + log()[place:]) is not Status.WHOLE


@given(first=st.integers(0, len(log())), last=st.integers(0, len(log())))
@settings(max_examples=300)
def test_any_removed_bytes_are_found_unless_they_are_whole_records_at_the_end(first: int, last: int) -> None:
    removed = log()[:first] + log()[max(first, last) :]
    tail_only = last >= len(log()) and removed.endswith(b"\n")
    assert (status(removed) is Status.WHOLE) == (removed == log() or tail_only)


@given(order=st.permutations(range(log().count(b"\n"))))
def test_any_other_order_is_found(order: list[int]) -> None:
    lines = log().splitlines(keepends=True)
    assert (status(b"".join(lines[index] for index in order)) is Status.WHOLE) == (order == sorted(order))


@given(picked=st.lists(st.integers(0, log().count(b"\n") - 1), min_size=1, max_size=10))
def test_any_selection_of_its_records_is_found_unless_it_is_a_beginning(picked: list[int]) -> None:
    lines = log().splitlines(keepends=True)
    whole = status(b"".join(lines[index] for index in picked)) is Status.WHOLE
    assert whole == (picked == list(range(len(picked))))


@given(place=st.integers(0, len(SIGNED) - 1), length=st.integers(0, 3), put=st.binary(max_size=3))
@settings(max_examples=400)
def test_any_changed_inserted_or_removed_bytes_of_a_signed_log_are_found(place: int, length: int, put: bytes) -> None:
    changed = SIGNED[:place] + put + SIGNED[place + length :]
    for keys in ((), (KEY.public,)):
        assert (status(changed, *keys) is Status.WHOLE) == (changed == SIGNED)


@given(picked=st.lists(st.integers(0, SIGNED.count(b"\n") - 1), min_size=1, max_size=14) | st.permutations(range(12)))
def test_any_other_order_or_selection_of_a_signed_log_is_found_unless_it_is_a_beginning(picked: list[int]) -> None:
    lines = SIGNED.splitlines(keepends=True)
    selected = b"".join(lines[index] for index in picked)
    beginning = picked == list(range(len(picked)))
    assert (status(selected) is Status.WHOLE) == beginning
    assert (status(selected, KEY.public) is Status.WHOLE) == (beginning and len(picked) > 4)


@given(fields=st.dictionaries(st.text().filter(lambda key: key != "hash"), PLAIN, max_size=4))
def test_whatever_is_sealed_is_unsealed_as_the_same_bytes(fields: dict[str, Any]) -> None:
    record = {**fields, "v": 1, "seq": 1, "event": "run.start", "prev": START.head}
    line, position = seal(record)
    assert line.count(b"\n") == 1
    assert line.isascii()
    assert follow(unseal(line), START) == position
    assert seal({key: value for key, value in unseal(line).items() if key != "hash"}) == (line, position)


@given(line=st.binary(max_size=200))
def test_any_bytes_are_refused_without_a_crash(line: bytes) -> None:
    try:
        unseal(line)
    except ChainError:
        return
    raise AssertionError("random bytes are no record")


# What JSON is made of, and what is special in it: a random change by these often is JSON again.
PIECES = st.sampled_from(
    [
        *'{}[],:"\\ \t\r\n/-.0189aeunt\x00\x1f\x7f',
        '"a"',
        ",-0",
        ":-0",
        "\\u",
        "\\u002e",
        "\\u00fc",
        "\\u000a",
        "\\u000B",
        "\\\\",
        "null",
        "e1",
        " :",
        ": ",
    ]
)


@given(data=st.data(), record=st.dictionaries(st.text(max_size=3), PLAIN, max_size=4), changes=st.integers(0, 3))
@settings(max_examples=500)
def test_whatever_is_taken_at_sight_is_canonical(data: st.DataObject, record: dict[str, Any], changes: int) -> None:
    text = canonical(record)
    for _ in range(changes):
        place = data.draw(st.integers(0, len(text)))
        text = text[:place] + data.draw(PIECES) + text[place + data.draw(st.integers(0, 2)) :]
    taken = parse_at_sight(text.encode() + b"\n")
    assert taken is None or (canonical(taken), taken) == (text, parse(text))


@given(record=st.dictionaries(st.text("abc d/._", min_size=1), st.integers() | st.text("abc d/._-"), max_size=4))
def test_what_most_records_are_made_of_is_taken_at_sight(record: dict[str, Any]) -> None:
    assert parse_at_sight(canonical(record).encode() + b"\n") == record


@given(arguments=st.dictionaries(st.text(), ANYTHING, max_size=4))
def test_summary_of_any_arguments_is_a_plain_record(arguments: dict[str, Any]) -> None:
    shown = parse(summarise(arguments, {"content"}).text)
    assert summarise(arguments, {"content"}).text == canonical(shown)
    Entry("x", {"arguments": shown})
