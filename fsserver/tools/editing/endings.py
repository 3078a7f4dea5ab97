"""Line endings: texts are compared as if every line ended in LF, and written as the file has them. Pure."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from dataclasses import dataclass

from fsserver.tools.editing.spans import Splice


def with_lf(text: str) -> str:
    return text.replace("\r\n", "\n")


@dataclass(frozen=True, slots=True)
class Normal:
    """A text with LF endings, and the way back to the text it came from.

    Attributes:
        text: every CRLF is LF. A CR that stands alone is an ordinary character.
        pairs: positions in ``text`` of the line feeds that were CRLF, sorted.
    """

    original: str
    text: str
    pairs: array[int]

    @classmethod
    def of(cls, original: str) -> Normal:
        if "\r\n" not in original:
            return cls(original, original, array("q"))
        pairs = array("q")
        position = original.find("\r\n")
        while position >= 0:
            pairs.append(position - len(pairs))
            position = original.find("\r\n", position + 2)
        return cls(original, with_lf(original), pairs)

    def back(self, position: int) -> int:
        """Where in ``original`` this position of ``text`` is; a line feed that was CRLF begins at its CR."""
        return position + bisect_left(self.pairs, position)

    def splice(self, start: int, end: int, new: str) -> Splice:
        """The replacement of ``text[start:end]`` by ``new`` (LF endings), as a splice of ``original``.

        Lines that stay the same at either end are left alone, so that their endings stay too; the lines between
        take their endings from the lines they replace, then from the neighbours.
        """
        if not self.pairs:
            return Splice(start, end, new)
        old = self.text[start:end]
        skip, drop = _same_lines(old, new)
        start, end = start + skip, end - drop
        a, b = self.back(start), self.back(end)
        return Splice(a, b, self._ended(new[skip : len(new) - drop], a, b))

    def _ended(self, new: str, a: int, b: int) -> str:
        pieces = new.split("\n")
        if len(pieces) == 1:
            return new
        replaced = _endings(self.original[a:b])
        last = replaced[-1] if replaced else self._near(a, b)
        endings = replaced[: len(pieces) - 1] + [last] * (len(pieces) - 1 - len(replaced))
        return "".join(piece + ending for piece, ending in zip(pieces, [*endings, ""], strict=True))

    def _near(self, a: int, b: int) -> str:
        """The ending of the line that holds the place, else of the one before; there is one, or nothing to map."""
        following = self.original.find("\n", b)
        at = following if following >= 0 else self.original.rfind("\n", 0, a)
        return "\r\n" if at > 0 and self.original[at - 1] == "\r" else "\n"


def _endings(text: str) -> list[str]:
    """The ending of each line that has one."""
    pieces = text.split("\n")
    return ["\r\n" if piece.endswith("\r") else "\n" for piece in pieces[:-1]]


def _same_lines(old: str, new: str) -> tuple[int, int]:
    """Lengths of the whole lines that both begin with, and that both end with, without overlap."""
    before, after = old.split("\n"), new.split("\n")
    most = min(len(before), len(after)) - 1
    first = 0
    while first < most and before[first] == after[first]:
        first += 1
    last = 0
    while last < most - first and before[-1 - last] == after[-1 - last]:
        last += 1
    skip = sum(len(line) + 1 for line in before[:first])
    drop = sum(len(line) + 1 for line in before[len(before) - last :])
    return skip, drop
