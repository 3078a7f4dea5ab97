"""The C library's ``syscall`` and ``prctl`` with errno turned into `OSError`. Nothing here knows what a call means."""

from __future__ import annotations

import ctypes
import os
from typing import Final

# One handle for the process: dlopen(NULL) opens no file, so it works under every confinement. Every argument is a word
# of the machine, as the kernel takes it, and c_void_p makes one of an integer, of bytes and of a buffer.
_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.argtypes = (ctypes.c_long, *[ctypes.c_void_p] * 6)
_syscall.restype = ctypes.c_long
_prctl = _libc.prctl
_prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)
_ZEROS: Final = (0, 0, 0, 0, 0, 0)


def syscall(number: int, *arguments: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    """Make one system call (syscall(2)) and return its result.

    Integers are passed as C ``long``, buffers by address, None as a null pointer, what is not given as 0. Fails as
    `OSError` with the kernel's errno and the C library's words.
    """
    return _checked(_syscall(number, *arguments, *_ZEROS[len(arguments) :]))


def prctl(option: int, *arguments: int) -> int:
    """Call prctl(2), with the arguments that are not given as 0, and return its result. Fails as `OSError`."""
    return _checked(_prctl(option, *arguments, *_ZEROS[len(arguments) + 2 :]))


def _checked(result: int) -> int:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
