"""read_text_file and its deprecated alias: the whole text, its first or last lines, or a range of lines."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, Final

from pydantic import Field

from fsserver.errors import BadArguments
from fsserver.paths.reading import open_file, too_large
from fsserver.paths.target import Target
from fsserver.paths.workspace import Access
from fsserver.policy.compiled import Action
from fsserver.policy.service import CallClass
from fsserver.tools.arguments import Arguments, WholeNumber
from fsserver.tools.call import Call
from fsserver.tools.files.line_index import LineIndex
from fsserver.tools.files.source import Selection, Source, tail_note
from fsserver.tools.registry import READS, Tool
from fsserver.tools.result import ToolResult, text_result
from fsserver.tools.text.cutting import cut_first_lines, cut_lines

NOTES_BYTES: Final = 512  # kept free in a result for the block that says what was cut
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


def check(call: Call[ReadTextFile]) -> None:
    """Refuses combinations that have no meaning."""
    wanted = call.arguments
    if wanted.head is not None and wanted.tail is not None:
        raise BadArguments("Cannot specify both head and tail parameters simultaneously")
    if (wanted.head or wanted.tail) and (wanted.offset or wanted.limit):
        raise BadArguments("Cannot specify head or tail together with offset or limit")


def read_text_file(call: Call[ReadTextFile], index: LineIndex | None = None) -> ToolResult:
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
        return [tail_note(selection.lines)]
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


READ_TEXT_FILE: Final = Tool(
    name="read_text_file",
    title="Read Text File",
    description=_DESCRIPTION,
    arguments=ReadTextFile,
    annotations=READS,
    call_class=CallClass.READ,
    needs=frozenset({Action.READ}),
    paths={"path": Access.READ},
    check=check,
    body=read_text_file,
)


def read_tools(index: LineIndex) -> tuple[Tool[ReadTextFile], Tool[ReadTextFile]]:
    """read_file, which is no longer listed, and read_text_file; they share what ``index`` knows."""
    tool = replace(READ_TEXT_FILE, body=partial(read_text_file, index=index))
    return replace(tool, name="read_file", title="Read File (Deprecated)", listed=False), tool
