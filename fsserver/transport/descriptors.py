"""The client's wire, taken off descriptors 0 and 1.

While a server serves, a stray ``print`` or a child that inherits the standard descriptors must not reach the client,
and no child may read what the client wrote. So the wire moves to private descriptors (3 or higher, close-on-exec),
descriptor 0 becomes the null device and descriptor 1 a copy of standard error.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import sys
from types import TracebackType
from typing import Self

from fsserver.errors import ConfigError

STDIN, STDOUT, STDERR = 0, 1, 2


class StandardStreams:
    """The two private descriptors of the wire. Take it before anything else opens a file; close it at the end.

    Attributes:
        reader: what the client writes. Its file status flags are never changed: other processes may share them.
        writer: what the client reads. Not blocking where the kind of file can block (pipe, socket, terminal).
    """

    def __init__(self, reader: int, writer: int, restore_flags: int | None) -> None:
        self.reader = reader
        self.writer = writer
        self._restore_flags = restore_flags

    @classmethod
    def take(cls) -> StandardStreams:
        """Move the wire away from descriptors 0 and 1.

        A closed standard input counts as one at its end.

        Raises:
            ConfigError: standard output is closed.
        """
        if sys.stdout is not None:
            sys.stdout.flush()
        try:
            writer, restore_flags = _not_blocking(_private_copy(STDOUT))
        except OSError:
            raise ConfigError("standard output is closed: an MCP client reads the answers there") from None
        try:
            reader = _private_copy(STDIN)
        except OSError:
            reader = _private_copy(_open_null(os.O_RDONLY), close=True)
        _replace(STDIN, _open_null(os.O_RDONLY))
        try:
            os.dup2(STDERR, STDOUT)
        except OSError:  # there is no standard error either
            _replace(STDOUT, _open_null(os.O_WRONLY))
        return cls(reader, writer, restore_flags)

    def close(self) -> None:
        """Close the private descriptors. 0 and 1 stay diverted: the process is about to end, and nothing may follow."""
        if self._restore_flags is not None:
            with contextlib.suppress(OSError):
                fcntl.fcntl(self.writer, fcntl.F_SETFL, self._restore_flags)
        os.close(self.reader)
        os.close(self.writer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _private_copy(descriptor: int, *, close: bool = False) -> int:
    copy = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
    if close:
        os.close(descriptor)
    return copy


def _open_null(flags: int) -> int:
    return os.open(os.devnull, flags | os.O_CLOEXEC)


def _replace(standard: int, descriptor: int) -> None:
    """Make ``standard`` lead where ``descriptor`` leads, and close the latter. Children inherit ``standard``."""
    if descriptor == standard:  # `standard` was closed, so the file landed there
        os.set_inheritable(standard, True)
        return
    os.dup2(descriptor, standard)
    os.close(descriptor)


def _not_blocking(descriptor: int) -> tuple[int, int | None]:
    """A descriptor for the same file on which a write never blocks, and the flags to put back at the end.

    O_NONBLOCK belongs to the open file description, and a terminal's is shared with the shell and with standard
    error. So a terminal is opened anew; pipes and sockets, which are the client's and ours alone, are switched.
    """
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_NONBLOCK)
        return descriptor, flags
    if os.isatty(descriptor):
        with contextlib.suppress(OSError):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            anew = os.open(f"/proc/self/fd/{descriptor}", flags)
            os.close(descriptor)
            return anew, None
    return descriptor, None
