"""Stretches of a text file: all of it, or lines found from either end, with no more read than that takes."""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, TypeVar

from fsserver.paths.reading import OpenFile
from fsserver.tools.control import Control
from fsserver.tools.files.line_index import LineIndex
from fsserver.tools.text.codec import HEAD_BYTES, UTF8, Codec, codec_of
from fsserver.tools.text.cutting import count_lines, cut_lines, utf8_length
from fsserver.tools.text.lines import ReadAt, count_line_ends, first_lines_length, read_lines, skip_lines, tail_offset
from fsserver.tools.text.marks import Marks

T = TypeVar("T")

WHOLE_BYTES: Final = 128 * 1024  # a file of no more is read once, whatever is asked for
HASH_CHUNK_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Selection:
    """A stretch of the file as text.

    Attributes:
        text: exactly what the file has there.
        first_line: number of its first line, from 1; 0 if nobody counted.
        lines: how many lines it shows, an unfinished last one included.
        more: the file goes on after it.
        inside: its only line was too long and is cut inside.
        note: what else the client should know.
    """

    text: str
    first_line: int
    lines: int
    more: bool
    inside: bool = False
    note: str | None = None


class Source:
    """An open file for reading lines. A small one is read once; of a large one only what is asked for.

    Args:
        budget: bytes of UTF-8 that a selection may take.
        index: where lines of large files were found before; None if no lines are skipped.
    """

    def __init__(
        self,
        file: OpenFile,
        encoding: str | None,
        budget: int,
        control: Control,
        index: LineIndex | None = None,
    ) -> None:
        self.budget = budget
        self._file = file
        self._control = control
        self._index = index
        most = min(budget, WHOLE_BYTES)
        claimed = file.size
        # What claims to be large is not read for being small; it can have become so, which does no harm.
        start = file.read_at(0, HEAD_BYTES if claimed > most else most + 1)
        self.whole = start if len(start) <= most and claimed <= most else None
        self._read_at: ReadAt = file.read_at if self.whole is None else lambda at, length: start[at : at + length]
        self.size = max(claimed, len(start)) if self.whole is None else len(start)
        self.codec: Codec = codec_of(start[:HEAD_BYTES], encoding)

    def everything(self) -> Selection:
        """The whole file, or as many lines as fit."""
        if self.whole is None:
            return self.range(1, None)
        text = self._decode(self.whole)
        kept, lines, inside = cut_lines(text, self.budget)
        return Selection(kept, 1, lines, more=len(kept) < len(text), inside=inside)

    def small_text(self) -> str | None:
        """The whole text of a small file, if it fits: `everything` without counting lines."""
        if self.whole is None:
            return None
        text = self._decode(self.whole)
        return text if self.codec is UTF8 or utf8_length(text) <= self.budget else None

    def range(self, first: int, count: int | None) -> Selection:
        """``count`` lines from line ``first``, with their ends."""
        start, seen = self._scan(partial(skip_lines, self._read_at, self.codec, first - 1, self._control))
        if seen < first - 1 or (start >= self.size and first > 1):
            # An unfinished last line has no line end, and is a line.
            lines = seen + (seen < first - 1 and self.size > 0 and not self._ends_with_newline())
            return Selection("", first, 0, False, note=f"The file has {lines} lines; line {first} is past its end.")
        # One byte is at least one byte of UTF-8, so more of the file than this cannot fit.
        most = (self.budget + 1) * self.codec.unit
        if count is None:
            data = self._read_at(start, most)
            return self._selection(data, first, len(data) < most, more=len(data) == most)
        data, all_there = read_lines(self._read_at, self.codec, start, count, max_bytes=most, control=self._control)
        at_end = len(self._read_at(start + len(data), 1)) == 0
        return self._selection(data, first, all_there or at_end, more=not at_end)

    def head(self, count: int) -> Selection:
        """The first lines as the reference server gives them: without the end of the last."""
        selection = self.range(1, count)
        if selection.text.endswith("\n") and not (selection.more and selection.lines < count):
            selection = replace(selection, text=selection.text[:-1])
        return selection

    def tail(self, count: int, numbered: bool) -> Selection:
        """The last lines as the reference server gives them: what follows a final line end counts as one."""
        start = tail_offset(
            self._read_at, self.codec, self.size, count, max_bytes=self.budget * self.codec.unit, control=self._control
        )
        note = None
        if start is None:
            start, note = self._last_that_fit()
        text = self._decode(self._read_at(start, self.size - start))
        first = 0
        if numbered and text:
            first = 1 + self._scan(partial(count_line_ends, self._read_at, self.codec, start, self._control))
        while len(text.encode("utf-8")) > self.budget:
            # Characters that need more bytes in UTF-8 than in the file.
            ends = text.count("\n")
            _, _, text = text[len(text) // 8 :].partition("\n")
            first += ends - text.count("\n") if numbered else 0
            note = tail_note(count_lines(text))
        return Selection(text, first, count_lines(text), more=False, note=note)

    def _last_that_fit(self) -> tuple[int, str]:
        start = max(0, self.size - self.budget * self.codec.unit)
        start -= start % self.codec.unit
        data = self._read_at(start, self.size - start)
        length = first_lines_length(data, self.codec, 1)
        if length is None or length == len(data):
            return self.size, tail_note(0)
        lines = count_lines(data[length:].decode(self.codec.name, "replace"))
        return start + length, tail_note(lines)

    def _selection(self, data: bytes, first: int, complete: bool, *, more: bool) -> Selection:
        # The last character may be cut in half: it belongs to what is left out.
        text = self._decode(data) if complete else self._decode_start(data)
        kept, lines, inside = cut_lines(text, self.budget)
        if not complete and len(kept) == len(text) and not text.endswith("\n"):
            # It fits by a hair, and its last line does not end here.
            end = text.rfind("\n") + 1
            kept, lines, inside = (text[:end], lines - 1, False) if end else (text, lines, True)
        return Selection(kept, first, lines, more=more or len(kept) < len(text), inside=inside)

    def _decode(self, data: bytes) -> str:
        return self.codec.decode(data, self._file.shown)

    def _decode_start(self, data: bytes) -> str:
        decoder = codecs.getincrementaldecoder(self.codec.name)()
        try:
            text = decoder.decode(data, final=False)
        except UnicodeDecodeError:
            return self._decode(data)  # raises with our words
        if "\0" in text and not self.codec.chosen:
            return self._decode(data)
        return text

    def _scan(self, work: Callable[[Marks], T]) -> T:
        """What it finds, from the lines on that were found before."""
        if self.whole is not None or self._index is None:
            return work(Marks())
        return self._index.scan(self._file, self.codec, work)

    def _ends_with_newline(self) -> bool:
        unit = self.codec.unit
        return self._read_at(self.size - unit, unit) == self.codec.newline

    def sha256(self) -> str:
        """Of the whole file as it is now."""
        digest = hashlib.sha256(self.whole or b"")
        offset = 0
        while self.whole is None:
            self._control.checkpoint()
            data = self._read_at(offset, HASH_CHUNK_BYTES)
            if not data:
                break
            digest.update(data)
            offset += len(data)
        return digest.hexdigest()


def tail_note(lines: int) -> str:
    """What to say of a tail that is cut to so many lines."""
    if not lines:
        return "The last line alone is longer than a result; read it with offset."
    return f"Cut to the last {lines} lines, which is what fits a result. For lines before them use offset and limit."
