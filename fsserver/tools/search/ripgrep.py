"""One search by ripgrep: what is run, and in which order what it finds is told.

ripgrep is fastest with several threads, which tell of files in any order; a client wants pages that follow each other.
So the first run is as fast as can be, and what it finds is sorted. If that is much, it is stopped, and a second run
goes through the files in order: there is so much to find that it soon fills a page.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any, Final, NamedTuple

from fsserver.errors import BadArguments, SandboxSetupError
from fsserver.paths.names import join
from fsserver.paths.target import Target
from fsserver.policy.compiled import Own
from fsserver.sandbox.runner import EndedBy
from fsserver.tools.call import Call
from fsserver.tools.files.paging import key_of
from fsserver.tools.search.engine import SearchEngine
from fsserver.tools.search.jsonlines import JsonLines
from fsserver.tools.search.lines import Line, leaves_out, lines_of, parse, path_of

MOST_HELD: Final = 4_000
"""Lines that the first run may find, in all and in one file. A page holds fewer."""

MOST_HELD_BYTES: Final = 8 * 1024**2

MOST_WORDS: Final = 12

MOST_COMPLAINT: Final = 16 * 1024
"""What is kept of one; what is said of a file that cannot be read is shorter."""

# How messages begin that hold lines.
_MATCH: Final = b'{"type":"match"'
_FOUND: Final = (_MATCH, b'{"type":"context"')

_MULTILINE: Final = "--multiline"

_BEGINNING: Final = b"rg: "
_ABOUT_FILE: Final = b"rg: ./"
_OS_ERROR: Final = re.compile(rb"[^\n]* \(os error [0-9]+\)")
_PANIC: Final = re.compile(rb"thread '[^']*' (?:\([0-9]+\) )?panicked at ")
_TROUBLE: Final = 2  # ripgrep's exit status when anything went wrong


@dataclass(frozen=True, slots=True)
class Place:
    """Where to search: in ``directory`` beneath the target's root, in all of it or in the file ``name``."""

    target: Target
    directory: str
    name: str


class _Found(NamedTuple):
    """A message of ripgrep's that holds lines, and the file that they are of."""

    path: str
    message: bytes


class Grep:
    """One search. Iterate over `files` once.

    Attributes:
        in_order: everything before what was told last was searched.
        unreadable: files and directories that this user may not read.
        broken_off: files in which something was found and that ripgrep left at a NUL byte, as binary.
        left_out: places where matches follow each other for so long that only the first of them were told.
        stopped: why it ended before its end, ending a sentence; None if it did not.
    """

    def __init__(
        self,
        engine: SearchEngine,
        call: Call[Any],
        place: Place,
        arguments: Sequence[str],
        after: tuple[str, int] | None,
    ) -> None:
        """Args:
        after: the path and the number of the last line that was told before.
        """
        self._engine = engine
        self._call = call
        self._place = place
        self._arguments = list(arguments)
        self._after = None if after is None else (key_of(after[0]), after[1])
        self._out_of_memory = False
        self._capped = False  # a file holds more than the first run tells of
        self.in_order = False
        self.unreadable = 0
        self.broken_off = 0
        self.left_out = 0
        self.stopped: str | None = None

    def files(self) -> Iterator[tuple[str, Iterable[Line]]]:
        """Each file in which something was found, sorted as a walk meets them, with its lines.

        Raises:
            BadArguments: ripgrep does not understand the pattern, or another argument.
            Cancelled, SandboxSetupError.
        """
        held = self._some()
        if held is None:
            self.in_order, self.stopped = True, None
            with closing(self._found("--sort=path")) as found:
                for path, some in groupby(found, attrgetter("path")):
                    yield path, self._lines(path, some)
        else:
            for path in sorted(held, key=key_of):
                yield path, self._lines(path, held[path])

    def _some(self) -> dict[str, list[_Found]] | None:
        """Everything by file; None if that is too much to hold, here or for ripgrep, which holds what one file has."""
        held: dict[str, list[_Found]] = {}
        count = size = 0
        # Where matches share lines ripgrep tells them at once, and ends in a panic if they are more than --max-count.
        fastest = [] if _MULTILINE in self._arguments else [f"--max-count={MOST_HELD}"]
        with closing(self._found(*fastest)) as everything:
            for found in everything:
                held.setdefault(found.path, []).append(found)
                count += 1
                size += len(found.message)
                if count >= MOST_HELD or size >= MOST_HELD_BYTES or self._capped:
                    return None
        return None if self._capped or self._out_of_memory else held

    def _lines(self, path: str, some: Iterable[_Found]) -> Iterator[Line]:
        """What was not told before."""
        key = key_of(path)
        for found in some:
            message = _parsed(found.message)
            for line in lines_of(message):
                if self._after is None or (key, line.number) > self._after:
                    yield line
            self.left_out += leaves_out(message)

    def _found(self, *way: str) -> Generator[_Found, None, None]:
        """What ripgrep finds in files that may be told of, from the one on that was told of last."""
        complaints = Complaints(self._is_denied)
        where = (self._place.target, self._place.directory)
        arguments = [*self._arguments, *way, f"./{self._place.name}"]
        whole = False
        path, told = "", False
        matches = 0  # in this file
        self.broken_off = 0
        with self._engine.search(
            Own.CONTENT, where, arguments, self._call.control, records=JsonLines(), complaints=complaints
        ) as search:
            for record in search.records():
                if record.startswith(_FOUND):  # not taken apart before it is to be shown: most of it never is
                    matches += record.startswith(_MATCH)
                    self._capped |= matches >= MOST_HELD
                    if told:
                        yield _Found(path, record)
                    continue
                message = _parsed(record)
                if message["type"] == "begin":
                    path, matches = path_of(message) or "", 0
                    told = not self._is_denied(path) and (self._after is None or key_of(path) >= self._after[0])
                elif told and message["type"] == "end" and not self._place.name:  # one that is named is read to its end
                    self.broken_off += message["data"]["binary_offset"] is not None
                whole = message["type"] == "summary"
        self.stopped = search.stopped()
        self._out_of_memory = search.ended_by is EndedBy.MEMORY
        self.unreadable = complaints.unreadable
        if self.stopped is None and not whole:  # then the last message is missing
            raise complaints.error() if search.exit_code() == _TROUBLE else SandboxSetupError("The search broke off.")

    def _is_denied(self, path: str) -> bool:
        """In most layers a denied file is masked where ripgrep runs; what it says of one is not listened to."""
        return self._place.target.ruling.protected(join(self._place.directory, path))


class Complaints:
    """What ripgrep writes to standard error. A sink of a `Pump`.

    A complaint begins a line, and goes on in the next one where the name in it has a line break. One of its threads
    that panics is waited for by the others, for ever.

    Raises:
        BadArguments: it panicked.

    Attributes:
        unreadable: files and directories that it could not read, without those that are denied.
    """

    def __init__(self, is_denied: Callable[[str], bool]) -> None:
        self._is_denied = is_denied
        self._begun = b""
        self._complaint = b""
        self._words: list[str] = []
        self.unreadable = 0

    def add(self, data: memoryview) -> None:
        *lines, begun = (self._begun + data).split(b"\n")
        self._begun = begun[:MOST_COMPLAINT]
        for line in lines:
            self._hear(line)

    def _hear(self, line: bytes) -> None:
        if not self._complaint and _PANIC.match(line):
            raise BadArguments(
                "The search cannot be made: ripgrep ended in a failure of its own.",
                allowed_instead="the search without wholeWord or multiline, or with another pattern",
            )
        before = b"" if line.startswith(_BEGINNING) else self._complaint
        self._complaint = (before + b"\n" + line if before else line)[:MOST_COMPLAINT]
        said, _, why = self._complaint.rpartition(b": ")
        if said.startswith(_ABOUT_FILE) and _OS_ERROR.fullmatch(why):
            self.unreadable += not self._is_denied(os.fsdecode(said.removeprefix(_ABOUT_FILE)))
            self._complaint = b""
        elif len(self._words) < MOST_WORDS:
            self._words.append(line.decode("utf-8", "replace")[:200])

    def error(self) -> BadArguments:
        """What is wrong with the search, in ripgrep's words but for the flags that only it has."""
        said, _, hint = "\n".join(self._words).removeprefix("rg: ").partition("\n\n")
        return BadArguments(
            f"The search cannot be made: {said or 'ripgrep does not say why'}",
            allowed_instead="multiline: true" if "--multiline" in hint else None,
        )


def _parsed(record: bytes) -> Mapping[str, Any]:
    try:
        return parse(record)
    except ValueError:
        raise SandboxSetupError("The search said something else than it should.") from None
