"""Sockets that are bound before the server confines itself, and the TLS in front of them."""

from __future__ import annotations

import errno
import os
import resource
import socket
import ssl
import sys
import time
from typing import Any, Final
from weakref import WeakSet

from fsserver.errors import ConfigError
from fsserver.policy.service import Address, TlsFiles

BACKLOG: Final = 1024

STALLED_S: Final = 60
"""How long a client may take nothing of what it is sent, until the connection is given up and what it holds with it."""


PAUSE_S: Final = 0.5
"""Where an accept finds no descriptor free, asyncio tries as many times more as the backlog has places, with a message
each time, and then again after a second."""

_SHORT: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Listening(socket.socket):
    """Listens already. That asyncio says so again is no system call: a confined server may not make it.

    Attributes:
        most: connections that may be open, those too that have no TLS yet; further ones are closed at once. None: any
            number.
        accepted: what was accepted and may be open.
    """

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.most: int | None = None
        self.accepted: WeakSet[socket.socket] = WeakSet()
        self._not_before = 0.0

    def listen(self, backlog: int = BACKLOG, /) -> None:
        """Nothing is left to do."""

    def accept(self) -> tuple[socket.socket, Any]:
        """Raises OSError, as what asyncio goes on after."""
        if time.monotonic() < self._not_before:
            raise BlockingIOError
        try:
            connection, address = super().accept()
        except OSError as error:
            if error.errno in _SHORT:
                self._not_before = time.monotonic() + PAUSE_S
            raise
        if self._full():
            connection.close()
            raise ConnectionAbortedError
        self.accepted.add(connection)
        return connection, address

    def _full(self) -> bool:
        if self.most is None or len(self.accepted) < self.most:
            return False
        for each in list(self.accepted):
            if each.fileno() < 0:
                self.accepted.discard(each)
        return len(self.accepted) >= self.most


def bind(address: Address) -> Listening:
    """A socket that listens there; with port 0 on any free port.

    Raises:
        ConfigError: it cannot.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    # With the protocol named, asyncio sets TCP_NODELAY on what it accepts; else an answer in two parts waits 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # tcp(7): also with a window of zero; and what is accepted inherits it.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, STALLED_S * 1000)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(("127.0.0.1" if address.host == "localhost" else address.host, address.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(f"Cannot listen on {address}: {os.strerror(error.errno or 0)}.") from None
    return Listening(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, fileno=listener.detach())


def room() -> int:
    """How many connections this process has descriptors for. As many are left for what it does for them."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if most == resource.RLIM_INFINITY else most // 2


def bound(listener: socket.socket) -> Address:
    """Where a socket listens."""
    host, port, *_ = listener.getsockname()
    return Address(host, port)


def server_context(files: TlsFiles | None) -> ssl.SSLContext | None:
    """TLS as the policy wants it, 1.2 and newer; None for none.

    Raises:
        ConfigError: a file cannot be read, or is not what it should be.
    """
    if files is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    what = "the certificate or its key"
    try:
        for path in (files.certificate, files.key, files.client_ca):
            if path is not None:
                os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))  # the errors of ssl name no file
        context.load_cert_chain(files.certificate, files.key, password=_no_password)
        if files.client_ca is not None:
            what = "client_ca"
            context.load_verify_locations(files.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        if isinstance(error, OSError) and error.filename is not None:
            raise ConfigError(f"server.tls: {error.filename} cannot be read: {error.strerror}.") from None
        raise ConfigError(f"server.tls: {what} cannot be used: {error}") from None
    context.set_alpn_protocols(["http/1.1"])
    return context


def _no_password() -> str:
    """Instead of a question on the terminal."""
    raise ValueError("the key is encrypted; a server needs one that is not")
