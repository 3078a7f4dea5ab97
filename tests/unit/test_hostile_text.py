"""What a program wrote, as text: nothing acts on whoever reads it, and cuts count exactly what they leave out."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsserver.tools.text.hostile import beginning, end, neutralised, whole_characters

# What acts on a terminal or turns text around, but line feed and tab.
ACTS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

MIXED = st.lists(
    st.one_of(st.binary(max_size=8), st.text(max_size=8).map(lambda text: text.encode("utf-8", "surrogatepass"))),
    max_size=20,
).map(b"".join)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"plain\ttext\n", "plain\ttext\n"),
        ("größe ✓ 日本".encode(), "größe ✓ 日本"),
        (b"\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        (b"\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        (b"10%\r20%\r\n", "10%\\x0d20%\\x0d\n"),
        (b"a\x00b", "a\\x00b"),
        (b"abc\x08\x08\x08xyz", "abc\\x08\\x08\\x08xyz"),
        (b"\x7f", "\\x7f"),
        ("\u009b31m".encode(), "\\xc2\\x9b31m"),
        ("\u202egnp.exe".encode(), "\\xe2\\x80\\xaegnp.exe"),
        ("\u2066a\u2069".encode(), "\\xe2\\x81\\xa6a\\xe2\\x81\\xa9"),
        (b"caf\xe9", "caf\\xe9"),
        (b"\xff\xfe", "\\xff\\xfe"),
        (b"\xed\xa0\x80", "\\xed\\xa0\\x80"),
        (b"\xe2\x82", "\\xe2\\x82"),
        (b"C:\\x41", "C:\\x41"),
    ],
    ids=[
        "plain",
        "letters",
        "colour",
        "title",
        "carriage return",
        "NUL",
        "backspace",
        "delete",
        "C1",
        "override",
        "isolate",
        "Latin-1",
        "no UTF-8",
        "half a pair",
        "unfinished",
        "backslash",
    ],
)
def test_what_acts_is_spelt_out_and_the_rest_stays(data: bytes, text: str) -> None:
    assert neutralised(data) == text


@given(data=MIXED)
def test_nothing_that_acts_is_left(data: bytes) -> None:
    text = neutralised(data)
    assert not ACTS.search(text)
    assert len(text.encode("utf-8")) <= 4 * len(data)


@given(data=MIXED, budget=st.integers(0, 60))
def test_a_part_fits_and_says_how_much_it_is_of(data: bytes, budget: int) -> None:
    first, length = beginning(data, budget)
    assert first == neutralised(data[:length])
    last, length = end(data, budget)
    assert last == neutralised(data[len(data) - length :])
    assert max(len(first.encode("utf-8")), len(last.encode("utf-8"))) <= budget


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=30), budget=st.integers(0, 60))
def test_no_part_of_good_text_is_cut_inside_a_character(text: str, budget: int) -> None:
    data = text.encode("utf-8")
    _, length = beginning(data, budget)
    assert text.startswith(data[:length].decode("utf-8"))
    _, length = end(data, budget)
    assert text.endswith(data[len(data) - length :].decode("utf-8"))


@given(data=MIXED)
def test_a_part_as_large_as_the_whole_leaves_nothing_out(data: bytes) -> None:
    assert beginning(data, 4 * len(data))[1] == end(data, 4 * len(data))[1] == len(data)


@pytest.mark.parametrize(
    ("data", "whole"),
    [
        (b"abc", 3),
        ("ab✓".encode(), 5),
        ("ab✓".encode()[:4], 2),
        ("ab✓".encode()[:3], 2),
        ("\U0001f600".encode()[:3], 0),
        (b"\x80\x80\x80\x80\x80", 5),
        (b"", 0),
        (b"ab\xff", 2),
    ],
    ids=["ASCII", "whole", "two of three", "one of three", "three of four", "no character", "nothing", "no start"],
)
def test_a_character_that_may_go_on_is_held_back(data: bytes, whole: int) -> None:
    assert whole_characters(data, len(data)) == whole
