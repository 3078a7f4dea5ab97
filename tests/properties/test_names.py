"""What is done for a directory's names together is what would be done for each."""

from __future__ import annotations

import os
import unicodedata

from hypothesis import example, given
from hypothesis import strategies as st

from fsserver.paths.names import display, displayed, sorts_as_bytes, undisplay

PIECES = st.sampled_from([b"a", b"B", b"\\", b"x", b"5c", b"\\x41", b"\n", b"\x7f", b"\xff", b"\x80", "é".encode()])
WIDE = st.sampled_from(["\u00a0", "\u200b", "\uffff", "😀", "\ue000"]).map(str.encode)
TURNING = st.sampled_from("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069").map(str.encode)
# The bytes of such a character, so that they also come apart and together again.
PARTS = st.sampled_from([b"\xe2", b"\x80", b"\x81", b"\xae", b"\xa6", b"\xd8", b"\x9c", b"\\xe2", b"\\x80\\xae"])
NAMES = st.lists(
    st.lists(PIECES | WIDE | TURNING | PARTS, min_size=1, max_size=6).map(lambda pieces: os.fsdecode(b"".join(pieces)))
)

TURNS = {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}
MARKS = set("\u061c\u200e\u200f")


@given(NAMES)
@example(["\\", "x5c"])
def test_names_shown_together_are_shown_as_each_alone(names: list[str]) -> None:
    assert list(displayed(names)) == [display(name) for name in names]
    assert [undisplay(shown) for shown in displayed(names)] == names


@given(NAMES)
@example(["gpj.\u202etxt", "\u2066a\u2069", "\u061c"])
def test_no_shown_name_turns_the_direction_of_writing(names: list[str]) -> None:
    for shown in displayed(names):
        assert not {unicodedata.bidirectional(character) for character in shown} & TURNS
        assert not MARKS & set(shown)


@given(NAMES)
@example([os.fsdecode(b"\xff"), "\uffff"])
def test_names_that_sort_as_bytes_do(names: list[str]) -> None:
    if sorts_as_bytes(names):
        assert sorted(names) == sorted(names, key=os.fsencode)
    else:
        assert any("\udc80" <= character <= "\udcff" for name in names for character in name)
