"""The C library's ``syscall`` and ``prctl`` with errno turned into `OSError`. Nothing here knows what a call means."""

from __future__ import annotations

import ctypes
import os

# One handle for the process: dlopen(NULL) opens no file, so it works under every confinement.
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def syscall(number: int, *arguments: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    """Make one system call (syscall(2)) and return its result.

    Integers are passed as C ``long``, buffers by address, None as a null pointer. Fails as `OSError` with the
    kernel's errno and the C library's words.
    """
    converted = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    return _checked(_libc.syscall(ctypes.c_long(number), *converted))


def prctl(option: int, *arguments: int) -> int:
    """Call prctl(2), with the arguments that are not given as 0, and return its result. Fails as `OSError`."""
    padded = [ctypes.c_ulong(value) for value in (*arguments, 0, 0, 0, 0)[:4]]
    return _checked(_libc.prctl(ctypes.c_int(option), *padded))


def _checked(result: int) -> int:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
