"""search_files: names that match a glob, anywhere below a directory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pydantic import Field

from fsserver.errors import FsserverError
from fsserver.paths.entry import Entry
from fsserver.paths.names import display
from fsserver.paths.tree import walk
from fsserver.paths.workspace import Access
from fsserver.policy.compiled import Action
from fsserver.tools.arguments import WholeNumber
from fsserver.tools.call import Call
from fsserver.tools.files.paging import (
    Relative,
    Resumption,
    Walked,
    beyond_notes,
    check_directory,
    long_note,
    paged,
    unreadable_note,
)
from fsserver.tools.files.read import text_budget
from fsserver.tools.globbing.globs import compile_any, compile_glob
from fsserver.tools.registry import READS, Tool
from fsserver.tools.result import ToolResult

MAX_EXCLUDES: Final = 64
REPORT_ENTRIES: Final = 16_384


class SearchFiles(Walked):
    path: str = Field(description="Where to begin.")
    pattern: str = Field(description="A glob on the path relative to it: *.py is only there, **/*.py anywhere below.")
    exclude_patterns: list[str] = Field(
        default_factory=list, max_length=MAX_EXCLUDES, description="Globs of what to leave out, directories whole."
    )
    max_results: WholeNumber | None = Field(None, description="At most so many.")


def search_files(call: Call[SearchFiles]) -> ToolResult:
    wanted, target = call.arguments, call.targets["path"]
    search = _Search(call)
    base = display(target.resolved)
    whole = left = text_budget(call.limits.result_bytes)
    found: list[str] = []
    last = ""  # what was shown last: nothing is cut before something is shown
    long = 0
    cut = False
    for path in search.matches():
        if len(found) == wanted.max_results:
            cut = True
            break
        cursor = display(path)
        line = f"{base}/{cursor}"
        size = len(line.encode("utf-8")) + 1
        needed = size + beyond_notes(cursor)
        if needed > whole:
            long += 1
            continue
        if needed > left:
            cut = True
            break
        left -= size
        found.append(line)
        last = cursor
    call.facts |= {"matches": len(found), "entries": search.entries}
    notes = long_note(long, "path") + unreadable_note(search.unreadable)
    if cut:
        notes.insert(0, f"Cut after {len(found)} matches; there are more.")
    return paged("\n".join(found) or ("" if long else "No matches found"), last if cut else None, notes)


class _Search:
    """One walk with its patterns.

    Attributes:
        entries: names looked at.
        unreadable: directories that could not be listed.
    """

    def __init__(self, call: Call[SearchFiles]) -> None:
        wanted = call.arguments
        self._call = call
        self._match = compile_glob(wanted.pattern)
        self._excluded = compile_any(wanted.exclude_patterns)
        self._resumption = Resumption(wanted.cursor)
        self._resumed = wanted.cursor is not None
        self._relative = Relative(call.targets["path"].name)
        self._closed: Entry | None = None  # the entry that the walk is not to enter
        self.entries = 0
        self.unreadable = 0

    def matches(self) -> Iterator[str]:
        match, excluded, relative = self._match, self._excluded, self._relative
        for entry in walk(
            self._call.targets["path"],
            max_depth=self._call.arguments.max_depth,
            checkpoint=self._call.control.checkpoint,
            enter=self._enter,
            unreadable=self._unreadable,
        ):
            self.entries += 1
            if self.entries % REPORT_ENTRIES == 0:
                self._call.control.report(self.entries, None, f"{self.entries} names looked at")
            path = relative(entry)
            if self._resumed and self._resumption.seen(path):
                if not self._resumption.leads_on(path):
                    self._closed = entry
                continue
            if excluded is not None and excluded(path):
                self._closed = entry
            elif match(path) and (entry.kind != "link" or entry.leads_to() is not None):
                yield path  # of links only those that lead to something that this principal may know of

    def _enter(self, entry: Entry) -> bool:
        return entry is not self._closed

    def _unreadable(self, entry: Entry, error: FsserverError) -> None:  # noqa: ARG002 - only counted
        self.unreadable += 1


SEARCH_FILES: Final = Tool(
    name="search_files",
    title="Search Files",
    description="Finds files and directories by name, hidden ones too. Gives full paths.",
    arguments=SearchFiles,
    annotations=READS,
    needs=frozenset({Action.LIST}),
    paths={"path": Access.LIST},
    check=check_directory,
    body=search_files,
)
