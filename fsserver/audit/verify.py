"""Reads a log to its end and says whether it is whole. Needs nothing but the files, and constant memory.

What the answer can mean: *whole* says that no record was changed, removed, added or moved before the last one. It
cannot say that nothing came after it: a tail cut off at the end of a record, or a log that somebody wrote anew as a
whole, looks like any other. A head (the hash of a record) that was kept elsewhere closes that gap: ``expect_head``.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import IntEnum
from typing import BinaryIO

from fsserver.audit.chain import (
    GENESIS,
    START,
    ChainError,
    Position,
    UnknownVersionError,
    before,
    enter,
    follow,
    unseal,
)
from fsserver.audit.record import (
    LOG_CONTINUED,
    LOG_HEALED,
    LOG_ROTATED,
    MAX_RECORD_BYTES,
    RUN_END,
    RUN_START,
    Record,
    may_begin_a_log,
)
from fsserver.audit.segment import hidden_name, leads_out


class Status(IntEnum):
    """The verdict on a chain or on all of them. The value is the exit code."""

    WHOLE = 0
    TAMPERED = 1
    UNREADABLE = 2
    CUT = 3
    TORN = 4


# What every record holds, however the bytes around it were changed: so a file without it never was a log of ours.
_LINK = re.compile(rb'"(?:prev|hash)"\s{0,8}:\s{0,8}"[0-9a-f]{64}"')
_LONGEST_LINK = 128
_BLOCK = 256 * 1024

_WORST_FIRST = (Status.TAMPERED, Status.CUT, Status.UNREADABLE, Status.TORN, Status.WHOLE)


@dataclass(frozen=True, slots=True)
class Problem:
    """Where a chain stops being one. ``line``: from 1, 0 if there is none; ``seq``: the number that must come there."""

    file: str
    line: int
    seq: int
    reason: str


@dataclass(slots=True)
class Chain:
    """What was found in one chain: a run's file, or the files that rotation linked.

    Attributes:
        files: base names, in order.
        first: number of the first record, 0 if there is none. More than 1: the files before were not looked at.
        last: number and hash of the last sound record.
        runs: how many runs began; healed: how often a torn end or a failure was healed.
        ended: the last record is ``run.end``. If not, the server is running, was killed, or the tail was cut.
        live: a server held the lock of one of the files: it is being written now.
        expected: the number of the record whose hash is the expected head.
    """

    files: list[str] = field(default_factory=list)
    status: Status = Status.WHOLE
    problem: Problem | None = None
    first: int = 0
    last: Position = START
    runs: int = 0
    healed: int = 0
    ended: bool = False
    live: bool = False
    expected: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer. ``skipped``: how many entries of a directory are no ``.jsonl`` and so were not looked at."""

    path: str
    status: Status
    chains: tuple[Chain, ...]
    expect_head: str | None
    skipped: int
    message: str | None = None


def verify(path: str, expect_head: str | None = None) -> Verdict:
    """Verify the file `path` and what it continues in, or every ``.jsonl`` of the directory `path`.

    `expect_head` is the hash of any record, 64 hex digits: if no record has it, the log was cut (or written anew).
    Never raises for what is in the files or for what the system says to reading them.
    """
    try:
        if not stat.S_ISDIR(os.stat(path).st_mode):
            directory, name = os.path.split(path)
            there = frozenset(os.listdir(directory or "."))
            return _verdict(path, [_checked(directory or ".", name, there, expect_head)], expect_head, 0)
        names = sorted(name for name in os.listdir(path) if not name.startswith("."))
    except OSError as error:
        return Verdict(path, Status.UNREADABLE, (), expect_head, 0, os.strerror(error.errno or errno.EIO))
    logs = [name for name in names if name.endswith(".jsonl")]
    if not logs:
        return Verdict(path, Status.UNREADABLE, (), expect_head, len(names), "no .jsonl file in this directory")
    return _verdict(path, _chains(path, logs, expect_head), expect_head, len(names) - len(logs))


def _verdict(path: str, chains: list[Chain], expect_head: str | None, skipped: int) -> Verdict:
    statuses = {chain.status for chain in chains}
    if expect_head is not None and all(chain.expected is None for chain in chains):
        statuses.add(Status.CUT)
    return Verdict(path, min(statuses, key=_WORST_FIRST.index), tuple(chains), expect_head, skipped)


def _chains(directory: str, names: list[str], expect_head: str | None) -> list[Chain]:
    """Every chain of a directory: first those that begin there, then files that say they continue one, but do not."""
    there = frozenset(names)
    beginnings = [name for name in names if not _continues(directory, name)]
    chains = [_checked(directory, name, there, expect_head) for name in beginnings]
    seen = {name for chain in chains for name in chain.files}
    read = {name for chain in chains for name in _read(chain)}
    for name in names:
        if name not in seen:
            chain = _checked(directory, name, there, expect_head, read)
            seen.update(chain.files)
            read.update(_read(chain))
            if chain.status is not Status.TAMPERED:
                reason = "continues a file that is not here or does not lead to it"
                chain.status, chain.problem = Status.TAMPERED, Problem(name, 1, chain.first, reason)
            chains.append(chain)
    return chains


def _read(chain: Chain) -> list[str]:
    """The files of which more than the first record was looked at: a second look finds nothing else in them."""
    stopped = chain.problem is not None and chain.problem.file == chain.files[-1] and chain.problem.line <= 1
    return chain.files[:-1] if stopped else chain.files


def _continues(directory: str, name: str) -> bool:
    """Whether the file's first record says that it is the middle of a chain."""
    try:
        with _opened(os.path.join(directory, name)) as stream:
            return unseal(stream.readline(MAX_RECORD_BYTES)).get("event") == LOG_CONTINUED
    except (OSError, ChainError):
        return False


def _checked(
    directory: str, name: str, there: frozenset[str], expect_head: str | None, read: AbstractSet[str] = frozenset()
) -> Chain:
    """One chain. A live one is read a second time before it is called anything bad: while a writer takes back half a
    record, or names its next file, a reader can see what never was in the log."""
    chain = _Walk(directory, there, expect_head, read).walk(name)
    if chain.live and chain.status is not Status.WHOLE:
        chain = _Walk(directory, there, expect_head, read).walk(name)
    return chain


def _opened(path: str) -> BinaryIO:
    """Open a regular file for reading, without waiting if it is none. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file")
    return os.fdopen(descriptor, "rb", buffering=256 * 1024)


class _Stop(Exception):  # noqa: N818 - a place, not an error
    """The walk ends here. ``reason`` completes "the record that comes here ..."."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class _Walk:
    """One pass over one chain: the files that were there when `verify` began, each as long as when it is opened.

    A server that writes faster than this reads would otherwise keep it reading for ever. ``read``: files that another
    pass read; this one stops there, or files that continue one another would all be read once for each before them.
    """

    def __init__(self, directory: str, there: frozenset[str], expect_head: str | None, read: AbstractSet[str]) -> None:
        self._directory = directory
        self._there = there
        self._expect = expect_head
        self._read = read
        self._chain = Chain()
        self._line = 0

    def walk(self, name: str) -> Chain:
        """Check `name` and what it continues in."""
        previous: str | None = None
        following: str | None = name
        while following is not None and following not in self._read:
            name = following
            self._chain.files.append(name)
            self._line = 0
            try:
                previous, following = name, self._file(name, previous)
            except _Stop as stop:
                following = None
                problem = Problem(name, self._line, self._chain.last.seq + 1, stop.reason)
                self._chain.status, self._chain.problem = stop.status, problem
        return self._chain

    def _file(self, name: str, previous: str | None) -> str | None:
        """Check one file; the name of the next, if a rotation ended it. Raises _Stop."""
        try:
            with _opened(os.path.join(self._directory, name)) as stream:
                try:
                    last = self._records_of_a_log(stream, previous)
                finally:
                    self._chain.live |= _is_live(stream.fileno())
        except UnknownVersionError as error:
            raise _Stop(Status.UNREADABLE, error.reason) from error
        except ChainError as error:
            raise _Stop(Status.TAMPERED, error.reason) from error
        except EOFError as error:
            now = "is being written at this moment" if self._chain.live else "has no end: its writer was stopped in it"
            raise _Stop(Status.TORN, f"{now}; every record before it is sound") from error
        except OSError as error:
            if isinstance(error, FileNotFoundError) and previous is not None:
                raise self._missing(name) from error
            raise _Stop(Status.UNREADABLE, f"cannot be read: {error.strerror}") from error
        if not last:
            raise _Stop(Status.UNREADABLE, "is not there: the file is empty")
        self._chain.ended = last.get("event") == RUN_END
        if last.get("event") != LOG_ROTATED:
            return None
        following = last.get("next")
        if not isinstance(following, str) or leads_out(following):
            raise _Stop(Status.TAMPERED, "names a next file that is none")
        if following not in self._there and os.path.lexists(os.path.join(self._directory, following)):
            self._chain.live = True
            return None  # begun since: for the next time
        return following

    def _missing(self, name: str) -> _Stop:
        """The chain says that it goes on in `name`, and there is no such file."""
        self._chain.files.pop()
        if os.path.exists(os.path.join(self._directory, hidden_name(name))):
            return _Stop(
                Status.TORN, "is in a file that has no name yet: the writer was stopped while it changed files"
            )
        return _Stop(Status.CUT, "is in a file that the record before it names and that is not here: it was removed")

    def _records_of_a_log(self, stream: BinaryIO, previous: str | None) -> Record:
        """As `_records`. Raises _Stop too: the file that the chain should begin with never was a log."""
        try:
            return self._records(stream, previous)
        except (ChainError, EOFError):
            if previous is None and self._line == 1 and _never_was_a_log(stream.fileno()):
                self._line = 0
                raise _Stop(Status.UNREADABLE, "is not there: this is no fsserver audit log") from None
            raise

    def _records(self, stream: BinaryIO, previous: str | None) -> Record:
        """Check every record that the file has now (a live server's next ones are for the next time); the last.

        Raises ChainError, EOFError for a last line without an end, OSError.
        """
        chain, expect = self._chain, self._expect
        record: Record = {}
        event = None
        number, position = 0, chain.last
        left = os.fstat(stream.fileno()).st_size
        try:
            while left > 0:
                number += 1
                line = stream.readline(MAX_RECORD_BYTES + 1)
                left -= len(line)
                if line[-1:] != b"\n":
                    raise ChainError("is longer than any record") if len(line) > MAX_RECORD_BYTES else EOFError
                if event == LOG_ROTATED:
                    raise ChainError("comes after the record that ended this file")
                record = unseal(line)
                position = follow(record, position) if number > 1 else self._first(record, previous)
                event = record.get("event")
                if position.head == expect:
                    chain.expected = position.seq
                if event == RUN_START:
                    chain.runs += 1
                elif event == LOG_HEALED:
                    chain.healed += 1
        finally:
            self._line, chain.last = number, position
        return record

    def _first(self, record: Record, previous: str | None) -> Position:
        """The first record of a file: what a chain begins with, or goes on with, or, asked for by name, its middle."""
        if previous is not None:
            return enter(record, self._chain.last, previous)
        if record.get("event") == LOG_CONTINUED:
            self._chain.first, before_it = before(record).seq + 1, before(record)
            if before_it.head == GENESIS:
                raise ChainError("says that it continues a file, but follows no record")
            return follow(record, before_it)
        self._chain.first = 1
        return enter(record, START, None)


def _never_was_a_log(descriptor: int) -> bool:
    """Whether no byte of the file says that it was a log: not its beginning, and nowhere a link of the chain.

    Whoever destroys the first line of a log leaves the links of the others, and who destroys them all leaves no log.
    Reads up to the end that the file has now.
    """
    if may_begin_a_log(os.pread(descriptor, _LONGEST_LINK, 0)):
        return False
    size = os.fstat(descriptor).st_size
    for offset in range(0, size, _BLOCK):
        if _LINK.search(os.pread(descriptor, _BLOCK + _LONGEST_LINK, offset)):
            return False
    return True


def _is_live(descriptor: int) -> bool:
    """Whether a server holds the file's lock. Takes a shared lock for an instant, which a starting server waits out."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False
