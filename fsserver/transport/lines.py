"""Lines in and out, with bounded memory. Knows nothing of JSON."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from typing import Final

from fsserver.transport.posting import post

WRITE_BYTES: Final = 256 * 1024
"""How much one write offers at most. Copying more together than the kernel takes would be waste."""


class LineSplitter:
    """Cuts what comes into lines, without their newlines.

    A line longer than ``max_line`` bytes is thrown away as it arrives and reported as None, once; the next line is
    taken as usual.
    """

    def __init__(self, max_line: int) -> None:
        self._max_line = max_line
        self._pieces: list[bytes] = []  # the line that is not complete yet
        self._length = 0
        self._skipping = False  # inside a line that is too long

    def split(self, chunk: bytes) -> list[bytes | None]:
        """The lines that ``chunk`` completes."""
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

    def rest(self) -> list[bytes | None]:
        """What stands after the last newline; it counts as a line."""
        return [b"".join(self._pieces)] if self._pieces else []

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
        self._mutex = threading.Lock()  # over what waits and over the write itself
        self._lines: list[bytes] = []
        self._rest = memoryview(b"")  # of a write that the kernel took in part
        self._scheduled = False
        self._polling = False
        self._broken = False
        self._empty = asyncio.Event()
        self._empty.set()

    def send(self, line: bytes) -> None:
        """Queue one line; it ends with a newline. In the loop's thread."""
        with self._mutex:
            self._queue(line)
        self._schedule()

    def send_from_thread(self, lines: bytes) -> None:
        """Write whole lines at once if nothing waits, else queue them. From any thread."""
        with self._mutex:
            if not self._broken and not self.backlog:
                try:
                    lines = lines[os.write(self._descriptor, lines) :]
                except (BlockingIOError, InterruptedError):
                    pass
                except OSError:  # found again, and dealt with, by the loop
                    pass
            if not lines:
                return
            self._queue(lines)
        post(self._loop, self._schedule)

    async def flushed(self) -> None:
        """Wait until everything is written, or can never be."""
        await self._empty.wait()

    def stop(self) -> None:
        """Drop what waits and never write again."""
        with self._mutex:
            self._broken = True
            self._lines.clear()
            self._rest = memoryview(b"")
            self.backlog = 0
        self._empty.set()
        self._poll(wanted=False)

    def _queue(self, line: bytes) -> None:
        if not self._broken:
            self._lines.append(line)
            self.backlog += len(line)

    def _schedule(self) -> None:
        if self.backlog:
            self._empty.clear()
            if not self._scheduled and not self._polling:
                self._scheduled = True
                self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        before = self.backlog
        try:
            with self._mutex:
                self._write()
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

    def _write(self) -> None:
        """Until nothing waits or the kernel takes no more."""
        while self.backlog:
            offered = self._offer()
            written = os.write(self._descriptor, offered)
            self.backlog -= written
            self._rest = offered[written:]

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


def _nothing() -> None:
    pass
