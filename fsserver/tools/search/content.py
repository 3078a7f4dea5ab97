"""search_content: lines that match, in all files below a directory, by ripgrep in a cell."""

from __future__ import annotations

import re
import stat
from functools import partial
from typing import Annotated, Final

from pydantic import Field

from fsserver.errors import BadArguments, SpecialFile, ToolDenied
from fsserver.paths.names import display, split, undisplay
from fsserver.paths.workspace import Access, ClientPath
from fsserver.policy.compiled import Action
from fsserver.policy.service import CallClass
from fsserver.tools.arguments import WholeNumber
from fsserver.tools.call import Call
from fsserver.tools.files.paging import Paged, long_note, paged
from fsserver.tools.registry import READS, Tool
from fsserver.tools.result import ToolResult
from fsserver.tools.search.engine import SearchEngine
from fsserver.tools.search.page import Page
from fsserver.tools.search.ripgrep import Grep, Place

MAX_GLOBS: Final = 64
MAX_PATTERN: Final = 4_096
MAX_GLOB: Final = 2_048
MAX_CONTEXT: Final = 100

_CURSOR: Final = re.compile(r"([0-9]{1,18}):(.*)", re.DOTALL)

# What has a meaning in a regular expression of Rust's crate regex; a backslash before each takes it away.
_SPECIAL: Final = re.compile(r"[\\.+*?()|\[\]{}^$#&\-~]")


class SearchContent(Paged):
    path: str = Field(description="A directory, or one file.")
    pattern: str = Field(min_length=1, max_length=MAX_PATTERN, description="A regular expression.")
    literal: bool = Field(False, description="The pattern is plain text.")
    ignore_case: bool = Field(False, description="Upper case is lower case.")
    whole_word: bool = Field(False, description="Only where words begin and end.")
    multiline: bool = Field(False, description="A match may span lines; write \\n.")
    glob: list[Annotated[str, Field(max_length=MAX_GLOB)]] = Field(
        default_factory=list, max_length=MAX_GLOBS, description="*.py, src/**; !*.js leaves out."
    )
    type: str | None = Field(None, pattern="^[A-Za-z0-9]{1,64}$", description="A file type of ripgrep: py, js.")
    context_lines: int = Field(0, ge=0, le=MAX_CONTEXT, description="Lines around each match.")
    include_hidden: bool = Field(False, description="Also names that begin with a dot.")
    respect_gitignore: bool = Field(True, description="Leave out what git ignores.")
    max_results: WholeNumber | None = Field(None, description="At most so many matching lines.")


def content_tool(engine: SearchEngine) -> Tool[SearchContent]:
    """The tool, for one server."""
    return Tool(
        name="search_content",
        title="Search Content",
        description="Finds lines in files: path:line:column:text, sorted by path. Skips binary files.",
        arguments=SearchContent,
        annotations=READS,
        call_class=CallClass.SEARCH,
        needs=frozenset({Action.READ}),
        paths={"path": Access.LIST},
        unavailable=engine.no_ripgrep,
        check=partial(_check, engine),
        body=lambda call: _search_content(call, engine),
    )


def _check(engine: SearchEngine, call: Call[SearchContent]) -> None:
    """One file is read, so whoever may not read it is refused now; and none that could block whoever opens it."""
    target = call.targets["path"]
    why_not = engine.not_there(target)
    if why_not is not None:
        raise ToolDenied(
            f"Access denied - search_content cannot be used here: {why_not}",
            allowed_instead="search_files, and reading what it finds",
        )
    assert target.stat is not None
    if not stat.S_ISDIR(target.stat.st_mode):
        if not stat.S_ISREG(target.stat.st_mode):
            raise SpecialFile(f"Access denied - not a regular file: {display(target.shown)}")
        call.decide("path", ClientPath(display(target.resolved)), Access.READ).close()
        if "\n" in split(target.name)[1]:
            raise BadArguments(
                "A file whose name has a line break is searched with others only.",
                allowed_instead="its directory, with a glob",
            )
    if any("\0" in text for text in (call.arguments.pattern, *call.arguments.glob)):
        raise BadArguments("No program takes a NUL character in an argument.", allowed_instead="\\x00 in a pattern")
    cursor = call.arguments.cursor
    if cursor is not None and _CURSOR.fullmatch(cursor) is None:
        raise BadArguments("The cursor is none of search_content's.", allowed_instead="nextCursor of a cut result")


def _search_content(call: Call[SearchContent], engine: SearchEngine) -> ToolResult:
    wanted, target = call.arguments, call.targets["path"]
    assert target.stat is not None
    directory, name = (target.name, "") if stat.S_ISDIR(target.stat.st_mode) else split(target.name)
    grep = Grep(engine, call, Place(target, directory, name), _arguments(wanted), _parsed(wanted.cursor))
    page = Page(call, target.root, directory, wanted.max_results, separated=wanted.context_lines > 0)
    for file, lines in grep.files():
        if not page.add(file, lines):
            break
    call.facts |= {"matches": page.matches, "files": page.files}
    notes = long_note(page.long, "line")
    if page.cut:
        notes.append(f"Cut after {page.matches} matches; there are more.")
    if grep.stopped is not None:
        call.facts["stopped"] = grep.stopped
        notes.append(f"Not all was searched: {grep.stopped}. Try a smaller part: a deeper path, a glob, a type.")
    if grep.unreadable:
        what = "file or directory" if grep.unreadable == 1 else "files or directories"
        notes.append(f"{grep.unreadable} {what} could not be read.")
    if grep.broken_off:
        what = "one file" if grep.broken_off == 1 else f"{grep.broken_off} files"
        notes.append(f"What follows a NUL byte was not searched, in {what}. With a file as path all of it is.")
    if grep.left_out:
        where = "in one place" if grep.left_out == 1 else f"in {grep.left_out} places"
        notes.append(
            f"Matches that share lines are too many {where}: what follows the line with an ellipsis is left out."
        )
    # What was found before a search was stopped is a beginning of the whole only where it was made in order.
    goes_on = page.cut if grep.stopped is None else grep.in_order
    nothing = "" if page.long or grep.stopped else "No matches found"
    return paged(page.text() or nothing, (page.cursor or None) if goes_on else None, notes)


def _parsed(cursor: str | None) -> tuple[str, int] | None:
    """The path and the number of the last line of the page before."""
    found = None if cursor is None else _CURSOR.fullmatch(cursor)
    return None if found is None else (undisplay(found[2]), int(found[1]))


def _arguments(wanted: SearchContent) -> list[str]:
    """For ripgrep. No value begins with a dash, which is how flags are told from values; see `policy.arguments`."""
    pattern = wanted.pattern
    if wanted.literal:
        pattern = _SPECIAL.sub(r"\\\g<0>", pattern).replace("\n", "\r?\n")
    arguments = [f"--regexp={f'(?:){pattern}' if pattern.startswith('-') else pattern}"]
    arguments += [f"--glob={f'[-]{glob[1:]}' if glob.startswith('-') else glob}" for glob in wanted.glob]
    if wanted.type is not None:
        arguments.append(f"--type={wanted.type}")
    if wanted.context_lines:
        arguments.append(f"--context={wanted.context_lines}")
    flags = {
        "--ignore-case": wanted.ignore_case,
        "--word-regexp": wanted.whole_word,
        "--multiline": wanted.multiline or (wanted.literal and "\n" in pattern),
        # "$" comes before a carriage return that ends a line; a pattern that names it would be refused.
        "--crlf": "\r" not in pattern and "\\r" not in pattern,
        "--hidden": wanted.include_hidden,
        "--no-ignore": not wanted.respect_gitignore,
        "--glob=!.git": wanted.include_hidden and wanted.respect_gitignore,
    }
    return arguments + [flag for flag, needed in flags.items() if needed]
