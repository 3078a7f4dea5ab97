"""directory_tree: a directory with all that is below it, as JSON."""

from __future__ import annotations

from json.encoder import encode_basestring
from typing import Final, NamedTuple

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
    MAX_ENTRIES,
    Relative,
    Resumption,
    Walked,
    check_directory,
    paged,
    unreadable_note,
)
from fsserver.tools.files.read import text_budget
from fsserver.tools.globbing.globs import Matcher, compile_any
from fsserver.tools.registry import READS, Tool
from fsserver.tools.result import ToolResult

MAX_EXCLUDES: Final = 64


class DirectoryTree(Walked):
    path: str = Field(description="Where to begin.")
    exclude_patterns: list[str] = Field(
        default_factory=list, max_length=MAX_EXCLUDES, description="Globs, or plain names, of what to leave out."
    )
    max_entries: WholeNumber | None = Field(None, description=MAX_ENTRIES)


class _Level(NamedTuple):
    """The text around one entry at one depth."""

    name: str
    file: str
    directory: str
    close_empty: str
    close: str

    @classmethod
    def at(cls, depth: int) -> _Level:
        outer, inner = " " * (4 * depth - 2), " " * (4 * depth)
        return cls(
            name=f'\n{outer}{{\n{inner}"name": ',
            file=f',\n{inner}"type": "file"\n{outer}}}',
            directory=f',\n{inner}"type": "directory",\n{inner}"children": [',
            close_empty=f"]\n{outer}}}",
            close=f"\n{inner}]\n{outer}}}",
        )


class TreeText:
    """The JSON text of a tree, as ``JSON.stringify(…, null, 2)`` writes it, made in the order of a walk.

    Args:
        budget: the most bytes of UTF-8 that it may come to.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget - 4
        self._parts: list[str] = ["["]
        self._levels: list[_Level] = [_Level.at(1)]
        self._filled: list[bool] = [False]  # for the top and every open directory: whether it holds something
        self._closing = 0  # bytes that the open directories still need

    def add(self, name: str, *, directory: bool, depth: int) -> bool:
        """Adds an entry at ``depth`` (1 is the top); False if it does not fit any more."""
        while len(self._filled) > depth:
            self._close()
        while len(self._levels) <= depth:
            self._levels.append(_Level.at(len(self._levels) + 1))
        level = self._levels[depth - 1]
        quoted = encode_basestring(name)
        text = "".join(
            ("," if self._filled[-1] else "", level.name, quoted, level.directory if directory else level.file)
        )
        closing = len(level.close) if directory else 0
        size = len(text) if quoted.isascii() else len(text.encode("utf-8"))
        if size + closing > self._budget - self._closing:
            return False
        self._budget -= size
        self._parts.append(text)
        self._filled[-1] = True
        if directory:
            self._filled.append(False)
            self._closing += closing
        return True

    def finish(self) -> str:
        while len(self._filled) > 1:
            self._close()
        self._parts.append("\n]" if self._filled[0] else "]")
        return "".join(self._parts)

    def _close(self) -> None:
        level = self._levels[len(self._filled) - 2]
        text = level.close if self._filled.pop() else level.close_empty
        self._parts.append(text)
        self._budget -= len(text)
        self._closing -= len(level.close)


def directory_tree(call: Call[DirectoryTree]) -> ToolResult:
    wanted, target = call.arguments, call.targets["path"]
    excluded = _excluded(wanted.exclude_patterns)
    resumption = Resumption(wanted.cursor)
    relative = Relative(target.name)
    tree = TreeText(text_budget(call.limits.result_bytes))
    skip: Entry | None = None
    unreadable: list[str] = []
    count = unopened = 0
    last = path = ""
    cut = False

    def enter(entry: Entry) -> bool:
        return entry is not skip

    def failed(entry: Entry, error: FsserverError) -> None:  # noqa: ARG001 - only counted
        unreadable.append(entry.name)

    for entry in walk(
        target, max_depth=wanted.max_depth, checkpoint=call.control.checkpoint, enter=enter, unreadable=failed
    ):
        path = relative(entry)
        if excluded is not None and excluded(path):
            skip = entry
            continue
        is_directory = entry.kind == "directory"
        again = wanted.cursor is not None and resumption.seen(path)
        if again and not (is_directory and resumption.leads_on(path)):
            skip = entry
            continue
        if (not again and count == wanted.max_entries) or not tree.add(
            display(entry.name), directory=is_directory, depth=entry.depth
        ):
            cut = True
            break
        if not again:
            count += 1
            last = path
        unopened += is_directory and entry.depth == wanted.max_depth
    call.facts["entries"] = count
    notes = unreadable_note(len(unreadable))
    if unopened:
        notes.append(f"{unopened} directories at maxDepth are shown empty and may hold entries.")
    if cut:
        notes.insert(0, f"Cut after {count} entries; there are more.")
    return paged(tree.finish(), display(last or path) if cut else None, notes)


def _excluded(patterns: list[str]) -> Matcher | None:
    """A pattern with a star as it is; a plain name also anywhere below, with all that is in it."""
    globs: list[str] = []
    for pattern in patterns:
        globs += [pattern] if "*" in pattern else [pattern, f"**/{pattern}", f"**/{pattern}/**"]
    return compile_any(globs)


DIRECTORY_TREE: Final = Tool(
    name="directory_tree",
    title="Directory Tree",
    description="A directory with all that is below it, as JSON: name, type, and children of directories.",
    arguments=DirectoryTree,
    annotations=READS,
    needs=frozenset({Action.LIST}),
    paths={"path": Access.LIST},
    check=check_directory,
    body=directory_tree,
)
