"""Results that go on: how much fits, what is said about the rest, and where a tree walk takes up again."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from itertools import compress
from typing import Any, Final

from pydantic import Field

from fsserver.errors import NotADirectory
from fsserver.paths.entry import Entry
from fsserver.paths.names import components, display, undisplay
from fsserver.tools.arguments import Arguments, WholeNumber
from fsserver.tools.call import Call
from fsserver.tools.files.read import NOTES_BYTES
from fsserver.tools.result import ToolResult, text_result
from fsserver.tools.text.cutting import cut_lines

Key = tuple[bytes, ...]


class Paged(Arguments):
    """What every listing takes to be cut in pages."""

    cursor: str | None = Field(None, description="nextCursor of a cut result.")


class Walked(Paged):
    """What every tool that goes down a tree takes."""

    max_depth: WholeNumber | None = Field(None, description="1 is only what path holds.")


MAX_ENTRIES: Final = "At most so many entries."


OTHER_NOTES_BYTES: Final = 320  # of those that a result keeps free for notes: for all that is said beside a cursor
LONGEST_BYTES: Final = 8192  # more than a line of a listing and its cursor take; names have at most 765 bytes


def beyond_notes(cursor: str) -> int:
    """Bytes of a cursor that the room for notes does not hold, so that they are taken from the text's."""
    return max(0, len(cursor.encode("utf-8")) + OTHER_NOTES_BYTES - NOTES_BYTES)


def beyond_notes_of(path: str) -> int:
    """`beyond_notes` of the cursor that stands for a path. Asked for every entry of a tree, so most paths only cost
    a look at them: displayed they are as long as they are.
    """
    if len(path) <= NOTES_BYTES - OTHER_NOTES_BYTES and path.isascii() and path.isprintable() and "\\" not in path:
        return 0
    return beyond_notes(display(path))


def without_long(
    lines: Sequence[str], cursors: Sequence[str], budget: int
) -> tuple[Sequence[str], Sequence[str], list[str]]:
    """The lines that fit a result at all, the cursors that stand for them, and a note that counts the other lines.

    A result that ended before such a line would lead to one that ends there again.
    """
    if budget >= LONGEST_BYTES:
        return lines, cursors, []
    fits = [
        len(line.encode("utf-8")) + beyond_notes(cursor) <= budget for line, cursor in zip(lines, cursors, strict=True)
    ]
    return list(compress(lines, fits)), list(compress(cursors, fits)), long_note(fits.count(False), "name")


def fitting(lines: Sequence[str], cursors: Sequence[str], budget: int, most: int | None) -> tuple[str, int]:
    """As many of the lines as fit, joined, and how many that is. At least one if there is one; see `without_long`."""
    chosen = lines if most is None else lines[:most]
    text = "\n".join(chosen)
    kept, count, _ = cut_lines(text, budget)
    if len(kept) == len(text):
        count = len(chosen)
    else:
        text = kept.removesuffix("\n")
    if count == len(lines):
        return text, count
    while count > 1 and len(text.encode("utf-8")) + beyond_notes(cursors[count - 1]) > budget:
        count -= 1
        text = text[: -len(lines[count]) - 1]
    return text, count


def long_note(count: int, what: str) -> list[str]:
    """Says that something is missing because a result does not hold it."""
    if not count:
        return []
    return [f"{count} {what}{' is' if count == 1 else 's are'} too long for a result and left out."]


def paged(text: str, cursor: str | None, notes: Sequence[str] = ()) -> ToolResult:
    """The result of a listing; with a cursor it was cut, and says so."""
    meta: dict[str, Any] | None = None
    said = list(notes)
    if cursor is not None:
        said.append(f"nextCursor: {cursor}")
        meta = {"fsserver/nextCursor": cursor}
    return text_result(text, *(["\n".join(said)] if said else []), meta=meta)


def key_of(path: str) -> Key:
    """Sorts paths as a walk meets them: a directory before what is in it, names by their bytes."""
    return tuple(os.fsencode(part) for part in path.split("/"))


class Resumption:
    """Which entries of a walk were already in an earlier page.

    Args:
        cursor: the last path of that page, relative to where the walk begins; None is the first page. With a slash at
            its end it stands for all that is in the directory too.
    """

    def __init__(self, cursor: str | None) -> None:
        self._last = None if cursor is None else key_of("/".join(components(undisplay(cursor))))
        self._whole = cursor is not None and cursor.endswith("/")

    def seen(self, path: str) -> bool:
        """Whether the entry was shown, or comes before one that was."""
        return self._last is not None and key_of(path) <= self._last

    def leads_on(self, path: str) -> bool:
        """Whether a directory that was seen can hold entries that were not."""
        key = key_of(path)
        if self._last is None or (self._whole and len(key) >= len(self._last)):
            return False
        return self._last[: len(key)] == key


class Relative:
    """Names of entries relative to the directory that is walked."""

    def __init__(self, start: str) -> None:
        self._skip = len(start) + 1 if start else 0

    def __call__(self, entry: Entry) -> str:
        return entry.path[self._skip :]


def check_directory(call: Call[Any]) -> None:
    """Refuses what is no directory as the reference server does, and says what reads a file."""
    target = call.targets["path"]
    assert target.stat is not None
    if not stat.S_ISDIR(target.stat.st_mode):
        raise NotADirectory(
            f"ENOTDIR: not a directory, scandir '{display(target.shown)}'",
            allowed_instead="read_text_file reads it" if stat.S_ISREG(target.stat.st_mode) else None,
        )


def unreadable_note(count: int) -> list[str]:
    """Says that something is missing because this user may not see it."""
    if not count:
        return []
    return [f"{count} director{'y' if count == 1 else 'ies'} could not be read and may hold more."]
