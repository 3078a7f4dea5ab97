"""read_text_file and its deprecated alias: the whole text, its first or last lines, or a range of lines."""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, TypeVar

from pydantic import Field

from fsserver.errors import BadArguments
from fsserver.paths.reading import OpenFile, open_file, too_large
from fsserver.paths.target import Target
from fsserver.paths.workspace import Access
from fsserver.policy.compiled import Action
from fsserver.tools.arguments import Arguments, WholeNumber
from fsserver.tools.call import Call
from fsserver.tools.control import Control
from fsserver.tools.files.line_index import LineIndex
from fsserver.tools.registry import READS, Tool
from fsserver.tools.result import ToolResult, text_result
from fsserver.tools.text.codec import HEAD_BYTES, Codec, codec_of
from fsserver.tools.text.cutting import count_lines, cut_first_lines, cut_lines, utf8_length
from fsserver.tools.text.lines import ReadAt, count_line_ends, first_lines_length, read_lines, skip_lines, tail_offset
from fsserver.tools.text.marks import Marks

T = TypeVar("T")

NOTES_BYTES: Final = 512  # kept free in a result for the block that says what was cut
WHOLE_BYTES: Final = 128 * 1024  # a file of no more is read once, whatever is asked for
HASH_CHUNK_BYTES: Final = 1024 * 1024
A_PART: Final = "a part of it: head, tail, or offset and limit"


class ReadTextFile(Arguments):
    path: str = Field(description="The file.")
    head: WholeNumber | None = Field(None, description="Only the first N lines.")
    tail: WholeNumber | None = Field(None, description="Only the last N lines.")
    offset: WholeNumber | None = Field(None, description="First line to read, from 1.")
    limit: WholeNumber | None = Field(None, description="How many lines to read from offset.")
    line_numbers: bool = Field(False, description="Number each line.")
    encoding: str | None = Field(None, description="If not UTF-8 or marked UTF-16, e.g. latin-1.")
    include_sha256: bool = Field(False, description="Add the SHA-256, for expectedSha256.")


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
        # What claims to be large is not read for being small; it can have become so, which does no harm.
        start = file.read_at(0, HEAD_BYTES if file.size > most else most + 1)
        self.whole = start if len(start) <= most and file.size <= most else None
        self._read_at: ReadAt = file.read_at if self.whole is None else lambda at, length: start[at : at + length]
        self.size = max(file.size, len(start)) if self.whole is None else len(start)
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
        return text if utf8_length(text) <= self.budget else None

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
            note = _tail_note(count_lines(text))
        return Selection(text, first, count_lines(text), more=False, note=note)

    def _last_that_fit(self) -> tuple[int, str]:
        start = max(0, self.size - self.budget * self.codec.unit)
        start -= start % self.codec.unit
        data = self._read_at(start, self.size - start)
        length = first_lines_length(data, self.codec, 1)
        if length is None or length == len(data):
            return self.size, _tail_note(0)
        lines = count_lines(data[length:].decode(self.codec.name, "replace"))
        return start + length, _tail_note(lines)

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


def _tail_note(lines: int) -> str:
    if not lines:
        return "The last line alone is longer than a result; read it with offset."
    return f"Cut to the last {lines} lines, which is what fits a result. For lines before them use offset and limit."


def check(call: Call[ReadTextFile]) -> None:
    """Refuses combinations that have no meaning."""
    wanted = call.arguments
    if wanted.head is not None and wanted.tail is not None:
        raise BadArguments("Cannot specify both head and tail parameters simultaneously")
    if (wanted.head or wanted.tail) and (wanted.offset or wanted.limit):
        raise BadArguments("Cannot specify head or tail together with offset or limit")


def read_text_file(index: LineIndex, call: Call[ReadTextFile]) -> ToolResult:
    wanted = call.arguments
    target = call.targets["path"]
    budget = text_budget(call.limits.result_bytes)
    limit = target.root.rules.max_file
    with open_file(target) as file:
        source = Source(file, wanted.encoding, budget, call.control, index)
        if _takes_all(wanted):
            instead = f"{A_PART}, without includeSha256" if wanted.include_sha256 else A_PART
            require_readable_whole(target, source, f"read {instead}")
        selection = select(source, wanted)
        whole = not selection.more and not selection.inside and selection.first_line == 1
        whole = whole and wanted.head is None and wanted.tail is None and (limit is None or source.size <= limit)
        sha256 = source.sha256() if whole or wanted.include_sha256 else None
    text = selection.text
    if wanted.line_numbers:
        selection, text = _numbered(selection, budget, from_end=wanted.tail is not None)
    call.facts["bytes"] = len(text)
    notes = _notes(selection, wanted, budget)
    meta: dict[str, Any] = {}
    if sha256 is not None:
        meta["fsserver/sha256"] = sha256
        call.facts["sha256"] = sha256
        if wanted.include_sha256:
            notes.append(f"sha256: {sha256}")
    return text_result(text, *(["\n".join(notes)] if notes else []), meta=meta or None)


def require_readable_whole(target: Target, source: Source, allowed_instead: str) -> None:
    """Raises `FileTooLarge` if the root's ``max_file`` is less than the file."""
    limit = target.root.rules.max_file
    if limit is not None and source.size > limit:
        raise too_large(target, limit, allowed_instead=allowed_instead)


def _takes_all(wanted: ReadTextFile) -> bool:
    """Whether the whole file is asked for, or has to be read for its digest."""
    part = wanted.head or wanted.tail or wanted.offset or wanted.limit
    return part is None or wanted.include_sha256


def text_budget(result_bytes: int) -> int:
    """What a tool's own text may take of a result."""
    return max(result_bytes - NOTES_BYTES, result_bytes // 2)


def select(source: Source, wanted: ReadTextFile) -> Selection:
    if wanted.head is not None:
        return source.head(wanted.head)
    if wanted.tail is not None:
        return source.tail(wanted.tail, wanted.line_numbers)
    if wanted.offset is not None or wanted.limit is not None:
        return source.range(wanted.offset or 1, wanted.limit)
    return source.everything()


def _numbered(selection: Selection, budget: int, *, from_end: bool) -> tuple[Selection, str]:
    """The text with a number before each line; fewer lines if that is too much, the last ones with ``from_end``."""
    pieces = selection.text.split("\n")
    if pieces[-1] == "":
        pieces.pop()
        end = "\n"
    else:
        end = ""
    numbered = "\n".join(f"{number:6d}\t{line}" for number, line in enumerate(pieces, selection.first_line)) + end
    if not pieces:
        return selection, ""
    kept, lines, inside = cut_first_lines(numbered, budget) if from_end else cut_lines(numbered, budget)
    cut = len(kept) < len(numbered)
    return replace(selection, lines=lines, more=selection.more or cut, inside=selection.inside or inside), kept


def _notes(selection: Selection, wanted: ReadTextFile, budget: int) -> list[str]:
    """What to say besides the text: where a cut result goes on."""
    notes = [] if selection.note is None else [selection.note]
    if not selection.more and not selection.inside:
        return notes
    if wanted.tail is not None:
        return [_tail_note(selection.lines)]
    asked = wanted.head or wanted.limit
    last = selection.first_line + max(selection.lines, 1) - 1
    if selection.inside:
        notes.append(f"Line {last} is longer than a result and is cut inside, after {budget} bytes.")
    elif asked is None or selection.lines < asked:
        notes.append(f"Cut at {budget} bytes, after line {last}.")
    elif wanted.head is not None:
        return notes
    notes.append(f"nextOffset: {last + 1}")
    return notes


_DESCRIPTION: Final = (
    "Reads a text file exactly as it is. A long text is cut at a line end and the result says with which offset to "
    "go on."
)


def read_tools(index: LineIndex) -> tuple[Tool[ReadTextFile], Tool[ReadTextFile]]:
    """read_file, which is no longer listed, and read_text_file; they share what ``index`` knows."""
    tool = Tool(
        name="read_text_file",
        title="Read Text File",
        description=_DESCRIPTION,
        arguments=ReadTextFile,
        annotations=READS,
        needs=frozenset({Action.READ}),
        paths={"path": Access.READ},
        check=check,
        body=partial(read_text_file, index),
    )
    return replace(tool, name="read_file", title="Read File (Deprecated)", listed=False), tool
