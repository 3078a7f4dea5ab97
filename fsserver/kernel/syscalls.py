"""System calls that Python's standard library lacks. Each raises `OSError` with the kernel's errno, nothing else.

Sources: openat2(2), renameat2(2), statx(2), fstatfs(2), proc(5).
"""

from __future__ import annotations

import ctypes
import errno
import os
from typing import NamedTuple

from fsserver.kernel import constants as c


class OpenHow(ctypes.Structure):
    """``struct open_how`` of openat2(2). The kernel only reads it, so one instance serves every thread."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class _Timestamp(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_int64), ("nanoseconds", ctypes.c_uint32), ("_pad", ctypes.c_int32))


class _Statx(ctypes.Structure):
    """The part of ``struct statx`` up to the birth time, padded to its whole 256 bytes."""

    _fields_ = (
        ("mask", ctypes.c_uint32),
        ("_before_times", ctypes.c_uint8 * 60),
        ("accessed", _Timestamp),
        ("born", _Timestamp),
        ("_rest", ctypes.c_uint8 * 160),
    )


class FileSystem(NamedTuple):
    """What fstatfs(2) says: the magic number of the file system's type."""

    magic: int


_libc = ctypes.CDLL(None, use_errno=True)

_syscall_openat2 = ctypes.CDLL(None, use_errno=True).syscall
_syscall_openat2.restype = ctypes.c_long
_syscall_openat2.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t)
_OPEN_HOW_BYTES = ctypes.sizeof(OpenHow)


def open_how(flags: int, resolve: int) -> OpenHow:
    """The argument block of `openat2`. Build it once and keep it: building costs as much as the call."""
    return OpenHow(flags | c.O_CLOEXEC, 0, resolve)


def openat2(directory: int, path: bytes, how: OpenHow) -> int:
    """Open ``path`` beneath ``directory`` as ``how`` says and return a descriptor that exec closes.

    Raises ``OSError`` EXDEV when the path leaves the directory, EAGAIN when a concurrent rename makes that impossible
    to tell, ELOOP at a magic link, ENOSYS before Linux 5.6.
    """
    _refuse_nul(path)
    while True:
        descriptor: int = _syscall_openat2(c.SYS_OPENAT2, directory, path, ctypes.addressof(how), _OPEN_HOW_BYTES)
        if descriptor >= 0:
            return descriptor
        number = ctypes.get_errno()
        if number != errno.EINTR:
            raise OSError(number, "openat2")


def renameat2(old_directory: int, old: bytes, new_directory: int, new: bytes, flags: int) -> None:
    """Rename with ``RENAME_NOREPLACE`` or ``RENAME_EXCHANGE``. EINVAL: this file system does not know the flag."""
    _refuse_nul(old)
    _refuse_nul(new)
    try:
        function = _libc.renameat2
    except AttributeError:
        raise OSError(errno.ENOSYS, "renameat2") from None
    if function(old_directory, old, new_directory, new, ctypes.c_uint(flags)) != 0:
        raise OSError(ctypes.get_errno(), "renameat2")


def birth_time_ns(descriptor: int) -> int | None:
    """When the object behind ``descriptor`` was created, in ns since 1970; None where that is not recorded."""
    try:
        function = _libc.statx
    except AttributeError:
        return None
    answer = _Statx()
    if function(descriptor, b"", c.AT_EMPTY_PATH, c.STATX_BTIME, ctypes.byref(answer)) != 0:
        return None
    if not answer.mask & c.STATX_BTIME:
        return None
    return int(answer.born.seconds) * 1_000_000_000 + int(answer.born.nanoseconds)


def file_system(descriptor: int) -> FileSystem:
    """The file system that holds the object. Raises ``OSError``."""
    answer = (ctypes.c_long * 32)()  # struct statfs is 120 bytes; f_type is its first long
    if _libc.fstatfs(descriptor, ctypes.byref(answer)) != 0:
        raise OSError(ctypes.get_errno(), "fstatfs")
    return FileSystem(magic=int(answer[0]) & 0xFFFFFFFF)


def descriptor_path(descriptor: int) -> str:
    """The absolute path by which the kernel knows the opened object now, from /proc/self/fd.

    It ends in " (deleted)" for a removed name. Raises ``OSError``: ENAMETOOLONG from 4,096 bytes on, ENOENT without
    /proc. Asked through /proc/self anew each time, since a kept descriptor of it would speak of a parent after fork.
    """
    return os.readlink(f"/proc/self/fd/{descriptor}")


def _refuse_nul(path: bytes) -> None:
    """C strings end at NUL: the kernel would see another name than the one that was checked."""
    if b"\0" in path:
        raise OSError(errno.EINVAL, "NUL in a path")
