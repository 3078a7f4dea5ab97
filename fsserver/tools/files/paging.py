"""Results that go on: how much fits, what is said about the rest, and where a tree walk takes up again."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from typing import Any, Final

from pydantic import Field

from fsserver.errors import NotADirectory
from fsserver.paths.entry import Entry
from fsserver.paths.names import components, display, undisplay
from fsserver.tools.arguments import Arguments, WholeNumber
from fsserver.tools.call import Call
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


def fitting(lines: Sequence[str], budget: int, most: int | None) -> tuple[str, int]:
    """As many of the lines as fit, joined, and how many that is. Always at least one if there is one."""
    chosen = lines if most is None else lines[:most]
    text = "\n".join(chosen)
    kept, count, _ = cut_lines(text, budget)
    if len(kept) == len(text):
        return text, len(chosen)
    return kept.removesuffix("\n"), count


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
        cursor: the last path of that page, relative to where the walk begins; None is the first page.
    """

    def __init__(self, cursor: str | None) -> None:
        self._last = None if cursor is None else key_of("/".join(components(undisplay(cursor))))

    def seen(self, path: str) -> bool:
        """Whether the entry was shown, or comes before one that was."""
        return self._last is not None and key_of(path) <= self._last

    def leads_on(self, path: str) -> bool:
        """Whether a directory that was seen can hold entries that were not."""
        key = key_of(path)
        return self._last is not None and self._last[: len(key)] == key


class Relative:
    """Names of entries relative to the directory that is walked."""

    def __init__(self, start: str) -> None:
        self._skip = len(start) + 1 if start else 0

    def __call__(self, entry: Entry) -> str:
        return entry.path[self._skip :]


def check_directory(call: Call[Any]) -> None:
    """Refuses a file as the reference server does, and says what reads it."""
    target = call.targets["path"]
    if target.stat is not None and stat.S_ISREG(target.stat.st_mode):
        raise NotADirectory(
            f"ENOTDIR: not a directory, scandir '{display(target.shown)}'", allowed_instead="read_text_file reads it"
        )


def unreadable_note(count: int) -> list[str]:
    """Says that something is missing because this user may not see it."""
    if not count:
        return []
    return [f"{count} director{'y' if count == 1 else 'ies'} could not be read and may hold more."]


def shown(path: str) -> str:
    """A cursor as clients get it."""
    return display(path)
