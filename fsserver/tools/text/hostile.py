"""Bytes that a program wrote, as text that can be shown: what acts on a terminal or on a reader's eye is spelt out.

Line feeds and tabs stay. Every other control character, C1 included, the characters that turn the direction of writing
(UAX #9), and each byte that is not UTF-8 become ``\\xHH``, byte by byte. A backslash stays as it is: the text is for
reading and not to be turned back into bytes.
"""

from __future__ import annotations

import re
from typing import Final

_ACTS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\udc80-\udcff]+"
)

_PLAIN: Final = bytes([*b"\n\t", *range(0x20, 0x7F)])

_CONTINUATION: Final = bytes(range(0x80, 0xC0))

LONGEST_CHARACTER: Final = 4  # bytes of one in UTF-8


def neutralised(data: bytes) -> str:
    """All of ``data`` as text: valid Unicode, of at most four times as many bytes."""
    if not data.translate(None, _PLAIN):  # as most output; several times as fast
        return data.decode("ascii")
    return _ACTS.sub(_spelt_out, data.decode("utf-8", "surrogateescape"))


def _spelt_out(found: re.Match[str]) -> str:
    return "\\x" + found[0].encode("utf-8", "surrogateescape").hex(" ").replace(" ", "\\x")


def beginning(data: bytes, budget: int) -> tuple[str, int]:
    """As much from the start of ``data`` as has at most ``budget`` bytes of UTF-8 when neutralised, and how many bytes
    of ``data`` that is. It does not end inside a character.
    """
    length = min(len(data), budget)
    while True:
        if length < len(data):
            length = whole_characters(data, length)
        text = neutralised(data[:length])
        size = len(text.encode("utf-8"))
        if size <= budget:
            return text, length
        length = length * budget // size  # each time at least a quarter of what is too much goes


def end(data: bytes, budget: int) -> tuple[str, int]:
    """As `beginning`, from the end. It does not begin inside a character."""
    length = min(len(data), budget)
    while True:
        start = len(data) - length
        if start:
            inside = data[start : start + LONGEST_CHARACTER - 1]
            start += len(inside) - len(inside.lstrip(_CONTINUATION))
        text = neutralised(data[start:])
        size = len(text.encode("utf-8"))
        if size <= budget:
            return text, len(data) - start
        length = length * budget // size


def whole_characters(data: bytes, length: int) -> int:
    """``length``, or up to three less: without the start of a UTF-8 character that goes on, or would, behind it."""
    for back in range(1, min(LONGEST_CHARACTER, length + 1)):
        byte = data[length - back]
        if byte >= 0xC0:
            needed = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return length - back if needed > back else length
        if byte < 0x80:
            break
    return length
