"""list_directory and list_directory_with_sizes."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

from pydantic import Field

from fsserver.errors import BadArguments, FsserverError, NotFound
from fsserver.paths.entry import Entry
from fsserver.paths.names import display, displayed, undisplay
from fsserver.paths.reading import list_entries, list_names
from fsserver.paths.workspace import Access, ClientPath, Workspace
from fsserver.policy.compiled import Action
from fsserver.policy.service import CallClass
from fsserver.tools.arguments import WholeNumber
from fsserver.tools.call import Call
from fsserver.tools.files.paging import MAX_ENTRIES, Paged, check_directory, fitting, paged, without_long
from fsserver.tools.files.read import text_budget
from fsserver.tools.registry import READS, Tool
from fsserver.tools.result import ToolResult
from fsserver.tools.text.sizes import collation_key, format_size, pad_end

CHECKPOINT_ENTRIES: Final = 256
SUMMARY_BYTES: Final = 128


class ListDirectory(Paged):
    path: str = Field(description="The directory.")
    max_entries: WholeNumber | None = Field(None, description=MAX_ENTRIES)


class ListDirectoryWithSizes(ListDirectory):
    sort_by: Literal["name", "size"] = Field("name", description="size: largest first.")


class Row(NamedTuple):
    """One entry with its size; None where the size is not to be told."""

    name: str
    is_directory: bool
    size: int | None

    def line(self) -> str:
        shown = pad_end(self.name, 30)
        if self.is_directory:
            return f"[DIR] {shown} "
        return f"[FILE] {shown} {'-' if self.size is None else format_size(self.size):>10}"


def list_directory(call: Call[ListDirectory]) -> ToolResult:
    wanted = call.arguments
    names, directories = list_names(call.targets["path"])
    if wanted.cursor is not None:
        del names[: bisect_right(names, os.fsencode(undisplay(wanted.cursor)), key=os.fsencode)]
    shown = displayed(names)
    lines: Sequence[str] = [
        ("[DIR] " if name in directories else "[FILE] ") + each for name, each in zip(names, shown, strict=True)
    ]
    return _page(call, lines, shown, text_budget(call.limits.result_bytes))


def list_directory_with_sizes(call: Call[ListDirectoryWithSizes]) -> ToolResult:
    wanted = call.arguments
    entries = list(list_entries(call.targets["path"]))
    names = displayed([entry.name for entry in entries])
    rows: list[Row] = []
    for number, (entry, name) in enumerate(zip(entries, names, strict=True)):
        if number % CHECKPOINT_ENTRIES == 0 or entry.kind == "link":  # to follow one can take a third of a second
            call.control.checkpoint()
        rows.append(Row(name, entry.kind == "directory", _size(call.workspace, entry)))
    if wanted.sort_by == "size":
        rows.sort(key=lambda row: -(row.size or 0))
    else:
        rows.sort(key=lambda row: collation_key(row.name))
    start = _start(rows, wanted.cursor)
    files = [row for row in rows if not row.is_directory]
    summary = (
        f"\nTotal: {len(files)} files, {len(rows) - len(files)} directories\n"
        f"Combined size: {format_size(sum(row.size or 0 for row in files))}"
    )
    rows = rows[start:]
    budget = text_budget(call.limits.result_bytes) - SUMMARY_BYTES
    return _page(call, [row.line() for row in rows], [row.name for row in rows], budget, summary)


def _page(
    call: Call[Any], lines: Sequence[str], cursors: Sequence[str], budget: int, summary: str | None = None
) -> ToolResult:
    """The lines that fit, the summary below them, and where the rest is."""
    lines, cursors, notes = without_long(lines, cursors, budget)
    text, count = fitting(lines, cursors, budget, call.arguments.max_entries)
    call.facts["entries"] = count
    if summary is not None:
        text = f"{text}\n{summary}" if lines else summary
    if count == len(lines):
        return paged(text, None, notes)
    return paged(text, cursors[count - 1], [f"{len(lines) - count} more entries follow.", *notes])


def _start(rows: list[Row], cursor: str | None) -> int:
    if cursor is None:
        return 0
    for index, row in enumerate(rows):
        if row.name == cursor:
            return index + 1
    raise BadArguments("The entry of the cursor is gone; list the directory again from its beginning.")


def _size(workspace: Workspace, entry: Entry) -> int | None:
    """The entry's size; a link's is that of what it leads to, and only where the policy lets it be read."""
    try:
        if entry.kind != "link":
            return entry.stat().st_size
        with workspace.target(ClientPath(display(entry.shown)), Access.STAT) as target:
            return 0 if target.stat is None else target.stat.st_size
    except NotFound:
        return 0
    except FsserverError:
        return None


LIST_DIRECTORY: Final = Tool(
    name="list_directory",
    title="List Directory",
    description="Names in a directory, each marked [DIR] or [FILE].",
    arguments=ListDirectory,
    annotations=READS,
    call_class=CallClass.READ,
    needs=frozenset({Action.LIST}),
    paths={"path": Access.LIST},
    check=check_directory,
    body=list_directory,
)
LIST_DIRECTORY_WITH_SIZES: Final = Tool(
    name="list_directory_with_sizes",
    title="List Directory with Sizes",
    description="Names and sizes in a directory, with their sum.",
    arguments=ListDirectoryWithSizes,
    annotations=READS,
    call_class=CallClass.READ,
    needs=frozenset({Action.LIST}),
    paths={"path": Access.LIST},
    check=check_directory,
    body=list_directory_with_sizes,
)
