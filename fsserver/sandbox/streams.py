"""The server's ends of a command's pipes: bytes in and out, in constant memory. Nothing is known of commands here.

A program may write gigabytes, one byte at a time, or nothing for hours; it may never read, or close what it reads from.
None of that blocks anybody here or makes memory grow: what is not kept is counted and thrown away.
"""

from __future__ import annotations

import fcntl
import os
import select
from collections.abc import Callable, Mapping
from typing import Final, Protocol

CHUNK_BYTES: Final = 256 * 1024
"""Read at once. More does not fit a processor's cache and is slower."""

FIRST_BYTES: Final = 16 * 1024
"""Read at once of a program that has not said so much yet."""

PIPE_BYTES: Final = 1024 * 1024
"""What a pipe may hold while the user's share of pipe memory is not used up (pipe(7)): fewer switches to the reader."""


class Sink(Protocol):
    """Takes what a program writes."""

    def add(self, data: memoryview) -> None:
        """``data`` is valid during the call only."""


class Tail:
    """The newest bytes of a stream, at most ``limit``; memory is taken as it is needed."""

    def __init__(self, limit: int) -> None:
        self.total = 0
        self._limit = limit
        self._ring = bytearray()
        self._at = 0  # where the oldest byte is, once the ring is full

    def add(self, data: memoryview | bytes) -> None:
        self.total += len(data)
        if len(data) >= self._limit:
            self._ring[:] = data[len(data) - self._limit :]
            self._at = 0
            return
        room = self._limit - len(self._ring)
        self._ring += data[:room]
        data = data[room:]
        end = min(len(data), self._limit - self._at)
        self._ring[self._at : self._at + end] = data[:end]
        self._ring[: len(data) - end] = data[end:]
        self._at = (self._at + len(data)) % self._limit

    @property
    def first(self) -> int:
        """The offset in the stream of the oldest byte that is kept."""
        return self.total - len(self._ring)

    def read(self, offset: int, length: int) -> bytes:
        """At most ``length`` bytes from ``offset``, or from `first` if that is later."""
        start = max(offset - self.first, 0)
        end = min(start + length, len(self._ring))
        if start >= end:
            return b""
        start, count = (start + self._at) % len(self._ring), end - start
        over = max(start + count - len(self._ring), 0)
        return bytes(self._ring[start : start + count]) + bytes(self._ring[:over])


class Ends:
    """The first and the newest bytes of a stream, half of ``limit`` each."""

    def __init__(self, limit: int) -> None:
        self._most_head = limit // 2
        self._head = bytearray()
        self._tail = Tail(limit - limit // 2)

    def add(self, data: memoryview | bytes) -> None:
        room = self._most_head - len(self._head)
        if room:
            self._head += data[:room]
            data = data[room:]
        self._tail.add(data)

    @property
    def total(self) -> int:
        """Bytes of the stream so far, kept or not."""
        return len(self._head) + self._tail.total

    @property
    def lost(self) -> int:
        """Bytes between head and tail that are not kept."""
        return self._tail.first

    @property
    def head(self) -> bytes:
        return bytes(self._head)

    @property
    def tail(self) -> bytes:
        return self._tail.read(0, self._tail.total)


class Feed:
    """Input for a program, written as fast as it reads. Once it is all written, or nobody reads any more, ``close``."""

    def __init__(self, descriptor: int, data: bytes, close: Callable[[], None]) -> None:
        self.descriptor = descriptor
        self._left = memoryview(data)
        self._close = close
        set_nonblocking(descriptor)

    def write(self) -> bool:
        """Write what the pipe takes now; True when it is over."""
        count = write_some(self.descriptor, self._left)
        if count is not None:
            self._left = self._left[count:]
            if self._left:
                return False
        self._close()
        return True


class Pump:
    """Moves bytes between a program and the server until both sides are done.

    Args:
        sources: the descriptors to read, each with what takes its bytes. They stay the caller's to close.
        feed: the program's input, None if it has none or somebody else writes it.
    """

    def __init__(self, sources: Mapping[int, Sink], feed: Feed | None = None) -> None:
        self._sources = dict(sources)
        self._feed = feed
        self._buffer = memoryview(bytearray(FIRST_BYTES))
        self._poll = select.poll()
        for descriptor in self._sources:
            self._poll.register(descriptor, select.POLLIN)
        if feed is not None:
            self._poll.register(feed.descriptor, select.POLLOUT)

    @property
    def open(self) -> bool:
        """Whether there may be more to move."""
        return bool(self._sources) or self._feed is not None

    def run(self, timeout_s: float) -> bool:
        """Move what can be moved now, after waiting for it at most so long; False if nothing was ready."""
        ready = self._poll.poll(timeout_s * 1000)
        for descriptor, _ in ready:
            if self._feed is not None and descriptor == self._feed.descriptor:
                # Unregistered first: after the last byte the descriptor is closed.
                feed, self._feed = self._feed, None
                self._poll.unregister(descriptor)
                if not feed.write():
                    self._feed = feed
                    self._poll.register(descriptor, select.POLLOUT)
            else:
                self._read(descriptor)
        return bool(ready)

    def _read(self, descriptor: int) -> None:
        count = os.readv(descriptor, [self._buffer])
        if count:
            self._sources[descriptor].add(self._buffer[:count])
            if count == len(self._buffer) < CHUNK_BYTES:  # it has much to say: most programs have not
                _widen(descriptor)
                self._buffer = memoryview(bytearray(CHUNK_BYTES))
        else:
            self._poll.unregister(descriptor)
            del self._sources[descriptor]


def write_some(descriptor: int, data: memoryview | bytes) -> int | None:
    """Write to a pipe that does not block: how many bytes it took, None if nobody reads it any more."""
    try:
        return os.write(descriptor, data[:PIPE_BYTES])
    except BlockingIOError:
        return 0
    except BrokenPipeError:
        return None


def set_nonblocking(descriptor: int) -> None:
    """Let writes to a pipe return at once, with what it takes."""
    os.set_blocking(descriptor, False)


def wait_writable(descriptor: int, timeout_s: float) -> None:
    """Return when the pipe takes bytes or nobody reads it any more, or after ``timeout_s``."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    poll.poll(timeout_s * 1000)


def pipe() -> tuple[int, int]:
    """A pipe between two programs: its reading and its writing end."""
    reader, writer = os.pipe()
    _widen(reader)
    return reader, writer


def _widen(descriptor: int) -> None:
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    except OSError:
        return  # it stays as it is: slower, and nothing else
