"""One TCP connection to a place of the log, with TLS or without, on which every wait has an end.

*Trust.* Hostile: every byte that comes back, and how fast. A peer that sends without end, or nothing, costs its
connection. Ours: the certificate authority, so with TLS the peer is who the policy names.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
import struct
import time
from contextlib import suppress
from typing import Final

BLOCK: Final = 64 * 1024
SEND_BUFFER_BYTES: Final = 256 * 1024  # the less is on its way, the less can be lost

# struct tcp_info, linux/tcp.h: tcpi_state, tcpi_snd_mss, tcpi_unacked, tcpi_notsent_bytes (Linux 4.6).
_STATE, _MSS, _UNACKED, _NOT_SENT, _INFO_SIZE = 0, 16, 24, 144, 148
_ESTABLISHED = 1


class StreamEnded(OSError):  # noqa: N818 - what has happened, as the others of its family
    """The peer closed the connection."""


def reason(error: OSError) -> str:
    """One word for a record and for clients: it names no place."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "certificate"
    if isinstance(error, StreamEnded):
        return "closed"
    if isinstance(error, socket.gaierror):
        return "name"
    if isinstance(error, ssl.SSLError):
        return "tls"
    if isinstance(error, TimeoutError):
        return "timeout"
    return errno.errorcode.get(error.errno or 0, "unknown")


def words(error: OSError) -> str:
    """The same for the operator; completes "it cannot be reached: ..."."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {(error.reason or 'no reason is known').replace('_', ' ').lower()}"
    return (error.strerror or str(error) or "no reason is known").lower()


class Stream:
    """Connected. Used by one thread at a time."""

    def __init__(self, connection: socket.socket) -> None:
        """For `connect` only. ``connection`` does not block."""
        self._socket = connection

    @classmethod
    def connect(cls, host: str, port: int, context: ssl.SSLContext | None, patience_s: float) -> Stream:
        """A connection to the first address of `host` that takes one, after its certificate was checked.

        What resolving a name takes is the resolver's to bound; all else is done within `patience_s`.

        Raises OSError, of which ssl.SSLError is one kind.
        """
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except UnicodeError:
            raise socket.gaierror(socket.EAI_NONAME, "its name is none") from None
        deadline = time.monotonic() + patience_s
        failure: OSError | None = None
        for number, (family, kind, protocol, _, address) in enumerate(found):
            now = time.monotonic()
            until = now + (deadline - now) / (len(found) - number)  # one that is silent leaves time for the others
            connection = socket.socket(family, kind, protocol)
            stream = cls(connection)
            try:
                _set_up(connection, patience_s)
                stream._connect(address, until)
                if context is not None:
                    stream._socket = context.wrap_socket(
                        connection, server_hostname=host, do_handshake_on_connect=False
                    )
                    stream._handshake(until)
            except OSError as error:
                failure = error
                stream.close()
            except BaseException:
                stream.close()
                raise
            else:
                return stream
        raise failure or OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, data: bytes, patience_s: float) -> None:
        """Hand all of it to the kernel, of which something has to be taken every `patience_s`: a slow line is none that
        hangs. Raises OSError; then a part of it may be on its way.
        """
        view = memoryview(data)
        deadline = time.monotonic() + patience_s
        while view:
            try:
                view = view[self._socket.send(view[:BLOCK]) :]
                deadline = time.monotonic() + patience_s
            except (BlockingIOError, ssl.SSLWantWriteError):
                self._wait(select.POLLOUT, deadline)
            except ssl.SSLWantReadError:
                self._wait(select.POLLIN, deadline)

    def receive(self, deadline: float) -> bytes:
        """Some bytes. Raises StreamEnded, OSError."""
        while True:
            data = self._received()
            if data is not None:
                return data
            self._wait(select.POLLIN, deadline)

    def require_open(self) -> None:
        """Raises StreamEnded if the peer closed, and what else ended the connection. What it sent is thrown away."""
        for _ in range(16):  # a peer that has more to say than this is none that only listens
            if self._received() is None:
                return
        raise OSError(errno.EPROTO, "it sends what nobody asked for")

    def heard(self) -> bool:
        """Whether the peer said anything that was not asked for, or closed. What it said is thrown away."""
        try:
            return self._received() is not None
        except OSError:
            return True

    def unacknowledged(self) -> int | None:
        """At most so many bytes may not have reached the peer's kernel; None if this kernel does not say."""
        try:
            info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        except (OSError, AttributeError):
            return None
        if len(info) < _INFO_SIZE or info[_STATE] != _ESTABLISHED:
            return None
        mss, segments, unsent = (struct.unpack_from("=I", info, at)[0] for at in (_MSS, _UNACKED, _NOT_SENT))
        return int(mss * segments + unsent)

    def finish(self, deadline: float) -> None:
        """Say that nothing more comes and wait until the peer closes too: then it has read all. Raises OSError.

        A close with something unread would make the kernel throw away what is still on its way.
        """
        if isinstance(self._socket, ssl.SSLSocket):
            with suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                self._socket.unwrap()  # close_notify goes out; the peer's is not waited for here
        self._socket.shutdown(socket.SHUT_WR)
        with suppress(StreamEnded):
            while True:
                self.receive(deadline)

    def close(self) -> None:
        with suppress(OSError):
            self._socket.close()

    def _connect(self, address: tuple[object, ...], deadline: float) -> None:
        with suppress(BlockingIOError):
            self._socket.connect(address)
            return
        self._wait(select.POLLOUT, deadline)
        code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))

    def _handshake(self, deadline: float) -> None:
        assert isinstance(self._socket, ssl.SSLSocket)
        while True:
            try:
                self._socket.do_handshake()
            except ssl.SSLWantReadError:
                self._wait(select.POLLIN, deadline)
            except ssl.SSLWantWriteError:
                self._wait(select.POLLOUT, deadline)
            else:
                return

    def _received(self) -> bytes | None:
        """What is there; None for nothing. Raises StreamEnded, OSError."""
        try:
            data = self._socket.recv(BLOCK)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            data = b""
        if not data:
            raise StreamEnded(errno.ECONNRESET, "it closed the connection")
        return data

    def _wait(self, event: int, deadline: float) -> None:
        poll = select.poll()
        poll.register(self._socket, event)
        left_s = deadline - time.monotonic()
        if left_s <= 0 or not poll.poll(left_s * 1000):
            raise TimeoutError(errno.ETIMEDOUT, "it does not answer in time")


def _set_up(connection: socket.socket, patience_s: float) -> None:
    """A peer that is gone is noticed, also while nothing is sent, and so is one that reads nothing (tcp(7))."""
    connection.setblocking(False)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_USER_TIMEOUT", int(patience_s * 1000))):
        option = getattr(socket, name, None)
        if option is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
