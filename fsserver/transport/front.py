"""The thread that reads what the client sends, and makes plain calls itself.

Handing a call to another thread and its result back costs two wake-ups, more than most calls take. So the thread that
read a call makes it, if nothing else is going on, and writes its answer. It is called the front. While a call runs
nobody reads; therefore the event loop watches: a front whose call takes longer than `STALL_S` is relieved as soon as
something else comes. Another thread becomes the front, and the first one ends with its call. So no call ever waits for
a slow one. The watch is a timer of the kernel's, since to wake the loop takes as long as a short call.

Everything else that comes is handed to the event loop.
"""

from __future__ import annotations

import asyncio
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from fsserver.kernel.timers import Timer
from fsserver.transport import jsonrpc
from fsserver.transport.dispatch import MAX_LINE_BYTES, Dispatcher, InFlight
from fsserver.transport.jsonrpc import INVALID_REQUEST, Malformed, Message, Request
from fsserver.transport.lines import LineSplitter, LineWriter
from fsserver.transport.posting import post

READ_BYTES: Final = 64 * 1024
"""How much one read takes: the usual capacity of a pipe, and below the size from which malloc maps pages."""

STALL_S: Final = 0.002
"""A call that takes longer is slow. The watch looks that often, while calls come."""

WAIT_S: Final = 0.006
"""The same of a call that waits for another process, which keeps nobody from the interpreter. By then a short command
is over.
"""

HANG_UP_LOOK_S: Final = 0.1
"""How often to see, while nothing is read, whether the client is still there."""

THREAD_S: Final = 0.1
"""When to try again, where the system lets no further thread begin."""

GATHER_S: Final = 0.001
"""How long answers are gathered for one write, while further calls have been read already."""


class _Thread:
    """What one front shares with the loop that watches it."""

    __slots__ = ("answers", "batch", "call", "calls", "mutex", "relieved", "since")

    def __init__(self) -> None:
        self.mutex = threading.Lock()  # over all of these
        self.batch: deque[bytes | None] = deque()  # lines that were read and not looked at
        self.answers: list[bytes] = []
        self.call: InFlight | None = None  # the one that runs
        self.since = 0.0  # when it began
        self.calls = 0
        self.relieved = False


class Front:
    """Reads one descriptor until its end. Make, start and stop it in the loop's thread."""

    def __init__(
        self, descriptor: int, dispatcher: Dispatcher, writer: LineWriter, *, on_end: Callable[[], None]
    ) -> None:
        """Args:
        on_end: called once, in the loop, when the client closed its end and all that it sent has been handed over.
        """
        self._descriptor = descriptor
        self._dispatcher = dispatcher
        self._writer = writer
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._splitter = LineSplitter(MAX_LINE_BYTES)
        self._room = threading.Event()
        self._current: _Thread
        self._timer = Timer()
        self._watching = False  # the timer runs, or the loop listens
        self._listening = False  # the loop is told when something comes
        dispatcher.on_room = self._go_on

    def start(self) -> None:
        """Begin to read."""
        self._loop.add_reader(self._timer.descriptor, self._watch)
        self._start_thread()

    def _start_thread(self) -> None:
        self._current = _Thread()
        self._begin(self._current)

    def _begin(self, front: _Thread) -> None:
        """Nobody reads until there can be a thread: what commands of the same user start may leave no room for one."""
        if front.relieved:  # meanwhile: the session ends
            return
        try:
            threading.Thread(target=self._read, args=(front,), name="front", daemon=True).start()
        except RuntimeError:
            self._loop.call_later(THREAD_S, self._begin, front)

    def stop(self) -> None:
        """Read no more. What was read is handed over; a read that is under way is not waited for."""
        self._relieve(self._current, if_slow=False)
        self._listen(False)
        self._loop.remove_reader(self._timer.descriptor)
        self._timer.close()

    # --- in the loop

    def _go_on(self) -> None:
        if not self._room.is_set():
            self._room.set()

    def _watch(self) -> None:
        """A call has run for a while: relieve its front now, or when something comes."""
        self._timer.clear()
        front = self._current
        with front.mutex:  # until the loop listens: a call that ends has to see that, and so has the next one
            if _slow(front) and not front.batch and not front.answers and self._listen(True):
                return
        self._look()

    def _came(self) -> None:
        """There is something to read, or the end; or the slow call is over, and what comes is for the front to read."""
        self._listen(False)
        self._look()

    def _look(self) -> None:
        if self._relieve(self._current, if_slow=True):
            self._start_thread()
        front = self._current
        with front.mutex:
            self._watching = front.call is not None and not front.relieved
        if self._watching:
            self._timer.start(STALL_S)

    def _listen(self, wanted: bool) -> bool:
        """Be told when something comes, or no longer. False if that cannot be had, as with a file."""
        if wanted == self._listening:
            return True
        if wanted:
            try:
                self._loop.add_reader(self._descriptor, self._came)
            except OSError:
                return False
        else:
            self._loop.remove_reader(self._descriptor)
        self._listening = wanted
        return True

    def _relieve(self, front: _Thread, *, if_slow: bool) -> bool:
        """Let another thread be the front, or nobody. What this one has read goes to the loop.

        Args:
            if_slow: only if its call takes too long. It is in no read then, so what comes next is not lost with it.
        """
        with front.mutex:
            call = front.call
            if front.relieved or (if_slow and not _slow(front)):
                return False
            front.relieved = True
            batch, answers = list(front.batch), front.answers
            front.batch.clear()
            front.answers = []
        if call is not None:
            self._dispatcher.adopt(call)
        for answer in answers:
            self._writer.send(answer)
        self._dispatcher.messages(_all_parsed(batch))
        return True

    def _end(self) -> None:
        self._dispatcher.messages(_all_parsed(self._splitter.rest()))
        self._on_end()

    # --- in the front's thread

    def _read(self, front: _Thread) -> None:
        while True:
            self._await_room()
            try:
                chunk = os.read(self._descriptor, READ_BYTES)
            except BlockingIOError:  # whoever made the descriptor had it so
                select.select([self._descriptor], [], [])
                continue
            except OSError:  # a terminal that was hung up (EIO), a reset socket
                chunk = b""
            with front.mutex:
                if front.relieved:  # the session ends
                    return
                front.batch.extend(self._splitter.split(chunk))
            if not chunk:
                post(self._loop, self._end)
                return
            if not self._serve(front):
                return

    def _await_room(self) -> None:
        """Wait while the client is owed too much, unless it has closed its end: what comes then is little, and the end.

        A client that closes its end without having read the answers must not be waited for.
        """
        while self._dispatcher.full and not self._hung_up():
            self._room.clear()
            if self._dispatcher.full:
                self._room.wait(HANG_UP_LOOK_S)

    def _hung_up(self) -> bool:
        """Whether the client closed its end (poll(2)); what it wrote before may still be there to be read."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLRDHUP)  # and POLLHUP, of which poll always tells
        return bool(poll.poll(0))

    def _serve(self, front: _Thread) -> bool:
        """Deal with the batch. False when relieved meanwhile: somebody else reads now."""
        written = time.monotonic()
        while True:
            with front.mutex:
                if not front.batch:
                    break
                line = front.batch.popleft()
            message = _parsed(line)
            if message is None:
                continue
            call = self._dispatcher.shortcut(message) if type(message) is Request else None
            if call is None:
                self._hand_over(front, message)
                break
            if not self._make(front, call, message):
                return False
            if front.since - written > GATHER_S:
                self._write(front)
                written = front.since
        self._write(front)
        if self._listening:
            post(self._loop, self._came)
        return True

    def _make(self, front: _Thread, call: InFlight, message: Message) -> bool:
        """Make one call here, or find that it needs the loop. False when relieved meanwhile."""
        with front.mutex:
            if front.relieved:  # before it began: the session ends
                self._dispatcher.hand_over([message])
                return False
            front.call = call
            front.calls += 1
            front.since = time.monotonic()
            # Who listens learns nothing of what was read already.
            unwatched, self._watching = not self._watching or self._listening, True
        if unwatched:
            self._timer.start(WAIT_S if call.waits else STALL_S)
        answer = call.answer()
        with front.mutex:
            front.call = None
            relieved = front.relieved
            if answer is not None and not relieved:
                front.answers.append(answer)
        if relieved:
            post(self._loop, self._dispatcher.adopted_done, call, answer)
            return False
        if answer is None:
            self._hand_over(front, call)
        return True

    def _write(self, front: _Thread) -> None:
        with front.mutex:
            answers, front.answers = front.answers, []
        if answers:
            self._writer.send_from_thread(b"".join(answers))

    def _hand_over(self, front: _Thread, message: Message | InFlight) -> None:
        """Give ``message``, or a call that needs the loop, and what else was read to the loop, in order."""
        with front.mutex:
            batch = list(front.batch)
            front.batch.clear()
        self._dispatcher.hand_over([message, *_all_parsed(batch)])


def _slow(front: _Thread) -> bool:
    """Whether its call takes too long. With its mutex."""
    call = front.call
    return call is not None and time.monotonic() - front.since >= (WAIT_S if call.waits else STALL_S)


def _parsed(line: bytes | None) -> Message | None:
    if line is None:
        return Malformed(None, INVALID_REQUEST, f"A line is longer than {MAX_LINE_BYTES} bytes")
    return jsonrpc.parse(line)


def _all_parsed(lines: Iterable[bytes | None]) -> list[Message]:
    return [message for message in map(_parsed, lines) if message is not None]
