"""What the server, the launcher and its cells say to each other: packets of texts, with descriptors beside them.

A packet is texts joined by NUL, which no argument of a program can hold. The sockets are SOCK_SEQPACKET (unix(7)): a
packet arrives whole or not at all. How a command ended is told on a pipe of its own, to whoever waits for it.

*Trust.* The launcher takes what the server says for hostile, and the server and the launcher what a cell says.

*Invariant.* Every descriptor that arrived is in the answer of `receive`, or was closed.
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import select
import socket
from collections.abc import Sequence
from typing import Final

MAX_PACKET: Final = 192 * 1024
"""Bytes; less than a socket buffer holds by default (net.core.wmem_default, 208 KiB)."""

MAX_DESCRIPTORS: Final = 4

MAX_ANSWER: Final = 64 * 1024
"""Bytes that a new pipe holds (pipe(7))."""

_LENGTH_BYTES: Final = 4

# As numbers: each operation on the enumeration's members is some calls of Python.
_NOSIGNAL: Final = int(socket.MSG_NOSIGNAL)
_CUT: Final = int(socket.MSG_TRUNC | socket.MSG_CTRUNC)
_CLOEXEC: Final = int(socket.MSG_CMSG_CLOEXEC)
_INT_BYTES: Final = array.array("i").itemsize
_BESIDE_BYTES: Final = socket.CMSG_SPACE(MAX_DESCRIPTORS * _INT_BYTES)


ROOM: Final = memoryview(bytearray(MAX_PACKET))
"""For `receive` in a process of one thread: as much memory anew for each packet costs it more than the packet."""


class PeerGoneError(Exception):
    """The other side is gone."""


class NoRoomError(PeerGoneError):
    """A packet came, and this process is out of descriptors for what was beside it. The next one may fit."""


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends. Raises ``OSError``."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def encode(fields: Sequence[str]) -> bytes:
    """Raises ``ValueError``: a text holds a NUL, or the whole is too long."""
    packet = "\0".join(fields).encode("utf-8", "surrogateescape")
    if packet.count(b"\0") != len(fields) - 1:
        raise ValueError("NUL in a message")
    if len(packet) > MAX_PACKET:
        raise ValueError("a message is too long")
    return packet


def send(to: socket.socket, fields: Sequence[str], descriptors: Sequence[int] = (), *, flags: int = 0) -> None:
    """Send one packet.

    Raises:
        PeerGoneError: the other side is gone.
        BlockingIOError: with ``MSG_DONTWAIT``, it does not read.
        ValueError: as `encode`.
    """
    beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    try:
        to.sendmsg([encode(fields)], beside, flags | _NOSIGNAL)
    except (BrokenPipeError, ConnectionResetError):
        raise PeerGoneError from None


def receive(source: socket.socket, room: memoryview | None = None) -> tuple[list[str], list[int]]:
    """The next packet and the descriptors beside it, which the caller closes.

    Args:
        room: `ROOM`, where no other thread receives.

    Raises:
        PeerGoneError: the other side is gone, or sent what no packet of ours can be.
        NoRoomError: not all of its descriptors could be had; those that could are closed again.
    """
    if room is None:
        room = memoryview(bytearray(MAX_PACKET))
    try:
        count, beside, flags, _ = source.recvmsg_into([room], _BESIDE_BYTES, _CLOEXEC)
    except ConnectionResetError:
        raise PeerGoneError from None
    descriptors = array.array("i")
    for level, kind, data in beside:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % _INT_BYTES])
    # An empty packet is how SOCK_SEQPACKET says end of file. Cut ones are nobody's we know.
    if not count or flags & _CUT:
        close(descriptors)
        if count and flags & _CUT == socket.MSG_CTRUNC and len(descriptors) < MAX_DESCRIPTORS:
            raise NoRoomError
        raise PeerGoneError
    return str(room[:count], "utf-8", "surrogateescape").split("\0"), list(descriptors)


def room_for_answer(descriptor: int) -> int:
    """Bytes that an answer on this pipe may have. Of a user with many pipes a new one holds less, pipe(7)."""
    return min(MAX_ANSWER, fcntl.fcntl(descriptor, fcntl.F_GETPIPE_SZ)) - _LENGTH_BYTES


def answer(descriptor: int, fields: Sequence[str]) -> None:
    """Write the one packet of a pipe, and do not wait. It is in the pipe whole, or the reader sees that it was cut.

    Whoever holds a copy of the descriptor can make the pipe one that blocks, at any time; where the kernel can (Linux
    6.4 for pipes), it is told with the call itself not to.

    Raises:
        PeerGoneError: nobody reads.
        ValueError: as `encode`.
    """
    packet = encode(fields)
    data = len(packet).to_bytes(_LENGTH_BYTES, "little") + packet
    try:
        _write_at_once(descriptor, data)
    except (BrokenPipeError, BlockingIOError):
        raise PeerGoneError from None


def _write_at_once(descriptor: int, data: bytes) -> None:
    try:
        os.pwritev(descriptor, [data], -1, os.RWF_NOWAIT)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        os.write(descriptor, data)


def take_answer(descriptor: int) -> list[str]:
    """Read the one packet of a pipe, once there is something to read.

    Its end alone says nothing: other processes may still hold the writing end, as copies of the one that wrote.

    Raises:
        PeerGoneError: nobody will write, or the packet was cut.
    """
    data = os.read(descriptor, MAX_ANSWER)
    packet = data[_LENGTH_BYTES:]
    if len(data) < _LENGTH_BYTES or int.from_bytes(data[:_LENGTH_BYTES], "little") != len(packet):
        raise PeerGoneError
    return packet.decode("utf-8", "surrogateescape").split("\0")


def wait(descriptor: int, timeout_s: float | None) -> bool:
    """Whether there is something to read, or the end, by then; None is for ever. Unlike select(2), for descriptors of
    any number.
    """
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(None if timeout_s is None else timeout_s * 1000))


def close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
