"""The answer to one POST: JSON, or a stream of events once there is something to say before the result."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from starlette.types import Send
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT

from fsserver.server.boundary import ProtocolError, internal_error
from fsserver.transport import jsonrpc
from fsserver.transport.http.pending import Pending
from fsserver.transport.jsonrpc import Id
from fsserver.transport.posting import post

PING_S: Final = 15.0
"""After so long a silence a comment is sent, or a proxy in front would end the stream."""

MAX_WAITING: Final = 256
"""Notifications that wait for the client to read them; further ones are dropped."""


_EVENTS: Final = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]
_PING: Final = b": ping\r\n\r\n"


class Answer:
    """One request that has no answer yet: the `fsserver.server.boundary.Call` and `Peer` of its handler.

    Args:
        owner: the principal and the session's id, of which an answer to a question has to come.
        leaving_cancels: whether a client that hangs up thereby cancels (2026-07-28).
    """

    def __init__(
        self, identifier: Id, pending: Pending, owner: tuple[str, str], *, request_id: str, leaving_cancels: bool
    ) -> None:
        self.id = identifier
        self.request_id = request_id
        self.counted = False
        self.cancelled = threading.Event()
        self._pending = pending
        self._owner = owner
        self._leaving_cancels = leaving_cancels
        self._loop = asyncio.get_running_loop()
        self._notice: Callable[[], None] = _nothing
        self._outbox: deque[bytes] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._over = False
        self._left = False

    # --- for the handler

    def when_cancelled(self, notice: Callable[[], None]) -> None:
        self._notice = notice
        if self.cancelled.is_set():
            notice()

    def cancel(self) -> None:
        """Tell whoever works on it to stop. In the loop's thread."""
        self.cancelled.set()
        self._notice()

    def notify(self, method: str, params: Mapping[str, Any] | None) -> None:
        """From any thread; dropped once the request is over."""
        post(self._loop, self._say, jsonrpc.call(method, params))

    async def ask(self, method: str, params: Mapping[str, Any] | None) -> dict[str, Any]:
        """A request to the client, on this stream; its answer comes with a POST of its own."""
        if self._left:
            raise ProtocolError(0, "the client is gone")
        with self._pending.question(*self._owner) as (identifier, answer):
            self._put(jsonrpc.call(method, params, identifier))
            try:
                return await answer
            except asyncio.CancelledError:
                params = {"requestId": identifier, "reason": "nobody waits any more"}
                self._put(jsonrpc.call("notifications/cancelled", params))
                raise

    def _say(self, message: bytes) -> None:
        if not self._over and len(self._outbox) < MAX_WAITING:
            self._put(message)

    def _put(self, message: bytes) -> None:
        self._outbox.append(message)
        self._wake()

    def _wake(self, _: object = None) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # --- for the transport

    async def send(
        self,
        work: Coroutine[Any, Any, Mapping[str, Any]],
        send: Send,
        *,
        leaving: set[Callable[[], None]],
        head: Callable[[], list[tuple[bytes, bytes]]],
        status_of: Callable[[int], int],
    ) -> int:
        """Do the work and send what comes of it. Returns the status that was sent, 499 if nobody was there to read it.

        Args:
            leaving: what is called when the client hangs up.
            head: header fields; asked for when the answer begins.
            status_of: the status for a JSON-RPC error's code, if nothing was sent before it.
        """
        task = self._loop.create_task(self._result(work))
        task.add_done_callback(self._wake)
        leaving.add(self._leave)
        try:
            await self._something(task)
            if task.done() and not self._outbox:
                line, code = task.result()
                status = 200 if code is None else status_of(code)
                await _whole(send, status, [*head(), (b"content-type", b"application/json")], line)
            else:
                status = 200
                await send({"type": "http.response.start", "status": 200, "headers": [*head(), *_EVENTS]})
                await self._stream(task, send)
            return 499 if self._left else status
        finally:
            self._over = True
            leaving.discard(self._leave)
            if not task.done():  # the server ends, or this request's task was cancelled
                self.cancel()
                task.cancel()

    async def _stream(self, task: asyncio.Task[tuple[bytes, int | None]], send: Send) -> None:
        while True:
            events = b"".join(map(_event, self._outbox)) or _PING
            self._outbox.clear()
            if task.done():
                await _rest(send, (b"" if events is _PING else events) + _event(task.result()[0]))
                return
            await send({"type": "http.response.body", "body": events, "more_body": True})
            await self._something(task)

    async def _something(self, task: asyncio.Task[Any]) -> None:
        """Wait until there is something to send, the work is done, or it is time for a ping."""
        if task.done() or self._outbox:
            return
        self._waiter = self._loop.create_future()
        ping = self._loop.call_later(PING_S, self._wake)
        try:
            await self._waiter
        finally:
            ping.cancel()

    def _leave(self) -> None:
        self._left = True
        if self._leaving_cancels:
            self.cancel()

    async def _result(self, work: Coroutine[Any, Any, Mapping[str, Any]]) -> tuple[bytes, int | None]:
        """The line that answers, and its error's code."""
        try:
            return jsonrpc.result(self.id, await work), None
        except ProtocolError as error:
            return jsonrpc.error(self.id, error.code, error.message, error.data), error.code
        except ValueError as error:
            unsendable = internal_error(error)
            return jsonrpc.error(self.id, unsendable.code, unsendable.message), unsendable.code


async def _whole(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    length = (b"content-length", str(len(body)).encode("ascii"))
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await _rest(send, body)


async def _rest(send: Send, body: bytes) -> None:
    """The end of an answer. One that a client does not take keeps its place among the requests without an answer."""
    if len(body) > HIGH_WATER_LIMIT:
        await send({"type": "http.response.body", "body": body, "more_body": True})
        body = b""  # `send` first waits for the client to have taken most of what was sent before
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _event(line: bytes) -> bytes:
    """A message of one line, as a server-sent event."""
    return b"event: message\r\ndata: " + line.rstrip(b"\n") + b"\r\n\r\n"


def _nothing() -> None:
    pass
