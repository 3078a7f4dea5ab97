"""HTTP/1.1 on one connection, bounded: uvicorn's protocol with limits on what a client sends before it is a request.

uvicorn bounds neither the size of a request line and its headers nor how long they take.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Sequence
from typing import Any, Final

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

MAX_HEADERS: Final = 100
"""Fields of one request."""

_TOO_LARGE: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_TOO_SLOW: Final = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_TOO_MANY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n"
)


class Bounds:
    """What one connection may send, and how many there may be.

    Attributes:
        peers: whoever may connect; empty for everybody.
    """

    __slots__ = ("connections", "header_bytes", "header_s", "peers")

    def __init__(self, *, header_bytes: int, header_s: float, connections: int, peers: Sequence[str] = ()) -> None:
        self.header_bytes = header_bytes
        self.header_s = header_s
        self.connections = connections
        self.peers = tuple(ipaddress.ip_network(peer, strict=False) for peer in peers)

    def admits(self, address: str) -> bool:
        """Whether this peer may connect."""
        return not self.peers or any(ipaddress.ip_address(address) in network for network in self.peers)


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, config: Config, state: ServerState, bounds: Bounds) -> None:
        super().__init__(config, state, {})
        self._bounds = bounds
        self._head_bytes = 0
        self._field_bytes = 0
        self._serving = False  # a request has its headers and no answer yet
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self.client is not None and not self._bounds.admits(self.client[0]):
            transport.abort()
        elif len(self.connections) > self._bounds.connections:
            self._refuse(_TOO_MANY)
        else:
            self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if not self._serving and self._late is None:
            self._await_headers()  # the next request on this connection begins
        if self._late is not None:  # so the parser is in a head, or between two requests: all of this counts
            self._head_bytes += min(len(data), self._bounds.header_bytes + 1)
        super().data_received(data)
        if self._late is not None and self._head_bytes > self._bounds.header_bytes:
            self._refuse(_TOO_LARGE)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._field_bytes = 0

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value.rstrip(b" \t"))  # RFC 9110, section 5.5; llhttp strips the front only
        self._count(len(name) + len(value) + 4)
        if len(self.headers) > MAX_HEADERS:
            self._refuse(_TOO_LARGE)

    def _count(self, size: int) -> None:
        self._field_bytes += size
        if self._field_bytes > self._bounds.header_bytes:
            self._refuse(_TOO_LARGE)

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        if not self.transport.is_closing():
            self._serving = True
            super().on_headers_complete()

    def on_response_complete(self) -> None:
        self._serving = False
        super().on_response_complete()

    def on_body(self, body: bytes) -> None:
        if self.cycle is not None:  # else it was refused
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self.cycle is not None:
            super().on_message_complete()

    def _await_headers(self) -> None:
        self._head_bytes = 0
        self._late = self.loop.call_later(self._bounds.header_s, self._refuse, _TOO_SLOW)

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _refuse(self, answer: bytes) -> None:
        """Say why and hang up; nothing that comes after is looked at."""
        self._stop_waiting()
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()


def connection(config: Config, state: ServerState, bounds: Bounds) -> Any:
    """A factory of protocols for `asyncio.loop.create_server`."""
    return lambda: BoundedProtocol(config, state, bounds)
