"""How many line ends come before some places of a large file, so that the next scan begins near. Pure."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import Final

STEP_BYTES: Final = 256 * 1024  # a multiple of every code unit; fits a processor's cache
MAX_MARKS: Final = 4096  # of one file, 8 bytes each: every step of 1 GiB. An even number


class Marks:
    """The line ends before each multiple of a stride, from 0 to as far as they were counted. For one thread.

    When there are too many, every second one is dropped and the stride is doubled.

    Attributes:
        step: bytes that a scan reads at once, which is the stride at first.
        reach: bytes before the last mark.
    """

    __slots__ = ("_counts", "_most", "_stride", "step")

    def __init__(self, step: int = STEP_BYTES, most: int = MAX_MARKS) -> None:
        self.step = step
        self._most = most
        self._stride = step
        self._counts = array("Q", (0,))

    @property
    def reach(self) -> int:
        return (len(self._counts) - 1) * self._stride

    def copy(self) -> Marks:
        other = Marks(self.step, self._most)
        other._stride = self._stride
        other._counts = self._counts[:]
        return other

    def before_line(self, line: int) -> tuple[int, int]:
        """An offset at or before the beginning of ``line``, from 0, and the line ends before that offset."""
        return self._at(max(bisect_left(self._counts, line) - 1, 0))

    def before_offset(self, offset: int) -> tuple[int, int]:
        """The last marked offset that is not after ``offset``, and the line ends before it."""
        return self._at(min(offset // self._stride, len(self._counts) - 1))

    def add(self, offset: int, line_ends: int) -> None:
        """Note the line ends before ``offset``, if that is where the next mark is due."""
        if offset != len(self._counts) * self._stride:
            return
        if len(self._counts) == self._most:
            self._counts = self._counts[::2]
            self._stride *= 2
        self._counts.append(line_ends)

    def _at(self, place: int) -> tuple[int, int]:
        return place * self._stride, self._counts[place]
