"""The names below a directory that match a pattern: what a cell does itself for `search_files`. Standard library only.

It runs in a process of its own, so that a walk over a million names takes nobody's turn in the server's interpreter.

*Trust.* Names are hostile. The patterns were made by the server, in a form whose work is bounded.

*Invariant.* Every directory is opened beneath the first one without following a link, openat2(2). Nothing is opened but
directories.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from fsserver.kernel import constants as c
from fsserver.kernel.syscalls import file_system, open_how, openat2

_DIRECTORY: Final = open_how(os.O_RDONLY | c.O_DIRECTORY, c.RESOLVE_BENEATH | c.RESOLVE_NO_SYMLINKS)

FLUSH_BYTES: Final = 32 * 1024
REPORT_ENTRIES: Final = 16 * 1024

# File systems that count the subdirectories of a directory in its links, so that 2 says there are none (ext4(5) and
# xfs(5) count; tmpfs does). Others say 1, or anything.
_COUNTING: Final = frozenset({0xEF53, 0x58465342, 0x01021994})


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for. Paths are relative to where the walk begins.

    Attributes:
        match: of the whole path, from its first character.
        without: the same for what is left out, directories with all that is in them; None for nothing.
        holding: texts of which a directory's names must hold each somewhere, or none of them matches.
        after: only what a walk meets after this path, as its components; empty for everything.
        max_depth: 1 is what the first directory holds; 0 is no bound.
        kinds: letters of `kind_of`.
        times: tell of each match when it was modified.
    """

    match: re.Pattern[str]
    without: re.Pattern[str] | None = None
    holding: tuple[str, ...] = ()
    after: tuple[bytes, ...] = ()
    max_depth: int = 0
    kinds: str = "dflo"
    times: bool = False

    @classmethod
    def of(cls, arguments: Sequence[str]) -> Wanted:
        given: dict[str, list[str]] = {}
        for argument in arguments:
            name, _, value = argument.partition("=")
            given.setdefault(name, []).append(value)

        def one(name: str, default: str) -> str:
            return given.get(name, [default])[0]

        after = one("--after", "").removeprefix("./")
        without = given.get("--without")
        return cls(
            match=re.compile(one("--match", "(?!)"), re.DOTALL),
            without=None if without is None else re.compile(without[0], re.DOTALL),
            holding=tuple(given.get("--holding", ())),
            after=tuple(os.fsencode(part) for part in after.split("/") if part),
            max_depth=int(one("--max-depth", "0")),
            kinds=one("--kinds", "dflo"),
            times="--times" in given,
        )


def main(arguments: Sequence[str]) -> int:
    """Walk the current directory and write to standard output; each line of the following ends with NUL.

    - a letter of `kind_of` and a path: a match. With ``--times``: the letter, st_mtime in ns, a space, st_nlink, a
      space, the path;
    - ``!`` and a path: a directory that could not be read;
    - ``#`` and a number: so many names were looked at so far;
    - ``.`` and a number: the same, and it is done.
    """
    Walk(Wanted.of(arguments), os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)).run()
    return 0


class Walk:
    """Depth first: each directory before what is in it, the names in a directory sorted by their bytes."""

    def __init__(self, wanted: Wanted, top: int) -> None:
        self._wanted = wanted
        self._top = top
        self._entries = 0
        self._reported = 0
        self._out: list[bytes] = []
        self._size = 0
        self._counts_links: dict[int, bool] = {}  # by device

    def run(self) -> None:
        levels = [self._open("", os.dup(self._top))]
        while levels:
            prefix = next(levels[-1], None)
            if prefix is None:
                levels.pop()
                continue
            try:
                descriptor = openat2(self._top, os.fsencode(prefix), _DIRECTORY)
            except FileNotFoundError:
                continue  # it went meanwhile
            except OSError:
                self._say(f"!{prefix}")
                continue
            levels.append(self._open(f"{prefix}/", descriptor))
        self._say(f".{self._entries}")
        self._flush()

    def _open(self, prefix: str, descriptor: int) -> Iterator[str]:
        """The directories to go into next, in turn, telling of what matches on the way. Closes ``descriptor``."""
        try:
            names, directories = self._list(descriptor)
            told = self._told(prefix, names, descriptor)
        except OSError:
            self._say(f"!{prefix.removesuffix('/')}")
            return
        finally:
            os.close(descriptor)
        if prefix.count("/") + 1 == self._wanted.max_depth:
            directories = frozenset()
        for name in sorted(directories.union(told), key=os.fsencode):
            path = prefix + name
            if name in told:
                self._say(told[name] + path)
            if name in directories and not self._passed(path, within=True) and not self._left_out(path):
                yield path

    def _list(self, descriptor: int) -> tuple[list[str], frozenset[str]]:
        """All names, and those of directories."""
        status = os.fstat(descriptor)
        counts = self._counts_links.get(status.st_dev)
        if counts is None:
            counts = self._counts_links[status.st_dev] = file_system(descriptor).magic in _COUNTING
        directories: frozenset[str] = frozenset()
        if counts and status.st_nlink == 2:
            names = os.listdir(descriptor)  # no name has to be asked what it is
        else:
            with os.scandir(descriptor) as found:
                entries = list(found)
            names = [entry.name for entry in entries]
            directories = frozenset(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        self._entries += len(names)
        if self._entries - self._reported >= REPORT_ENTRIES:
            self._reported = self._entries
            self._say(f"#{self._entries}")
            self._flush()
        return names, directories

    def _told(self, prefix: str, names: Sequence[str], descriptor: int) -> dict[str, str]:
        """What matches, each with what is said before its path."""
        wanted = self._wanted
        together = "/".join(names)
        if not all(text in together for text in wanted.holding):
            return {}
        match = wanted.match.match
        told = {}
        for name in names:
            path = prefix + name
            if match(path) is None or self._passed(path, within=False) or self._left_out(path):
                continue
            try:
                status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            except OSError:
                continue  # it went meanwhile
            kind = kind_of(status.st_mode)
            if kind in wanted.kinds:
                told[name] = f"{kind}{status.st_mtime_ns} {status.st_nlink} " if wanted.times else kind
        return told

    def _left_out(self, path: str) -> bool:
        return self._wanted.without is not None and self._wanted.without.match(path) is not None

    def _passed(self, path: str, *, within: bool) -> bool:
        """Whether the path comes no later than `Wanted.after`; ``within``: and all that is in it."""
        after = self._wanted.after
        if not after:
            return False
        key = tuple(os.fsencode(path).split(b"/"))
        return key <= after and not (within and after[: len(key)] == key)

    def _say(self, text: str) -> None:
        data = os.fsencode(text)
        self._out.append(data)
        self._size += len(data)
        if self._size >= FLUSH_BYTES:
            self._flush()

    def _flush(self) -> None:
        data = memoryview(b"".join(each + b"\0" for each in self._out))
        self._out, self._size = [], 0
        while data:
            data = data[os.write(1, data) :]


def kind_of(mode: int) -> str:
    """A letter for what ``st_mode`` says: d, f, l, or o for a FIFO, a socket or a device."""
    if stat.S_ISREG(mode):
        return "f"
    if stat.S_ISDIR(mode):
        return "d"
    return "l" if stat.S_ISLNK(mode) else "o"
