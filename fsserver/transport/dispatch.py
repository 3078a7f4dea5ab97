"""One client's messages: who is owed an answer, what runs, what waits, and when to stop reading.

Bounds, all on what one client can make the server hold:

- at most ``concurrency`` tool calls and `WORKING_METHODS` run at once; further ones wait and are never refused;
- requests without an answer hold at most `UNANSWERED_BYTES` and are at most `UNANSWERED_REQUESTS`, else nothing more is
  read until one is answered. Until then cancellations are read, and so reach calls that run and calls that wait;
- at most `BRIEF_AT_ONCE` other messages are worked on at once;
- at most `BACKLOG_BYTES` of answers wait for the client to read them, plus those of the calls that run, else nothing
  more is read; no further call is started from half of that on.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from fsserver.server.boundary import PersonNeeded, ProtocolError, Shortcut, internal_error
from fsserver.server.connection import Connection
from fsserver.transport import jsonrpc
from fsserver.transport.jsonrpc import Id, Malformed, Message, Notification, Request, Response
from fsserver.transport.lines import LineWriter
from fsserver.transport.posting import post

MAX_LINE_BYTES: Final = 16 * 1024 * 1024
UNANSWERED_BYTES: Final = 2 * MAX_LINE_BYTES
UNANSWERED_REQUESTS: Final = 16_384
BACKLOG_BYTES: Final = 4 * 1024 * 1024

BRIEF_AT_ONCE: Final = 64

CALL: Final = "tools/call"

WORKING_METHODS: Final = frozenset({CALL, "resources/read", "resources/list", "completion/complete"})
"""The requests that take a thread, or wait for the client. Other messages are brief: they are over in a round of the
loop.
"""


class InFlight:
    """A request that has no answer yet. The `fsserver.server.boundary.Call` of its handler."""

    __slots__ = (
        "_dispatcher",
        "_here",
        "_notice",
        "cancelled",
        "counted",
        "id",
        "method",
        "params",
        "request_id",
        "size",
        "unwanted",
    )

    def __init__(self, dispatcher: Dispatcher, request: Request, here: Shortcut | None = None) -> None:
        self.id = request.id
        self.method = request.method
        self.params = request.params
        self.size = request.size
        self.request_id: str | None = None  # what a client says over a pipe is known by its session and its number
        self.counted = False
        self.cancelled = threading.Event()
        self.unwanted = False  # the client cancelled it: whatever comes of it is not sent
        self._dispatcher = dispatcher
        self._here = here
        self._notice: Callable[[], None] = _nothing

    @property
    def waits(self) -> bool:
        """As `Shortcut.waits`."""
        return self._here is not None and self._here.waits

    def cancel(self) -> None:
        """Tell whoever works on it to stop. In the loop's thread."""
        self.cancelled.set()
        self._notice()

    def when_cancelled(self, notice: Callable[[], None]) -> None:
        self._notice = notice
        if self.cancelled.is_set():
            notice()

    def answer(self) -> bytes | None:
        """Make the call in this thread; the line to send. Only for one that `Dispatcher.shortcut` made.

        None for a call that needs a person's consent: nothing has happened, and the loop has to make it.
        """
        assert self._here is not None
        try:
            return jsonrpc.result(self.id, self._here.make(self))
        except PersonNeeded:
            return None
        except Exception as bug:  # noqa: BLE001 - the boundary: no exception's own text goes past it
            error = internal_error(bug)
            return jsonrpc.error(self.id, error.code, error.message)

    def notify(self, method: str, params: Mapping[str, Any]) -> None:
        """Send a notification that belongs to this request. From any thread; dropped once the request is over."""
        if self._here is None:
            self._dispatcher.notify_from_thread(self, method, params)
        else:  # whoever makes it writes the answer too, or says so afterwards: this comes before
            self._dispatcher.notify_at_once(self, method, params)


def _nothing() -> None:
    pass


class Dispatcher:
    """Feeds one `Connection` with the lines of one client, and the client with its answers. Is that client's `Peer`.

    Attributes:
        full: whether reading has to wait.
        on_room: called when reading may go on.
    """

    def __init__(self, writer: LineWriter, *, concurrency: int) -> None:
        self._writer = writer
        self._concurrency = concurrency
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._inbox: deque[Message | InFlight] = deque()
        self._posted = 0  # by the front
        self._taken = 0  # by the loop
        self._open: dict[Id, InFlight] = {}
        self._open_bytes = 0
        self._waiting: OrderedDict[Id, InFlight] = OrderedDict()
        self._running = 0
        self._brief = 0
        self._handshaking = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._asked: dict[Id, asyncio.Future[dict[str, Any]]] = {}
        self._asks = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False
        self.on_room: Callable[[], None] = lambda: None

    def attach(self, connection: Connection) -> None:
        """The protocol to feed; once, before the first line."""
        self._connection = connection

    # --- what the client sends

    @property
    def full(self) -> bool:
        return self._posted != self._taken or bool(self._inbox) or self._overloaded()

    def shortcut(self, request: Request) -> InFlight | None:
        """A call that the front may make itself: nothing else is to be done before it. In the front's thread."""
        if (
            request.method != CALL
            or self.full
            or self._waiting
            or self._running >= self._concurrency
            or self._writer.backlog
            or request.id in self._open
        ):
            return None
        assert self._connection is not None
        here = self._connection.shortcut(request.params)
        return None if here is None else InFlight(self, request, here)

    def hand_over(self, messages: Sequence[Message | InFlight]) -> None:
        """As `messages`, from the front's thread, which waits while `full`. A call that it began and left undone is
        made here.
        """
        self._posted += 1
        post(self._loop, self._take, messages)

    def _take(self, messages: Sequence[Message | InFlight]) -> None:
        self._taken += 1
        self.messages(messages)

    def messages(self, messages: Sequence[Message | InFlight]) -> None:
        """What the client sent, in order."""
        self._inbox.extend(messages)
        self.advance()

    def adopt(self, call: InFlight) -> None:
        """A call that the front began turned out to be slow; from now on it is one of those that run."""
        self._open[call.id] = call
        self._open_bytes += call.size
        self._running += 1

    def adopted_done(self, call: InFlight, answer: bytes | None) -> None:
        """The front is through with a call that was adopted. One that it left undone is made here."""
        if answer is None:
            self._spawn(self._serve(call))
            return
        self._running -= 1
        self._answer(call, answer)

    def advance(self) -> None:
        """Go on where a bound stopped: something was answered, or the client read something."""
        while self._waiting and self._running < self._concurrency and self._writer.backlog <= BACKLOG_BYTES // 2:
            self._start(self._waiting.popitem(last=False)[1])
        while self._inbox and not self._overloaded():
            self._receive(self._inbox.popleft())
        if not self._open and not self._inbox:
            self._idle.set()
        if not self.full:
            self.on_room()

    def _overloaded(self) -> bool:
        return (
            self._handshaking
            or self._brief >= BRIEF_AT_ONCE
            or self._open_bytes > UNANSWERED_BYTES
            or len(self._open) >= UNANSWERED_REQUESTS
            or self._writer.backlog > BACKLOG_BYTES
        )

    def _receive(self, message: Message | InFlight) -> None:
        match message:
            case Request():
                self._admit(InFlight(self, message))
            case InFlight():
                self._admit(message)
            case Notification(method="notifications/cancelled", params=params):
                self._cancel((params or {}).get("requestId"))
            case Notification(method=method, params=params):
                self._brief += 1
                self._spawn(self._notified(method, params))
            case Response():
                self._answered(message)
            case Malformed(identifier, code, text):
                self._writer.send(jsonrpc.error(identifier, code, text))

    def _admit(self, call: InFlight) -> None:
        if call.id in self._open:
            self._writer.send(jsonrpc.error(call.id, jsonrpc.INVALID_REQUEST, "This id has a request in flight"))
            return
        self._open[call.id] = call
        self._open_bytes += call.size
        self._idle.clear()
        if call.method in WORKING_METHODS and (
            self._waiting or self._running >= self._concurrency or self._writer.backlog > BACKLOG_BYTES // 2
        ):
            self._waiting[call.id] = call
        else:
            self._start(call)

    def _cancel(self, identifier: object) -> None:
        """A cancelled request is never answered. One that runs keeps its place until its thread is out of it."""
        call = self._open.get(identifier) if type(identifier) in (int, str) else None  # type: ignore[call-overload]
        if call is None or call.method == "initialize":
            return
        call.unwanted = True
        call.cancel()
        if self._waiting.pop(call.id, None) is not None:
            self._finish(call)

    # --- what the server does

    def _start(self, call: InFlight) -> None:
        if call.method in WORKING_METHODS:
            self._running += 1
        else:
            self._brief += 1
        if call.method == "initialize":
            self._handshaking = True  # what follows in the pipe relies on it being done
        self._spawn(self._serve(call))

    def _spawn(self, coroutine: Any) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, call: InFlight) -> None:
        assert self._connection is not None
        try:
            answer = jsonrpc.result(call.id, await self._connection.request(call, call.method, call.params))
        except ProtocolError as error:
            answer = jsonrpc.error(call.id, error.code, error.message, error.data)
        except ValueError as error:
            unsendable = internal_error(error)
            answer = jsonrpc.error(call.id, unsendable.code, unsendable.message)
        if call.method in WORKING_METHODS:
            self._running -= 1
        else:
            self._brief -= 1
        if call.method == "initialize":
            self._handshaking = False
        self._answer(call, answer)

    def _answer(self, call: InFlight, answer: bytes) -> None:
        if not call.unwanted and not self._closed:
            self._writer.send(answer)
        self._finish(call)
        self.advance()

    def _finish(self, call: InFlight) -> None:
        call.params = None
        if self._open.pop(call.id, None) is not None:
            self._open_bytes -= call.size

    async def _notified(self, method: str, params: dict[str, Any] | None) -> None:
        assert self._connection is not None
        await self._connection.notification(method, params)
        self._brief -= 1
        self.advance()

    def notify_from_thread(self, call: InFlight, method: str, params: Mapping[str, Any]) -> None:
        post(self._loop, self._notify_for, call, method, params)

    def notify_at_once(self, call: InFlight, method: str, params: Mapping[str, Any]) -> None:
        if not call.unwanted and self._writer.backlog <= BACKLOG_BYTES // 2:
            self._writer.send_from_thread(jsonrpc.call(method, params))

    def _notify_for(self, call: InFlight, method: str, params: Mapping[str, Any]) -> None:
        if self._open.get(call.id) is call and not call.unwanted and self._writer.backlog <= BACKLOG_BYTES // 2:
            self._writer.send(jsonrpc.call(method, params))

    # --- what the server asks of the client

    async def ask(self, method: str, params: Mapping[str, Any] | None) -> dict[str, Any]:
        """A request to the client; the caller bounds the wait by cancelling it.

        Raises:
            ProtocolError: the client answered with an error, or is gone.
        """
        if self._closed:
            raise ProtocolError(0, "the client is gone")
        self._asks += 1
        identifier = f"fsserver-{self._asks}"
        answer: asyncio.Future[dict[str, Any]] = self._loop.create_future()
        self._asked[identifier] = answer
        try:
            self._writer.send(jsonrpc.call(method, params, identifier))
            return await answer
        except asyncio.CancelledError:
            self.notify("notifications/cancelled", {"requestId": identifier, "reason": "nobody waits any more"})
            raise
        finally:
            del self._asked[identifier]

    def notify(self, method: str, params: Mapping[str, Any] | None) -> None:
        if not self._closed:
            self._writer.send(jsonrpc.call(method, params))

    def _answered(self, response: Response) -> None:
        answer = self._asked.get(response.id)
        if answer is None or answer.done():
            return  # late, or never asked
        if response.result is not None:
            answer.set_result(response.result)
        else:
            answer.set_exception(ProtocolError(0, "the client answered with an error"))

    # --- the end

    async def idle(self) -> None:
        """Wait until nothing is owed to the client."""
        if self._inbox or self._open:
            self._idle.clear()
        await self._idle.wait()

    def cancel_all(self) -> None:
        """Tell every call to stop."""
        for call in list(self._open.values()):
            call.cancel()

    def close(self) -> None:
        """Answer what never will be, and forget about the client."""
        for call in self._open.values():
            if not call.unwanted:
                self._writer.send(jsonrpc.error(call.id, -32000, "The session ended before this was done"))
        self._closed = True
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(ProtocolError(0, "the client is gone"))
