"""Names below a directory, from wherever they can be had, each with what the policy has to say about it.

They come in the order of a walk: each directory before what is in it, the names in a directory sorted by their bytes.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from typing import Final

from fsserver.errors import FsserverError, SandboxSetupError, TimeLimit
from fsserver.paths.entry import Directory, Entry, Kind
from fsserver.paths.names import display, join, split
from fsserver.paths.target import Target
from fsserver.paths.tree import walk
from fsserver.policy.compiled import Own
from fsserver.sandbox.streams import Sink
from fsserver.tools.control import Control
from fsserver.tools.files.paging import Relative, Resumption, key_of
from fsserver.tools.globbing.globs import Glob
from fsserver.tools.search.engine import EndedRecords, Search, SearchEngine
from fsserver.tools.search.ripgrep import Complaints

REPORT_ENTRIES: Final = 16_384

_TOO_LONG: Final = "it took as long as a call may"

KINDS: Final[dict[str, Kind]] = {"f": "file", "d": "directory", "l": "link", "o": "other"}
LETTERS: Final = {kind: letter for letter, kind in KINDS.items()}

# What a repository holds besides the files that it is about.
_GIT: Final = "--glob=!.git"
_RIPGREP_CODES: Final = (0, 1, 2)  # found, nothing found, something could not be read


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for. Paths are relative to the directory that is searched.

    Attributes:
        excluded: what is left out, directories with all that is in them.
        after: the last path of an earlier page, as `undisplay` has it.
        max_depth: 1 is what the directory itself holds.
        kinds: None is all.
        times: `Found.times` is needed.
    """

    match: Glob
    excluded: Glob | None = None
    after: str | None = None
    max_depth: int | None = None
    kinds: frozenset[Kind] | None = None
    times: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """One match.

    Attributes:
        path: relative to the directory that is searched.
        times: st_mtime in ns and st_nlink, where they are known.
    """

    path: str
    kind: Kind
    times: tuple[int, int] | None = None


class Finder:
    """One search for names. Iterate over `matches` once.

    Attributes:
        entries: names looked at.
        unreadable: directories that could not be listed.
        stopped: why it ended before its end, ending a sentence; None if it did not.
    """

    def __init__(self, target: Target, wanted: Wanted, control: Control, engine: SearchEngine) -> None:
        self._target = target
        self._wanted = wanted
        self._control = control
        self._engine = engine
        self._closed: dict[str, bool] = {}  # by directory: whether it, or one around it, is denied
        self._shut: Entry | None = None  # what a walk is not to enter
        self.entries = 0
        self.unreadable = 0
        self.stopped: str | None = None

    def matches(self, *, unignored: bool) -> Generator[Found, None, None]:
        """What is wanted, and may be shown.

        Args:
            unignored: only what git would not ignore; `SearchEngine.no_ripgrep` says whether that can be had.
        """
        with closing(self._source(unignored=unignored)) as source:
            for found in source:
                try:
                    if found.kind == "link":  # to follow one can take a third of a second
                        self._control.checkpoint()
                except TimeLimit:
                    self.stopped = _TOO_LONG
                    return
                if self._may_be_shown(found):
                    yield found

    def modified_ns(self, found: Found) -> int | None:
        """When it was modified, unless nothing may be told about it."""
        if self._protected(found.path):
            return None
        if found.times is not None and found.times[1] == 1:
            return found.times[0]
        try:
            return self._entry(found).stat().st_mtime_ns  # which knows protected files by their other names
        except FsserverError:
            return None

    def _source(self, *, unignored: bool) -> Generator[Found, None, None]:
        if unignored:
            return self._from_ripgrep()
        return self._from_walk() if self._engine.not_there(self._target) is not None else self._from_cell()

    # --- What may be shown

    def _may_be_shown(self, found: Found) -> bool:
        """A denied name is shown; nothing in a denied directory is, and no link that leads to what must not be known.
        In most layers a cell cannot look into a denied directory, and a walk here does not.
        """
        if self._is_closed(split(found.path)[0]):
            return False
        return found.kind != "link" or self._entry(found).leads_to() is not None

    def _is_closed(self, directory: str) -> bool:
        if not directory or not self._target.ruling.may_protect:
            return False
        closed = self._closed.get(directory)
        if closed is None:
            closed = self._protected(directory) or self._is_closed(split(directory)[0])
            self._closed[directory] = closed
        return closed

    def _protected(self, path: str) -> bool:
        return self._target.ruling.protected(join(self._target.name, path))

    def _entry(self, found: Found) -> Entry:
        directory, name = split(join(self._target.name, found.path))
        above = Directory(self._target.ruling, self._target.resolver, directory, -1)
        return Entry(name, found.kind, above, found.path.count("/") + 1)

    # --- Where names come from

    def _from_cell(self) -> Generator[Found, None, None]:
        """From a walk in a process of its own, and where none can be had, from one in this thread."""
        begun = False
        try:
            with self._search(Own.NAMES, self._arguments()) as search:
                for record in search.records():
                    begun = True
                    found = self._heard(record)
                    if found is not None:
                        yield found
            self._ended(search, (0,))
        except SandboxSetupError:
            if begun:
                raise
            yield from self._from_walk()

    def _arguments(self) -> list[str]:
        wanted = self._wanted
        arguments = [f"--match={wanted.match.expression}"]
        # No value begins with a dash, which is how flags are told from values.
        arguments += [f"--holding={text}" for text in wanted.match.holding if not text.startswith("-")]
        if wanted.excluded is not None:
            arguments.append(f"--without={wanted.excluded.expression}")
        if wanted.after is not None:
            arguments.append(f"--after=./{wanted.after}")
        if wanted.max_depth is not None:
            arguments.append(f"--max-depth={wanted.max_depth}")
        if wanted.kinds is not None:
            arguments.append(f"--kinds={''.join(LETTERS[kind] for kind in sorted(wanted.kinds))}")
        return [*arguments, "--times"] if wanted.times else arguments

    def _heard(self, record: bytes) -> Found | None:
        """One record of `fsserver.sandbox.names.main`."""
        letter, rest = chr(record[0]), record[1:]
        if letter in KINDS:
            times = None
            if self._wanted.times:
                modified, links, rest = rest.split(b" ", 2)
                times = (int(modified), int(links))
            return Found(os.fsdecode(rest), KINDS[letter], times)
        if letter == "!":
            path = os.fsdecode(rest)
            self.unreadable += not (self._protected(path) or self._is_closed(path))
        else:
            self.entries = int(rest)
            if letter == "#":
                self._report()
        return None

    def _from_walk(self) -> Generator[Found, None, None]:
        wanted, relative = self._wanted, Relative(self._target.name)
        match = wanted.match.matcher()
        excluded = None if wanted.excluded is None else wanted.excluded.matcher()
        resumption = Resumption(None if wanted.after is None else display(wanted.after))
        try:
            for entry in walk(
                self._target,
                max_depth=wanted.max_depth,
                checkpoint=self._control.checkpoint,
                enter=lambda entry: entry is not self._shut,
                unreadable=self._unreadable,
            ):
                self.entries += 1
                if self.entries % REPORT_ENTRIES == 0:
                    self._report()
                path = relative(entry)
                if wanted.after is not None and resumption.seen(path):
                    self._shut = self._shut if resumption.leads_on(path) else entry
                elif excluded is not None and excluded(path):
                    self._shut = entry
                elif match(path) and (wanted.kinds is None or entry.kind in wanted.kinds):
                    yield Found(path, entry.kind)
        except TimeLimit:
            self.stopped = _TOO_LONG

    def _unreadable(self, entry: Entry, error: FsserverError) -> None:  # noqa: ARG002 - only counted
        self.unreadable += 1

    def _from_ripgrep(self) -> Generator[Found, None, None]:
        """What git would not ignore. A directory is there for what is in it, so one without any such file is not."""
        wanted = self._wanted
        match = wanted.match.matcher()
        excluded = None if wanted.excluded is None else wanted.excluded.matcher()
        after = None if wanted.after is None else key_of(wanted.after)
        out: str | None = None  # a directory that is left out, with a slash at its end
        arguments = ["--hidden", _GIT, "--sort=path", "./"]
        complaints = Complaints(lambda path: self._protected(path) or self._is_closed(path))
        with self._search(Own.FILES, arguments, complaints) as search:
            for path, kind in _with_directories(self._paths(search)):
                if out is not None and path.startswith(out):
                    continue
                if excluded is not None and excluded(path):
                    out = f"{path}/"
                    continue
                if wanted.max_depth is not None and path.count("/") >= wanted.max_depth:
                    continue
                fits = wanted.kinds is None or kind in wanted.kinds
                if fits and match(path) and (after is None or key_of(path) > after):
                    yield Found(path, kind)
        self.unreadable = complaints.unreadable
        self._ended(search, _RIPGREP_CODES)

    def _paths(self, search: Search) -> Iterator[str]:
        for record in search.records():
            self.entries += 1
            if self.entries % REPORT_ENTRIES == 0:
                self._report()
            yield os.fsdecode(record.removeprefix(b"./"))

    def _search(
        self, what: Own, arguments: Sequence[str], complaints: Sink | None = None
    ) -> AbstractContextManager[Search]:
        start, records = (self._target, self._target.name), EndedRecords(b"\0")
        return self._engine.search(what, start, arguments, self._control, records=records, complaints=complaints)

    def _ended(self, search: Search, codes: Sequence[int]) -> None:
        self.stopped = search.stopped()
        if self.stopped is None and search.exit_code() not in codes:
            raise SandboxSetupError("The search broke off.")

    def _report(self) -> None:
        self._control.report(self.entries, None, f"{self.entries} names looked at")


def _with_directories(files: Iterable[str]) -> Iterator[tuple[str, Kind]]:
    """The paths of files, sorted as a walk meets them, each with the directories before it that were not yet there."""
    around: list[str] = []
    for file in files:
        parts = file.split("/")
        directories = ["/".join(parts[:depth]) for depth in range(1, len(parts))]
        for directory in directories:
            if directory not in around:
                yield directory, "directory"
        around = directories
        yield file, "file"
