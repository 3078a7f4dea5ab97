"""search_files: names that match a glob, anywhere below a directory."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import Final, Literal, NamedTuple

from pydantic import Field

from fsserver.errors import BadArguments, ToolDenied
from fsserver.paths.names import display, undisplay
from fsserver.paths.workspace import Access
from fsserver.policy.compiled import Action
from fsserver.policy.service import CallClass
from fsserver.tools.arguments import WholeNumber
from fsserver.tools.call import Call
from fsserver.tools.files.paging import (
    Key,
    Walked,
    beyond_notes,
    check_directory,
    key_of,
    long_note,
    paged,
    unreadable_note,
)
from fsserver.tools.files.read import text_budget
from fsserver.tools.globbing.globs import parse_any, parse_glob
from fsserver.tools.registry import READS, Tool
from fsserver.tools.result import ToolResult
from fsserver.tools.search.engine import SearchEngine
from fsserver.tools.search.finding import Finder, Found, Wanted

MAX_EXCLUDES: Final = 64
MOST_SORTED: Final = 16 * 1024
"""Of the matches that are newest a page holds no more."""

_MODIFIED_CURSOR: Final = re.compile(r"(-?[0-9]{1,20}):(.*)", re.DOTALL)


class SearchFiles(Walked):
    path: str = Field(description="Where to begin.")
    pattern: str = Field(description="A glob on the path relative to it: *.py is only there, **/*.py anywhere below.")
    exclude_patterns: list[str] = Field(
        default_factory=list, max_length=MAX_EXCLUDES, description="Globs of what to leave out, directories whole."
    )
    kind: Literal["any", "file", "directory"] = Field("any", description="Only such.")
    sort_by: Literal["path", "modified"] = Field("path", description="modified: newest first.")
    respect_gitignore: bool = Field(False, description="Leave out what git ignores, and .git.")
    max_results: WholeNumber | None = Field(None, description="At most so many.")


class _Match(NamedTuple):
    """A line of the result, and the cursor that stands for it."""

    path: str
    cursor: str


def search_tool(engine: SearchEngine) -> Tool[SearchFiles]:
    """The tool, for one server."""

    def check(call: Call[SearchFiles]) -> None:
        check_directory(call)
        why_not = engine.no_ripgrep() or engine.not_there(call.targets["path"])
        if call.arguments.respect_gitignore and why_not is not None:
            raise ToolDenied(
                f"Access denied - respectGitignore cannot be used: {why_not}",
                allowed_instead="excludePatterns, without it",
            )

    return Tool(
        name="search_files",
        title="Search Files",
        description="Finds files and directories by name, hidden ones too. Gives full paths.",
        arguments=SearchFiles,
        annotations=READS,
        call_class=CallClass.SEARCH,
        needs=frozenset({Action.LIST}),
        paths={"path": Access.LIST},
        check=check,
        body=lambda call: _search_files(call, engine),
    )


def _search_files(call: Call[SearchFiles], engine: SearchEngine) -> ToolResult:
    wanted, target = call.arguments, call.targets["path"]
    by_time = wanted.sort_by == "modified"
    finder = Finder(
        target,
        Wanted(
            match=parse_glob(wanted.pattern),
            excluded=parse_any(wanted.exclude_patterns),
            after=None if by_time or wanted.cursor is None else undisplay(wanted.cursor),
            max_depth=wanted.max_depth,
            kinds=None if wanted.kind == "any" else frozenset({wanted.kind}),
            times=by_time,
        ),
        call.control,
        engine,
    )
    most = min(wanted.max_results or MOST_SORTED, MOST_SORTED) if by_time else wanted.max_results
    page = _Page(display(target.resolved), text_budget(call.limits.result_bytes), most)
    with closing(finder.matches(unignored=wanted.respect_gitignore)) as found:  # what is left of it is ended
        page.fill(_newest(found, finder, wanted.cursor) if by_time else _in_order(found))
    call.facts |= {"matches": len(page.lines), "entries": finder.entries}
    notes = long_note(page.long, "path") + unreadable_note(finder.unreadable)
    if finder.stopped is not None:
        call.facts["stopped"] = finder.stopped
        notes.insert(0, f"Not all was searched: {finder.stopped}. Try a smaller part: a deeper path, a lower maxDepth.")
    cursor = page.last if page.cut or (finder.stopped is not None and not by_time) else None
    if page.cut:
        notes.insert(0, f"Cut after {len(page.lines)} matches; there are more.")
    text = "\n".join(page.lines) or ("" if page.long or finder.stopped else "No matches found")
    return paged(text, cursor or None, notes)


class _Page:
    """As many matches as fit a result.

    Attributes:
        last: the cursor of what was shown last; nothing is cut before something is shown.
        long: matches that no result holds.
        cut: there are more.
    """

    def __init__(self, base: str, budget: int, most: int | None) -> None:
        self._base = base
        self._whole = budget
        self._most = most
        self.lines: list[str] = []
        self.last = ""
        self.long = 0
        self.cut = False

    def fill(self, matches: Iterable[_Match]) -> None:
        left = self._whole
        for match in matches:
            if len(self.lines) == self._most:
                self.cut = True
                return
            line = f"{self._base}/{match.path}"
            size = len(line.encode("utf-8")) + 1
            needed = size + beyond_notes(match.cursor)
            if needed > self._whole:
                self.long += 1
            elif needed > left:
                self.cut = True
                return
            else:
                left -= size
                self.lines.append(line)
                self.last = match.cursor


def _in_order(found: Iterator[Found]) -> Iterator[_Match]:
    for each in found:
        shown = display(each.path)
        yield _Match(shown, shown)


def _newest(found: Iterator[Found], finder: Finder, cursor: str | None) -> Iterator[_Match]:
    """The newest first, what was modified at the same time by path; last that of which nothing may be told. As many as
    a page holds, and one that says there are more.
    """
    after = None if cursor is None else _parsed(cursor)
    held: list[tuple[int, Key, str]] = []
    for each in found:
        key = (-(finder.modified_ns(each) or 0), key_of(each.path))
        if after is None or key > after:
            held.append((*key, each.path))
        if len(held) > 2 * MOST_SORTED:
            held.sort()
            del held[MOST_SORTED + 1 :]
    held.sort()
    for age, _, path in held:
        shown = display(path)
        yield _Match(shown, f"{-age}:{shown}")


def _parsed(cursor: str) -> tuple[int, Key]:
    found = _MODIFIED_CURSOR.fullmatch(cursor)
    if found is None:
        raise BadArguments("The cursor is none of a search with sortBy: modified.", allowed_instead="no cursor")
    return -int(found[1]), key_of(undisplay(found[2]))
