"""Lines that a search found, from the messages of ``rg --json`` to text. Pure.

The messages are described in the documentation of the crate grep-printer, ``JSON``.
"""

from __future__ import annotations

import base64
import json
import os
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

LINE_CHARACTERS: Final = 400
"""Of a longer line a part is shown, around its first match."""

BEFORE: Final = 100
"""Of these characters so many stand before the match."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line to be shown.

    Attributes:
        path: relative to where the search began, as `os.fsdecode` has it.
        number: from 1.
        column: where its first match begins, in characters from 1, or in bytes where a message does not hold the line
            up to there; 0 for a line around a match.
    """

    path: str
    number: int
    text: str
    column: int = 0

    @property
    def matched(self) -> bool:
        return self.column > 0

    def shown(self, path: str) -> str:
        """As grep shows lines: ``path:number:column:text``, and ``path-number-text`` around matches."""
        if not self.matched:
            return f"{path}-{self.number}-{self.text}"
        return f"{path}:{self.number}:{self.column}:{self.text}"


def path_of(message: Mapping[str, Any]) -> str | None:
    """The file that a message is about; None for the last message, which is about none."""
    path = message["data"].get("path")
    return None if path is None else os.fsdecode(_bytes(path)).removeprefix("./")


def parse(message: bytes) -> Mapping[str, Any]:
    """One message. Raises ``ValueError``."""
    parsed: Mapping[str, Any] = json.loads(message.decode("utf-8", "replace"))
    return parsed


def lines_of(message: Mapping[str, Any]) -> Iterator[Line]:
    """The lines of a message of the types ``match`` and ``context``; a match that spans lines has several. The last one
    of a message that does not hold its match whole ends in an ellipsis.
    """
    data = message["data"]
    path, number = path_of(message) or "", data["line_number"]
    raw = _bytes(data["lines"])
    if message["type"] != "match":
        yield Line(path, number, _windowed(_text(raw.removesuffix(b"\n").removesuffix(b"\r")), 0))
        return
    starts = [each["start"] for each in data["submatches"] if "start" in each]
    if starts and starts[0] > len(raw):  # the line was cut before it: what matched is all there is to show
        found = _text(_bytes(data["submatches"][0]["match"]))
        yield Line(path, number, f"…{_windowed(found, 0)}…", starts[0] + 1)
        return
    offset = 0
    lines = raw.removesuffix(b"\n").split(b"\n")
    cut = any(each.get("end", 0) > len(raw) for each in data["submatches"])
    for count, line in enumerate(lines):
        first = bisect_left(starts, offset)
        begin = starts[first] - offset if first < len(starts) and starts[first] <= offset + len(line) else 0
        column = len(_text(line[:begin])) + 1
        text = _windowed(_text(line.removesuffix(b"\r")), column)
        last = count + 1 == len(lines)
        yield Line(path, number + count, f"{text.removesuffix('…')}…" if cut and last else text, column)
        offset += len(line) + 1


def leaves_out(message: Mapping[str, Any]) -> bool:
    """Whether matches of the message are in none of its lines, since it was cut before them: those that share lines
    with the one before them come in one message.
    """
    data = message["data"]
    submatches = data.get("submatches", [])
    return len(submatches) > 1 and submatches[-1].get("start", 0) > len(_bytes(data["lines"])) >= submatches[0]["start"]


def _windowed(text: str, column: int) -> str:
    """The text, or the part of it that is around the match."""
    if len(text) <= LINE_CHARACTERS:
        return text
    begin = max(0, min(column - 1 - BEFORE, len(text) - LINE_CHARACTERS))
    end = begin + LINE_CHARACTERS
    return f"{'…' if begin else ''}{text[begin:end]}{'…' if end < len(text) else ''}"


def _text(line: bytes) -> str:
    return line.decode("utf-8", "backslashreplace")


def _bytes(value: Mapping[str, str]) -> bytes:
    """Text that is UTF-8 stands as it is in a message, other bytes in base64."""
    if "text" in value:
        return value["text"].encode("utf-8", "replace")
    encoded = value["bytes"]
    return base64.b64decode(encoded[: len(encoded) // 4 * 4])
