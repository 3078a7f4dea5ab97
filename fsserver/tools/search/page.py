"""One result of search_content: as many of the lines that were found as fit it, each file looked at once more."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from fsserver.errors import FsserverError
from fsserver.paths.names import display, join
from fsserver.paths.root import Root
from fsserver.paths.workspace import Access, ClientPath
from fsserver.tools.call import Call
from fsserver.tools.files.paging import beyond_notes
from fsserver.tools.files.read import text_budget
from fsserver.tools.search.lines import Line

MOST_FILES: Final = 256  # each of them is in the audit record

SEPARATOR: Final = "--"
"""Between lines of one file that do not follow each other, where lines around matches are shown."""


class Page:
    """Lines as the client gets them.

    Attributes:
        matches, files: what is shown so far.
        long: lines that no result holds, because of their paths.
        cursor: stands for the last line shown.
        cut: something was found that does not fit.
    """

    def __init__(self, call: Call[Any], root: Root, directory: str, most: int | None, *, separated: bool) -> None:
        self._call = call
        self._above = join(root.shown, directory)
        self._most = most
        self._separated = separated
        self._left = text_budget(call.limits.result_bytes)
        self._lines: list[str] = []
        self.matches = 0
        self.files = 0
        self.long = 0
        self.cursor = ""
        self.cut = False

    def text(self) -> str:
        return "\n".join(self._lines)

    def add(self, path: str, lines: Iterable[Line]) -> bool:
        """The lines of a file, unless it may not be read; False when no more fits."""
        self._call.control.give_way()
        if not self._may_be_read(path):
            return True
        if self.files == MOST_FILES:
            self.cut = True
            return False
        self.files += 1
        shown = display(join(self._above, path))
        last = 0
        for line in lines:
            follows = last > 0 and line.number <= last + 1
            if self.matches == self._most and (line.matched or not follows):  # it, or what stands around the next one
                self.cut = True
                return False
            text = line.shown(shown)
            apart = self._separated and last > 0 and not follows
            cursor = f"{line.number}:{display(path)}"
            if not self._fits(text, apart=apart, cursor=cursor):
                if not self._lines:
                    self.long += 1  # no result holds it
                    continue
                self.cut = True
                return False
            if apart:
                self._lines.append(SEPARATOR)
            self._lines.append(text)
            self.matches += line.matched
            self.cursor = cursor
            last = line.number
        return True

    def _fits(self, text: str, *, apart: bool, cursor: str) -> bool:
        size = len(text.encode("utf-8")) + 1 + (len(SEPARATOR) + 1 if apart else 0)
        if size + beyond_notes(cursor) > self._left:
            return False
        self._left -= size
        return True

    def _may_be_read(self, path: str) -> bool:
        """Whether the gate lets the file be read now: as any file that a client asks for, also one whose other names
        are protected.
        """
        try:
            self._call.each(ClientPath(display(join(self._above, path))), Access.READ, lambda target: target.stat)
        except FsserverError:
            return False
        return True
