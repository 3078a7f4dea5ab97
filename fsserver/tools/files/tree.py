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
from fsserver.policy.service import CallClass
from fsserver.tools.arguments import WholeNumber
from fsserver.tools.call import Call
from fsserver.tools.files.paging import (
    MAX_ENTRIES,
    Relative,
    Resumption,
    Walked,
    beyond_notes_of,
    check_directory,
    long_note,
    paged,
    unreadable_note,
)
from fsserver.tools.files.read import text_budget
from fsserver.tools.globbing.globs import Matcher, compile_any
from fsserver.tools.registry import READS, Tool
from fsserver.tools.result import ToolResult

MAX_EXCLUDES: Final = 64
AMPLE_BYTES: Final = 64 * 1024
"""With so much left there is room for every cursor: a path has at most 4,096 bytes, escaped four times that."""


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

    @property
    def depth(self) -> int:
        """How many directories are open: the last that was added, if it is one, and those that hold it."""
        return len(self._filled) - 1

    @property
    def left(self) -> int:
        """Bytes that can still be added."""
        return self._budget - self._closing

    def reserve(self, size: int) -> bool:
        """Keeps so many bytes free for good; False if they are not there."""
        if size > self._budget - self._closing:
            return False
        self._budget -= size
        return True

    def add(self, name: str, *, directory: bool, depth: int, spare: int = 0) -> bool:
        """Adds an entry at ``depth`` (1 is the top); False if it does not fit any more, with ``spare`` bytes left."""
        filled, levels = self._filled, self._levels
        while len(filled) > depth:
            self._close()
        while len(levels) <= depth:
            levels.append(_Level.at(len(levels) + 1))
        level = levels[depth - 1]
        quoted = encode_basestring(name)
        comma = "," if filled[-1] else ""
        text = f"{comma}{level.name}{quoted}{level.directory if directory else level.file}"
        closing = len(level.close) if directory else 0
        size = len(text) if quoted.isascii() else len(text.encode("utf-8"))
        if size + closing + spare > self._budget - self._closing:
            return False
        self._budget -= size
        self._parts.append(text)
        filled[-1] = True
        if directory:
            filled.append(False)
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


class _Page:
    """One result: what of the walk fits it, after the pages before.

    Directories that hold what is new are shown again, and where they alone fill a result nothing new ever fits. Then
    what is below the last of them is left out with a note that says how to see it. So every page comes further.

    Attributes:
        count: entries that are new.
        last: where the next page begins, not displayed; empty while nothing was shown or left out.
        full: the entry that was not added begins the next page.
    """

    def __init__(self, base: str, result_bytes: int) -> None:
        self._base = base
        self._budget = text_budget(result_bytes)
        self._tree = TreeText(self._budget)
        self._left_out: str | None = None  # a directory, with a slash at its end
        self._too_deep: list[str] = []
        self._too_long = 0
        self.count = 0
        self.last = ""
        self.full = False

    def leaves_out(self, path: str) -> bool:
        return self._left_out is not None and path.startswith(self._left_out)

    def add(self, entry: Entry, path: str, *, directory: bool, new: bool) -> bool:
        """Whether the entry at ``path`` is shown. If not, the page is full, or it is left out with what is in it."""
        depth, tree = entry.depth, self._tree
        spare = beyond_notes_of(path) if new and tree.left < AMPLE_BYTES else 0
        if (tree.depth >= depth - 1 or self._open(path)) and tree.add(
            display(entry.name), directory=directory, depth=depth, spare=spare
        ):
            if new:
                self.count += 1
                self.last = path
            return True
        if self.last:
            self.full = True
        elif depth > 1:
            self._leave_out(path.rpartition("/")[0])
        else:
            self._too_long += 1
        return False

    def _open(self, path: str) -> bool:
        """Shows the directories that lead to an entry, where the page was begun anew below them."""
        shown = self._tree.depth
        return all(
            self._tree.add(display(name), directory=True, depth=depth)
            for depth, name in enumerate(path.split("/")[shown:-1], shown + 1)
        )

    def _leave_out(self, directory: str) -> None:
        """Begins the page anew after all that is in the directory. Nothing on it was new."""
        self._left_out = f"{directory}/"
        self.last = self._left_out
        self._tree = TreeText(self._budget)
        note = f"Too deep for one result: call directory_tree with path {self._base}/{display(directory)}"
        if not self._tree.reserve(len(note.encode("utf-8")) + beyond_notes_of(self.last)):
            note = "A directory is too deep for one result, and its path is too long to name it."
        self._too_deep.append(note)

    def text(self) -> str:
        return self._tree.finish() if self.count or not self.full else "[]"

    def notes(self) -> list[str]:
        cut = [f"Cut after {self.count} entries; there are more."] if self.full else []
        return cut + self._too_deep + long_note(self._too_long, "name")


def directory_tree(call: Call[DirectoryTree]) -> ToolResult:
    wanted, target = call.arguments, call.targets["path"]
    excluded = _excluded(wanted.exclude_patterns)
    resumption = Resumption(wanted.cursor)
    relative = Relative(target.name)
    page = _Page(display(target.shown), call.limits.result_bytes)
    skip: Entry | None = None
    unreadable: list[str] = []
    unopened = 0

    def enter(entry: Entry) -> bool:
        return entry is not skip

    def failed(entry: Entry, error: FsserverError) -> None:  # noqa: ARG001 - only counted
        unreadable.append(entry.name)

    for entry in walk(
        target, max_depth=wanted.max_depth, checkpoint=call.control.checkpoint, enter=enter, unreadable=failed
    ):
        path = relative(entry)
        if page.leaves_out(path) or (excluded is not None and excluded(path)):
            skip = entry
            continue
        is_directory = entry.kind == "directory"
        again = wanted.cursor is not None and resumption.seen(path)
        if again and not (is_directory and resumption.leads_on(path)):
            skip = entry
            continue
        if not again and page.count == wanted.max_entries:
            page.full = True
            break
        if page.add(entry, path, directory=is_directory, new=not again):
            unopened += is_directory and entry.depth == wanted.max_depth
        elif page.full:
            break
        else:
            skip = entry
    call.facts["entries"] = page.count
    notes = page.notes() + unreadable_note(len(unreadable))
    if unopened:
        notes.append(f"{unopened} directories at maxDepth are shown empty and may hold entries.")
    return paged(page.text(), display(page.last) if page.full else None, notes)


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
    call_class=CallClass.SEARCH,
    needs=frozenset({Action.LIST}),
    paths={"path": Access.LIST},
    check=check_directory,
    body=directory_tree,
)
