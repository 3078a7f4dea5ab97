"""What is done for a directory's names together is what would be done for each."""

from __future__ import annotations

import os

from hypothesis import example, given
from hypothesis import strategies as st

from fsserver.paths.names import display, displayed, sorts_as_bytes, undisplay

PIECES = st.sampled_from([b"a", b"B", b"\\", b"x", b"5c", b"\\x41", b"\n", b"\x7f", b"\xff", b"\x80", "é".encode()])
WIDE = st.sampled_from(["\u00a0", "\u200b", "\uffff", "😀", "\ue000"]).map(str.encode)
NAMES = st.lists(st.lists(PIECES | WIDE, min_size=1, max_size=6).map(lambda pieces: os.fsdecode(b"".join(pieces))))


@given(NAMES)
@example(["\\", "x5c"])
def test_names_shown_together_are_shown_as_each_alone(names: list[str]) -> None:
    assert list(displayed(names)) == [display(name) for name in names]
    assert [undisplay(shown) for shown in displayed(names)] == names


@given(NAMES)
@example([os.fsdecode(b"\xff"), "\uffff"])
def test_names_that_sort_as_bytes_do(names: list[str]) -> None:
    if sorts_as_bytes(names):
        assert sorted(names) == sorted(names, key=os.fsencode)
    else:
        assert any("\udc80" <= character <= "\udcff" for name in names for character in name)
