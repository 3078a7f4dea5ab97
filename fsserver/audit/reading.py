"""Reads logs without judging them, in constant memory: every record of a file, its rotated files, or a directory.

What is no record is counted and passed over; `verify` says what is wrong with it. A line without an end is not there
yet: it is being written, or its writer was killed in it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from fsserver.audit.record import LOG_CONTINUED, LOG_ROTATED, MAX_RECORD_BYTES, Record, parse
from fsserver.audit.segment import leads_out
from fsserver.errors import AuditError

_BUFFER = 256 * 1024


class Entry(NamedTuple):
    """One record and its place.

    Attributes:
        chain: the first file of its chain, as a base name.
        file: the file that it is in; line: from 1.
        raw: its bytes, with the newline.
    """

    chain: str
    file: str
    line: int
    record: Record
    raw: bytes


class Reader:
    """The records at one path, in order; of a directory the chains in the order in which they were begun.

    Attributes:
        directory: where the files are.
        chains: the first file of each chain, in order.
        is_directory: a whole directory was asked for.
        strange: how many lines so far were no records.
        unread: of a directory, what so far was in the way of reading a file.
    """

    def __init__(self, path: str) -> None:
        """Raises AuditError: there is nothing that can be read."""
        self.strange = 0
        self.unread: list[str] = []
        try:
            self.is_directory = stat.S_ISDIR(os.stat(path).st_mode)
            if self.is_directory:
                self.directory, self.chains = path, chains_of(path)
            else:
                directory, name = os.path.split(path)
                self.directory, self.chains = directory or ".", [name]
                opened(path).close()
        except OSError as error:
            raise AuditError(f"{path!a} cannot be read: {error.strerror}.") from error
        if not self.chains:
            raise AuditError(f"There is no audit log in {path!a}: no .jsonl file.")

    def entries(self) -> Iterator[Entry]:
        """Every record of every chain. Raises AuditError: the file that was asked for cannot be read."""
        for chain in self.chains:
            try:
                yield from self.chain(chain)
            except AuditError as error:
                if not self.is_directory:
                    raise
                self.unread.append(error.message)

    def chain(self, first: str) -> Iterator[Entry]:
        """The records of one chain. Raises AuditError."""
        name: str | None = first
        seen: set[str] = set()
        while name is not None and name not in seen:
            seen.add(name)
            following = None
            for entry in self._file(first, name):
                following = next_file(entry.record)
                yield entry
            name = following

    def _file(self, chain: str, name: str) -> Iterator[Entry]:
        try:
            with opened(os.path.join(self.directory, name)) as stream:
                for number, raw in enumerate(lines(stream), 1):
                    record = parsed(raw)
                    if record is None:
                        self.strange += 1
                    else:
                        yield Entry(chain, name, number, record, raw)
        except FileNotFoundError:
            if name == chain:
                raise AuditError(f"{name!a} is not there any more.") from None
            self.strange += 1  # the chain names it, and it was removed: `verify` says so
        except OSError as error:
            raise AuditError(f"{name!a} cannot be read: {error.strerror}.") from error


def opened(path: str) -> BinaryIO:
    """A regular file, without waiting if it is none. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file")
    return os.fdopen(descriptor, "rb", buffering=_BUFFER)


def lines(stream: BinaryIO) -> Iterator[bytes]:
    """Whole lines, with their newlines; one that is longer than a record can be comes as its beginning."""
    while line := stream.readline(MAX_RECORD_BYTES):
        rest = line
        while len(rest) == MAX_RECORD_BYTES and rest[-1:] != b"\n":
            rest = stream.readline(MAX_RECORD_BYTES)
        if rest[-1:] != b"\n":
            return
        yield line


def parsed(raw: bytes) -> Record | None:
    """The record on a line, unverified; None if there is none."""
    try:
        record = parse(raw.decode("ascii"))
    except (ValueError, RecursionError):
        return None
    return record if type(record.get("event")) is str and type(record.get("seq")) is int else None


def next_file(record: Record) -> str | None:
    """The file in which the chain goes on, if `record` ended one."""
    if record.get("event") != LOG_ROTATED:
        return None
    name = record.get("next")
    return name if isinstance(name, str) and not leads_out(name) else None


def chains_of(directory: str) -> list[str]:
    """The first files of a directory's chains, in the order of their first records' times. Raises OSError.

    A file that continues another is read with that one; if that one is not there, it begins a chain here.
    """
    names = logs_in(directory)
    found = []
    for name in names:
        record = _first(os.path.join(directory, name))
        continues = record.get("event") == LOG_CONTINUED and record.get("previous") in names
        if not continues:
            found.append((str(record.get("time", "")), name))
    return [name for _, name in sorted(found)]


def logs_in(directory: str) -> list[str]:
    """The names of a directory's log files, sorted. Raises OSError."""
    return sorted(name for name in os.listdir(directory) if name.endswith(".jsonl") and not name.startswith("."))


def _first(path: str) -> Record:
    try:
        with opened(path) as stream:
            return parsed(stream.readline(MAX_RECORD_BYTES)) or {}
    except OSError:
        return {}
