"""One pass over one chain: every record read, in constant memory, and what was found told as a `Chain`."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, TypeAlias

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
    LOG_CHECKPOINT,
    LOG_CONTINUED,
    LOG_HEALED,
    LOG_REMOVED,
    LOG_ROTATED,
    MAX_RECORD_BYTES,
    RUN_END,
    RUN_START,
    Record,
    may_begin_a_log,
)
from fsserver.audit.segment import hidden_name, leads_out
from fsserver.audit.signatures import Signatures

if TYPE_CHECKING:
    from fsserver.audit.signing import PublicKey

# What every record holds, however the bytes around it were changed: so a file without it never was a log of ours.
_LINK = re.compile(rb'"(?:prev|hash)"\s{0,8}:\s{0,8}"[0-9a-f]{64}"')
_LONGEST_LINK = 128
_BLOCK = 256 * 1024

# What is looked at beyond its place in the chain.
# A tuple: what a hostile record has for an event may have no hash.
_TELLING = (RUN_START, RUN_END, LOG_HEALED, LOG_CHECKPOINT, LOG_REMOVED)


class Status(IntEnum):
    """The verdict on a chain or on all of them. The value is the exit code."""

    WHOLE = 0
    TAMPERED = 1
    UNREADABLE = 2
    CUT = 3
    TORN = 4


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
        signed: the number of the last record that a signature covers which holds; 0 for none.
        signed_by: ids of the keys that such signatures are by.
        unchecked: how many signatures there was no key for: the file that names it was not looked at.
        promised: a run names a key.
        found: the watched hashes that records have, with their numbers.
        removed: the watched files of which a record says that retention removed them.
        notes: sentences that change no verdict.
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
    signed: int = 0
    signed_by: list[str] = field(default_factory=list)
    unchecked: int = 0
    promised: bool = False
    found: dict[str, int] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)


class Link(NamedTuple):
    """What a run says of the one before it in its directory: its file's name, and a hash that a record of it has."""

    file: str
    head: str


OnRecord: TypeAlias = Callable[[Record, bytes], None] | None


@dataclass(frozen=True, slots=True)
class Search:
    """What to look for while walking.

    Attributes:
        expect_head: a hash that some record should have.
        keys: by id; if there are any, only signatures by them count.
        heads: hashes that runs name of the runs before them.
        gone: files that runs name, and that are not there.
        on_record: called with each sound record and its line, once; ``told``: not up to that number.
    """

    expect_head: str | None = None
    keys: Mapping[str, PublicKey] = field(default_factory=dict)
    heads: AbstractSet[str] = frozenset()
    gone: AbstractSet[str] = frozenset()
    on_record: OnRecord = None
    told: int = 0


def run_before(start: Record) -> Link | None:
    """What a ``run.start`` record says of the run before it; None if nothing. Raises ChainError if that is no link."""
    said = start.get("previous")
    if said is None:
        return None
    name, head = (said.get("file"), said.get("head")) if type(said) is dict else (None, None)
    if type(name) is not str or leads_out(name) or type(head) is not str or len(head) != len(GENESIS):
        raise ChainError("names a run before it that is none")
    return Link(name, head)


def open_log(path: str) -> BinaryIO:
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


class Walk:
    """One pass over one chain: the files that were there when `verify` began, each as long as when it is opened.

    A server that writes faster than this reads would otherwise keep it reading for ever. ``read``: files that another
    pass read; this one stops there, or files that continue one another would all be read once for each before them.
    """

    def __init__(self, directory: str, there: frozenset[str], search: Search, read: AbstractSet[str]) -> None:
        self._directory = directory
        self._there = there
        self._search = search
        self._watched = search.heads | ({search.expect_head} if search.expect_head else set())
        self._read = read
        self._chain = Chain()
        self._signatures = Signatures(search.keys)
        self._signers: set[str] = set()  # as `Chain.signed_by`, which a hostile log can make long
        self._line = 0

    def chain(self, name: str) -> Chain:
        """Check `name` and what it continues in. For one call."""
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
        if self._search.expect_head is not None:
            self._chain.expected = self._chain.found.get(self._search.expect_head)
        return self._chain

    def _file(self, name: str, previous: str | None) -> str | None:
        """Check one file; the name of the next, if a rotation ended it. Raises _Stop."""
        try:
            with open_log(os.path.join(self._directory, name)) as stream:
                try:
                    last = self._records_of_a_log(stream, previous)
                finally:
                    self._chain.live |= is_live(stream.fileno())
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
        chain, watched = self._chain, self._watched
        on_record, told = self._search.on_record, self._search.told
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
                after = follow(record, position) if number > 1 else self._first(record, previous)
                event = record.get("event")
                if event in _TELLING:
                    self._note(record)
                position = after
                if position.head in watched:
                    chain.found[position.head] = position.seq
                if on_record is not None and position.seq > told:
                    on_record(record, line)
        finally:
            self._line, chain.last = number, position
        return record

    def _note(self, record: Record) -> None:
        """What a record in its place says of the run, of the signatures, or of other runs. Raises ChainError."""
        chain, signatures, event = self._chain, self._signatures, record["event"]
        if event == RUN_START:
            run_before(record)
            signatures.begin(record)
            chain.runs += 1
            chain.promised |= signatures.promised is not None
        elif event == LOG_HEALED:
            chain.healed += 1
        elif event == LOG_REMOVED:
            files = record.get("files")
            chain.removed.update(self._search.gone & set(map(str, files if type(files) is list else ())))
        elif event == LOG_CHECKPOINT or signatures.promised is not None or "signature" in record:
            self._note_signature(record)

    def _note_signature(self, record: Record) -> None:
        chain = self._chain
        signer = self._signatures.check(record)
        if signer is None:
            chain.unchecked += 1
            return
        chain.signed = record["seq"] - 1
        if signer not in self._signers:
            self._signers.add(signer)
            chain.signed_by.append(signer)

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
    Reads up to the end that the file has now, without its holes: they can claim more than anybody could read.
    """
    if may_begin_a_log(os.pread(descriptor, _LONGEST_LINK, 0)):
        return False
    offset, size = _data(descriptor, 0), os.fstat(descriptor).st_size
    while offset is not None and offset < size:
        if _LINK.search(os.pread(descriptor, _BLOCK + _LONGEST_LINK, offset)):
            return False
        offset = _data(descriptor, offset + _BLOCK)
    return True


def _data(descriptor: int, offset: int) -> int | None:
    """Where the file holds something from `offset` on; None if nowhere. Raises OSError."""
    try:
        return os.lseek(descriptor, offset, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        if error.errno in (errno.EINVAL, errno.ENOTSUP):  # a file system that does not tell
            return offset
        raise


def is_live(descriptor: int) -> bool:
    """Whether a server holds the file's lock. Takes a shared lock for an instant, which a starting server waits out.

    Where a file system has no locks, as a network mount without its daemon, no server writes a log either.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False
