"""Follows a log while it grows: the file, its rotation, and in a directory every run that begins. Polls; holds no lock.

A line is told when its newline is there. What a writer takes back after a failed write never had one.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from fsserver.audit.reading import Entry, Reader, chains_of, lines, logs_in, next_file, opened, parsed
from fsserver.audit.record import MAX_RECORD_BYTES, RUN_END
from fsserver.errors import AuditError


class Follower:
    """The newest chain at a path, and with it what comes. Each `newest` and `more` gives what was not given before."""

    def __init__(self, path: str) -> None:
        """Raises AuditError: there is nothing that can be read."""
        reader = Reader(path)
        self._directory = reader.directory
        self._looks_for_more = reader.is_directory
        self._known = set(reader.chains)
        self._listed: list[str] = []
        self._cursors = [_Cursor(reader.directory, reader.chains[-1])]

    @property
    def strange(self) -> int:
        """How many of the lines that were looked at were no records."""
        return sum(cursor.strange for cursor in self._cursors)

    def newest(self, count: int) -> list[Entry]:
        """The last ``count`` records of the newest chain. Raises AuditError."""
        return list(deque(self._cursors[0].read(count), count))

    def more(self) -> Iterator[Entry]:
        """What was written since, then what new runs wrote. Raises AuditError."""
        if self._looks_for_more:
            self._look_for_more()
        for cursor in self._cursors:
            yield from cursor.read()
        if len(self._cursors) > 1:  # a chain that was ended grows no more; the newest may be continued
            self._cursors = [each for each in self._cursors[:-1] if not each.ended] + self._cursors[-1:]

    def _look_for_more(self) -> None:
        """Runs that began since. Where no file is new, none is opened: there can be thousands of ended runs.

        Raises AuditError.
        """
        try:
            before, self._listed = self._listed, logs_in(self._directory)
            chains = [] if self._listed == before else chains_of(self._directory)
        except OSError as error:
            raise AuditError(f"{self._directory!a} cannot be read: {error.strerror}.") from error
        for name in chains:
            if name not in self._known:
                self._known.add(name)
                self._cursors.append(_Cursor(self._directory, name))

    def close(self) -> None:
        for cursor in self._cursors:
            cursor.close()


class _Cursor:
    """A place in one chain.

    Attributes:
        ended: the last record read was ``run.end``.
        strange: how many lines so far were no records.
    """

    def __init__(self, directory: str, first: str) -> None:
        self.ended = False
        self.strange = 0
        self._directory = directory
        self._first = self._file = first
        self._begun = {first}  # a log that leads back into itself is hostile, and has an end here
        self._next: str | None = None
        self._stream: BinaryIO | None = None
        self._line = 0
        self._offset = 0

    def read(self, last: int | None = None) -> Iterator[Entry]:
        """What is there now and was not read before; ``last``: no more than that of each file. Raises AuditError."""
        try:
            while self._open():
                assert self._stream is not None
                yield from self._lines(self._stream, last)
                if self._next is None or self._next in self._begun:
                    return
                self._begun.add(self._next)
                self._stream.close()
                self._stream, self._file, self._next = None, self._next, None
                self._line = self._offset = 0
        except OSError as error:
            raise AuditError(f"{self._file!a} cannot be read: {error.strerror}.") from error
        finally:
            if self.ended:
                self.close()

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _open(self) -> bool:
        """Whether the file is there; the next one of a chain gets its name a moment after it was announced."""
        if self._stream is None:
            try:
                self._stream = opened(os.path.join(self._directory, self._file))
            except FileNotFoundError:
                return False
        self._stream.seek(self._offset)
        return True

    def _lines(self, stream: BinaryIO, last: int | None) -> Iterator[Entry]:
        places: Iterable[tuple[int, bytes]] = self._places(stream)
        if last is not None:
            places = deque(places, max(1, last))  # only what is shown is parsed, and what says where the chain goes on
        for number, raw in places:
            record = parsed(raw)
            if record is None:
                self.strange += 1
            else:
                self.ended = record["event"] == RUN_END
                self._next = next_file(record)
                yield Entry(self._first, self._file, number, record, raw)

    def _places(self, stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
        for raw in lines(stream):
            self._line += 1
            self._offset = stream.tell() if len(raw) == MAX_RECORD_BYTES else self._offset + len(raw)
            yield self._line, raw
