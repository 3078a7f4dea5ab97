"""The one form of a record, and what of a call's arguments goes into it."""

from __future__ import annotations

import hashlib
import math
from enum import StrEnum

import pytest

from fsserver.audit.entry import Entry, UnfitRecordError
from fsserver.audit.record import canonical, content, parse, summarise


class Colour(StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param({"b": 1, "a": 2}, '{"a":2,"b":1}', id="keys are sorted"),
        pytest.param({"a": {"z": [], "b": None}}, '{"a":{"b":null,"z":[]}}', id="inner keys too"),
        pytest.param({"a": "x\ny"}, '{"a":"x\\ny"}', id="newline stays inside the line"),
        pytest.param({"a": "\u2028\u2029"}, '{"a":"\\u2028\\u2029"}', id="other line ends are escaped"),
        pytest.param({"a": "caf\udce9"}, '{"a":"caf\\udce9"}', id="file name that is not UTF-8"),
        pytest.param({"a": "\u202e\x1b[2J"}, '{"a":"\\u202e\\u001b[2J"}', id="nothing acts on a terminal"),
        pytest.param({"a": "😀"}, '{"a":"\\ud83d\\ude00"}', id="outside the basic plane"),
        pytest.param({"a": Colour.RED}, '{"a":"red"}', id="string enumeration"),
    ],
)
def test_canonical_form(value: dict[str, object], text: str) -> None:
    assert canonical(value) == text
    assert canonical(parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "1",
        '"x"',
        "",
        "{",
        '{"a":1.5}',
        '{"a":1e3}',
        '{"a":NaN}',
        '{"a":-Infinity}',
        '{"a":' * 100000,
        '{"a":' + "9" * 5000 + "}",
    ],
    ids=lambda text: text[:12] or "empty",
)
def test_what_is_no_record_is_refused_by_parse(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse(text)


NESTED: list[object] = []
for _ in range(20):
    NESTED = [NESTED]


@pytest.mark.parametrize(
    "value",
    [1.0, math.nan, b"x", {1: 2}, {"a": {True: 1}}, 2**64, -(2**63) - 1, object(), [set()], NESTED],
    ids=lambda value: repr(value).split(" object")[0],
)
def test_what_has_no_canonical_form_is_refused_before_it_is_written(value: object) -> None:
    with pytest.raises(UnfitRecordError):
        Entry("call.outcome", {"field": value})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    "value", [None, True, 2**64 - 1, -(2**63), "\udcff", (1, "a"), {"a": [{"b": None}]}, Colour.RED]
)
def test_plain_values_are_written_in_canonical_form(value: object) -> None:
    assert Entry("call.outcome", {"field": value}).texts == [canonical({"field": value})[9:-1]]  # type: ignore[dict-item]


def test_contents_become_hash_and_length_at_any_depth() -> None:
    arguments = {"path": "a", "content": "caf\u00e9", "edits": [{"oldText": "x", "newText": "y"}]}
    assert parse(summarise(arguments, {"content", "oldText", "newText"}).text) == {
        "path": "a",
        "content": {"bytes": 5, "sha256": hashlib.sha256("café".encode()).hexdigest()},
        "edits": [{"oldText": content("x"), "newText": content("y")}],
    }


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        pytest.param(1.5, {"number": "1.5"}, id="float"),
        pytest.param(math.inf, {"number": "inf"}, id="infinity"),
        pytest.param(2**64, {"number": "0x10000000000000000"}, id="long integer"),
        pytest.param(True, True, id="boolean"),
        pytest.param("\ud800", "\ud800", id="lone surrogate"),
        pytest.param("x" * 5000, {**content("x" * 5000), "start": "x" * 256}, id="long text"),
        pytest.param(list(range(70)), [*range(64), {"cut": 6}], id="long list"),
        pytest.param([[[[[1]]]]], [[[[{"cut": "list"}]]]], id="deep"),
        pytest.param(b"x", {"cut": "bytes"}, id="no JSON at all"),
    ],
)
def test_odd_arguments_are_shown_as(value: object, shown: object) -> None:
    summary = summarise({"a": value}, ())
    assert summary.text == canonical({"a": shown})


HUGE = {
    "wide": {str(number): number for number in range(100_000)},
    "deep and wide": [[[["x"] * 500] * 500] * 500] * 500,
    "many empty": [[[""] * 64] * 64] * 64,
    "many long": ["y" * 4000] * 64,
    "many over-long": ["y" * 10_000] * 64,
    "long keys": {"k" * 10_000 + str(number): 1 for number in range(64)},
    "escapes": ["\x00" * 4096] * 64,
}


@pytest.mark.parametrize("value", HUGE.values(), ids=HUGE)
def test_summary_of_anything_is_bounded(value: object) -> None:
    summary = summarise({"a": value}, ())
    assert canonical(parse(summary.text)) == summary.text
    assert len(summary.text) < 512 * 1024
