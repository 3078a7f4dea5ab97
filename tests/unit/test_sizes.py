"""Sizes and the order of names, as the reference prints them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fsserver.tools.text.sizes import collation_key, format_size, pad_end

SORTED: list[str] = json.loads((Path(__file__).parents[1] / "data/jsdiff.json").read_text("utf-8"))["sorted"]


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (-1, "0 B"),
        (0, "0 B"),
        (1, "1 B"),
        (1023, "1023 B"),
        (1024, "1.00 KB"),
        (1152, "1.13 KB"),  # 1.125 exactly: JavaScript rounds up
        (1024**2 - 1, "1024.00 KB"),
        (1024**2, "1.00 MB"),
        (1024**4, "1.00 TB"),
        (1024**5, "1024.00 TB"),
    ],
)
def test_size_reads_as_the_references(size: int, text: str) -> None:
    assert format_size(size) == text


def test_ascii_names_sort_as_locale_compare() -> None:
    assert sorted(SORTED, key=collation_key) == SORTED


def test_accents_sort_beside_their_letter() -> None:
    assert sorted(["z", "é", "e", "f", "É", "E"], key=collation_key) == ["e", "E", "é", "É", "f", "z"]


def test_padding_counts_utf16_units() -> None:
    assert pad_end("a", 3) == "a  "
    assert pad_end("\U0001f600", 3) == "\U0001f600 "
