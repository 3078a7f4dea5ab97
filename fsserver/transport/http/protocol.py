"""HTTP/1.1 on one connection, bounded: uvicorn's protocol with limits on what a client sends before it is a request.

uvicorn bounds neither the size of a request line and its headers nor how long they take, nor how many requests come
ahead of their answers; it takes fields after a body for headers, and writes a line for everything that is no HTTP.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from fsserver.transport.http.refusal import Refusal
from fsserver.transport.http.refusal_log import RefusalLog

MAX_HEADERS: Final = 100
"""Fields of one request."""

MAX_AHEAD: Final = 16
"""Requests that wait on one connection for the answers to those before them."""

MAX_SKIPPED: Final = 8 * 1024 * 1024
"""Bytes of a body that are read and thrown away when its request was answered without them: many clients look for the
answer only when they have sent all."""

_VERSIONS: Final = ("1.0", "1.1")

STALLED_S: Final = 30.0
"""How long a client may read nothing of an answer that waits for it."""

LEAVING: Final = "leaving"
"""The reason of a refusal that is none: nothing was asked, and the server ends."""

LINGER_S: Final = 1.0
"""How long what still comes is read and dropped, after the last answer on a connection."""


class Bounds:
    """What one connection may send, and how many there may be.

    Attributes:
        peers: whoever may connect; empty for everybody.
        idle: connections on which nothing is asked, the one first on which nothing was asked for the longest time.
    """

    __slots__ = ("connections", "header_bytes", "header_s", "idle", "peers")

    def __init__(self, *, header_bytes: int, header_s: float, connections: int, peers: Sequence[str] = ()) -> None:
        self.header_bytes = header_bytes
        self.header_s = header_s
        self.connections = connections
        self.idle: dict[BoundedProtocol, None] = {}
        self.peers = tuple(ipaddress.ip_network(peer, strict=False) for peer in peers)

    def admits(self, address: str) -> bool:
        """Whether this peer may connect."""
        return not self.peers or any(ipaddress.ip_address(address) in network for network in self.peers)


class _Joined:
    """A connection's transport for one answer, whose head is written together with what follows it. Nothing is written
    after a refusal.

    Args:
        begun: whether nothing follows the head.
    """

    __slots__ = ("_begun", "_connection", "_head", "_transport")

    def __init__(self, connection: BoundedProtocol, *, begun: bool) -> None:
        self._connection = connection
        self._transport = connection.transport
        self._head = b""
        self._begun = begun

    def write(self, data: bytes) -> None:
        if self._connection.deaf:
            return
        if self._begun:
            head, self._head = self._head, b""
            self._transport.write(head + data)
        elif data.startswith(b"HTTP/1.1 100 "):  # an interim answer
            self._transport.write(data)
        else:
            self._begun = True
            self._head = data

    def close(self) -> None:
        if self._head:
            self.write(b"")
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()


class BoundedProtocol(HttpToolsProtocol):
    """One connection. Refusals of what is no request are told in ``log``, and their statuses to ``observe``.

    Attributes:
        deaf: nothing that comes is looked at any more, and nothing more is said.
        leaving: what is called when the client hangs up; the application finds it in its scope's ``state``. With ASGI's
            own means it takes a task for each request.
    """

    cycle: Any
    """The last request whose headers were taken; None before the first."""

    def __init__(
        self, config: Config, state: ServerState, bounds: Bounds, log: RefusalLog, observe: Callable[[int], None]
    ) -> None:
        super().__init__(config, state, {})
        self._bounds = bounds
        self._log = log
        self._observe = observe
        self.leaving: set[Callable[[], None]] = set()
        self._in_head = True  # of the request that is being parsed
        self._between_bytes = 0
        self._field_bytes = 0
        self._late: asyncio.TimerHandle | None = None
        self._leaving = False  # no request is taken any more
        self.deaf = False
        self._unread = 0  # bytes of an answer, when they were looked at last
        self._stalled: asyncio.TimerHandle | None = None

    @property
    def _serving(self) -> bool:
        """A request has its headers and no answer yet."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def _skipping(self) -> bool:
        """The last request has its answer, but its body is not whole."""
        return self.cycle is not None and self.cycle.response_complete and self.cycle.more_body

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        admitted = self.client is None or self._bounds.admits(self.client[0])
        if not admitted or len(self.connections) > 2 * self._bounds.connections:  # so many are just being refused
            transport.abort()
        elif len(self.connections) > self._bounds.connections and not self._displace():
            self._refuse(503, "connections")
        else:
            self._bounds.idle[self] = None
            self._wait()

    def _displace(self) -> bool:
        """Where there are too many connections, have the one give way on which nothing was asked for the longest time.
        Otherwise who holds them all and asks nothing keeps everybody out. Whether there is one.
        """
        longest = next(iter(self._bounds.idle), None)
        if longest is not None:
            longest.give_way()
        return longest is not None

    def give_way(self) -> None:
        """End it, and say that nothing was done of what may be on its way."""
        self._bounds.idle.pop(self, None)
        self._refuse(503, "connections")

    def connection_lost(self, exc: Exception | None) -> None:
        self._bounds.idle.pop(self, None)
        self._stop_waiting()
        self.resume_writing()
        super().connection_lost(exc)
        for each in tuple(self.leaving):
            each()

    def data_received(self, data: bytes) -> None:
        if self.deaf or self.transport.is_closing():
            return
        if not self._serving and self._late is None:
            self._wait()  # the next request on this connection begins, or the rest of the last one comes
        if self._late is not None:
            self._between_bytes += len(data)
        super().data_received(data)
        if self._late is None:
            return
        if self._skipping:
            if self._between_bytes > MAX_SKIPPED:
                self.transport.close()
        elif self._between_bytes > self._bounds.header_bytes:
            self._refuse(431, "headers")

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - it says no more than the status
        self._refuse(400, "not HTTP")

    def on_message_begin(self) -> None:
        if self.deaf or self.transport.is_closing():
            raise ConnectionAbortedError  # so that the parser looks at nothing more of what it was given
        super().on_message_begin()
        self.scope["state"]["leaving"] = self.leaving
        self._in_head = True
        self._field_bytes = 0

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + 4)
        if not self._in_head:
            return  # after the body: what was decided by the headers is decided
        super().on_header(name, value.rstrip(b" \t"))  # RFC 9110, section 5.5; llhttp strips the front only
        if len(self.headers) > MAX_HEADERS:
            self._refuse(431, "headers")

    def _count(self, size: int) -> None:
        self._field_bytes += size
        if self._field_bytes > self._bounds.header_bytes:
            self._refuse(431, "headers")

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        self._in_head = False
        if self.deaf or self.transport.is_closing():
            return
        if self.parser.get_http_version() not in _VERSIONS:
            self._refuse(505, "version")
        elif self.parser.should_upgrade():
            self._refuse(400, "upgrade")  # the parser would take the body for what another protocol sends
        elif not self.url.startswith(b"/") or b"#" in self.url:
            self._refuse(400, "target")  # what a proxy is asked for, or nothing at all
        elif len(self.pipeline) >= MAX_AHEAD:
            self._refuse(429, "requests ahead")
        else:
            self._bounds.idle.pop(self, None)
            super().on_headers_complete()
            self.cycle.transport = _Joined(self, begun=self.scope["method"] == "HEAD")

    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_reader()

    def resume_writing(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
        super().resume_writing()

    def _await_reader(self) -> None:
        self._unread = self.transport.get_write_buffer_size()
        self._stalled = self.loop.call_later(STALLED_S, self._look_at_reader)

    def _look_at_reader(self) -> None:
        """Whoever reads nothing is not waited for: the answer is in memory until then."""
        if self.transport.get_write_buffer_size() < self._unread:
            self._await_reader()
        else:
            self.transport.abort()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._serving and not self.deaf and not self.transport.is_closing():
            self._bounds.idle[self] = None
        if self._leaving and not self._serving:
            self._refuse(503, LEAVING)
        elif self._in_head and self._late is None and not self._serving:
            self._wait()  # the next request has begun before this one was answered

    def shutdown(self) -> None:
        """Take no further request on this connection, since the server is about to end.

        A connection that is just closed may cross with a request, whose sender then cannot know what became of it. So
        whoever was sent no answer, or has all of it, is told that what is on its way was not taken. To those who sent
        nothing it is no answer, and they hang up (RFC 9112, section 9.2).
        """
        self._leaving = True
        if not self._serving:
            self._refuse(503, LEAVING)
        elif not self.cycle.response_started:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        if self.cycle is not None:  # else it was refused
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self.cycle is None:
            return
        super().on_message_complete()
        if not self.pipeline:
            self.flow.resume_reading()  # so that it is seen when the client hangs up
        if self.cycle.response_complete:  # nothing of its body is left to skip
            self.cycle.more_body = False
            self._stop_waiting()
            self._wait()  # the next one may have begun in the same packet

    def _wait(self) -> None:
        """For a whole head, or the rest of a body that is not wanted."""
        self._between_bytes = 0
        self._late = self.loop.call_later(self._bounds.header_s, self._too_late)

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _too_late(self) -> None:
        if self._skipping:
            self.transport.close()
        else:
            self._refuse(408, "slow headers")

    def _refuse(self, status: int, reason: str) -> None:
        """Say why, and hang up when the client had time to read it; nothing that comes after is looked at."""
        self._stop_waiting()
        if self.deaf or self.transport.is_closing():
            return
        self.deaf = True
        self._bounds.idle.pop(self, None)
        self.pipeline.clear()
        if self._serving:  # there is one answer on a connection that ends
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if reason != LEAVING:
            self._log.tell(Refusal(status, reason, ""), "unknown" if self.client is None else self.client[0], "none")
            self._observe(status)
        again = "retry-after: 1\r\n" if status in (429, 503) else ""
        head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nconnection: close\r\n{again}content-length: 0\r\n\r\n"
        self.transport.write(head.encode("ascii"))
        if self.transport.can_write_eof():  # not with TLS
            with suppress(OSError):  # the client has gone
                self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.close)


def connection(config: Config, state: ServerState, bounds: Bounds, observe: Callable[[int], None]) -> Any:
    """A factory of protocols for `asyncio.loop.create_server`."""
    log = RefusalLog()
    return lambda: BoundedProtocol(config, state, bounds, log, observe)
