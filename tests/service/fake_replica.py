"""A server that a proxy takes for a replica: it answers as a test wants, or dies, and remembers what it was sent."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final, TypeAlias

TIMEOUT_S: Final = 10.0

DRAINING: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\ncontent-type: application/json\r\n"
    b'content-length: 13\r\n\r\n{"busy":true}'
)
OK: Final = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


@dataclass(frozen=True)
class Seen:
    """A request that came whole. ``connection``: the number of the connection that it came on."""

    head: str
    body: bytes
    connection: int

    def field(self, name: str) -> list[str]:
        lines = (line.partition(":") for line in self.head.split("\r\n")[1:])
        return [value.strip() for field_name, _, value in lines if field_name.lower() == name]


Manner: TypeAlias = Callable[[socket.socket], bool]
"""What is done with a request that came whole; whether the connection goes on."""


def answers(connection: socket.socket) -> bool:
    connection.sendall(OK)
    return True


def drains(connection: socket.socket) -> bool:
    connection.sendall(DRAINING)
    return False


def dies(_: socket.socket) -> bool:
    """As a process that is killed with nothing left to read."""
    return False


def is_reset(connection: socket.socket) -> bool:
    """As a machine that lost the connection."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def dies_in_the_head(connection: socket.socket) -> bool:
    connection.sendall(OK[:20])
    return False


def is_silent(connection: socket.socket) -> bool:
    """Until the proxy gives up."""
    connection.settimeout(TIMEOUT_S)
    with suppress(OSError):
        connection.recv(1)
    return False


@dataclass
class FakeReplica:
    """Attributes:
    manner: of the next requests; may be changed.
    seen: every request that came whole, in order.
    """

    port: int
    manner: Manner = answers
    seen: list[Seen] = field(default_factory=list)
    _listener: socket.socket | None = None
    _connections: list[socket.socket] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def listen(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._start(self._accept, self._listener)

    def refuse(self) -> None:
        """Connections are refused from now on, and those that there are are gone."""
        assert self._listener is not None
        self._listener.shutdown(socket.SHUT_RDWR)
        for each in self._connections:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(TIMEOUT_S)
        self._listener = None

    def close(self) -> None:
        if self._listener is not None:
            self.refuse()

    def _start(self, work: Callable[[socket.socket], None], of: socket.socket) -> None:
        thread = threading.Thread(target=work, args=(of,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                self._connections.append(connection)
                self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        number = len(self._connections)
        with connection, suppress(OSError):
            while (request := _request(connection)) is not None:
                self.seen.append(Seen(*request, number))
                if not self.manner(connection):
                    return


def _request(connection: socket.socket) -> tuple[str, bytes] | None:
    """The next one's head and body; None at the end."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (part := connection.recv(65536)):
            return None
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    text = head.decode("latin-1")
    (length,) = Seen(text, b"", 0).field("content-length") or ["0"]
    rest = bytearray(body)
    while len(rest) < int(length):
        if not (part := connection.recv(65536)):
            return None
        rest += part
    return text, bytes(rest)


@contextmanager
def fake_replicas(ports: list[int]) -> Iterator[list[FakeReplica]]:
    fakes = [FakeReplica(port) for port in ports]
    try:
        for fake in fakes:
            fake.listen()
        yield fakes
    finally:
        for fake in fakes:
            fake.close()
