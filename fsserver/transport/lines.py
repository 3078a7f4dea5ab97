"""Lines in and out of the event loop, with bounded memory. Knows nothing of JSON.

Works for pipes, sockets, terminals, and for what epoll refuses: regular files and the null device.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

READ_BYTES = 64 * 1024
"""How much one read takes: the usual capacity of a pipe, and below the size from which malloc maps pages."""

WRITE_BYTES = 256 * 1024
"""How much one write offers at most. Copying more together than the kernel takes would be waste."""


def _nothing() -> None:
    pass


class LineReader:
    """Hands out complete lines, without their newlines, read by read.

    A line longer than ``max_line`` bytes is thrown away as it arrives and reported as None, once; the next line is
    read as usual. What stands after the last newline at the end of input counts as a line.

    Attributes:
        on_lines: called with the lines of one read.
        on_end: called once, when the client closed its end.
    """

    def __init__(self, descriptor: int, *, max_line: int) -> None:
        self.on_lines: Callable[[list[bytes | None]], None] = lambda _: None
        self.on_end: Callable[[], None] = _nothing
        self._descriptor = descriptor
        self._max_line = max_line
        self._loop = asyncio.get_running_loop()
        self._pieces: list[bytes] = []  # the line that is not complete yet
        self._length = 0
        self._skipping = False  # inside a line that is too long
        self._reading = False
        self._ended = False
        self._pollable = True

    def resume(self) -> None:
        """Read on. Also the start."""
        if self._reading or self._ended:
            return
        self._reading = True
        if self._pollable:
            try:
                self._loop.add_reader(self._descriptor, self._readable)
            except PermissionError:  # epoll_ctl(2): EPERM, the file does not support epoll; reads never wait then
                self._pollable = False
        if not self._pollable:
            self._loop.call_soon(self._read_unpolled)

    def pause(self) -> None:
        """Leave what comes in the kernel until `resume`; the client's writes then wait."""
        if self._reading:
            self._reading = False
            if self._pollable:
                self._loop.remove_reader(self._descriptor)

    def stop(self) -> None:
        """Never read again, and call nobody again."""
        self.pause()
        self._ended = True

    def _read_unpolled(self) -> None:
        if self._reading:
            self._readable()
        if self._reading:
            self._loop.call_soon(self._read_unpolled)

    def _readable(self) -> None:
        try:
            chunk = os.read(self._descriptor, READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:  # a terminal that was hung up (EIO), a reset socket
            chunk = b""
        if chunk:
            self.on_lines(self._split(chunk))
            return
        self.stop()
        if self._pieces and not self._skipping:
            self.on_lines([b"".join(self._pieces)])
        self._pieces.clear()
        self.on_end()

    def _split(self, chunk: bytes) -> list[bytes | None]:
        first, *others = chunk.split(b"\n")
        lines: list[bytes | None] = []
        self._extend(first, lines)
        for piece in others:
            if not self._skipping:
                lines.append(b"".join(self._pieces))
            self._pieces.clear()
            self._length = 0
            self._skipping = False
            self._extend(piece, lines)
        return lines

    def _extend(self, piece: bytes, lines: list[bytes | None]) -> None:
        """Add to the incomplete line, or give it up when it grows too long."""
        if self._skipping or not piece:
            return
        self._length += len(piece)
        if self._length > self._max_line:
            self._skipping = True
            self._pieces.clear()
            lines.append(None)
        else:
            self._pieces.append(piece)


class LineWriter:
    """Writes lines in order, as the client takes them. Lines sent in one round of the loop go out in one write.

    Attributes:
        backlog: bytes that wait; the caller keeps it small.
        on_progress: called after a write that took anything.
        on_broken: called once when the client closed its end; what is sent afterwards is dropped.
    """

    def __init__(self, descriptor: int) -> None:
        self.backlog = 0
        self.on_progress: Callable[[], None] = _nothing
        self.on_broken: Callable[[], None] = _nothing
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._lines: list[bytes] = []
        self._rest = memoryview(b"")  # of a write that the kernel took in part
        self._scheduled = False
        self._polling = False
        self._broken = False
        self._empty = asyncio.Event()
        self._empty.set()

    def send(self, line: bytes) -> None:
        """Queue one line; it ends with a newline."""
        if self._broken:
            return
        self._lines.append(line)
        self.backlog += len(line)
        self._empty.clear()
        if not self._scheduled and not self._polling:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def flush(self) -> None:
        """Write now and not at the end of this round: for a line after which no other is expected soon."""
        if not self._polling:
            self._flush()

    async def flushed(self) -> None:
        """Wait until everything is written, or can never be."""
        await self._empty.wait()

    def stop(self) -> None:
        """Drop what waits and never write again."""
        self._broken = True
        self._lines.clear()
        self._rest = memoryview(b"")
        self.backlog = 0
        self._empty.set()
        self._poll(wanted=False)

    def _flush(self) -> None:
        self._scheduled = False
        before = self.backlog
        try:
            while self.backlog:
                offered = self._offer()
                written = os.write(self._descriptor, offered)
                self.backlog -= written
                self._rest = offered[written:]
                if written < len(offered):
                    break
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self.stop()
            self.on_broken()
            return
        self._poll(wanted=self.backlog > 0)
        if not self.backlog:
            self._empty.set()
        if self.backlog < before:
            self.on_progress()

    def _offer(self) -> memoryview:
        """What to write next: the rest of the last write, else waiting lines up to `WRITE_BYTES`, at least one."""
        if self._rest:
            return self._rest
        taken, size = 0, 0
        for line in self._lines:
            if taken and size + len(line) > WRITE_BYTES:
                break
            taken += 1
            size += len(line)
        self._rest = memoryview(self._lines[0] if taken == 1 else b"".join(self._lines[:taken]))
        del self._lines[:taken]
        return self._rest

    def _poll(self, *, wanted: bool) -> None:
        if wanted and not self._polling:
            self._loop.add_writer(self._descriptor, self._flush)
        elif not wanted and self._polling:
            self._loop.remove_writer(self._descriptor)
        self._polling = wanted
