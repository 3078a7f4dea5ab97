"""A timer that is a descriptor: it becomes readable once its time is over. Source: timerfd_create(2)."""

from __future__ import annotations

import ctypes
import os
import time
from contextlib import suppress
from functools import lru_cache
from typing import Final

TFD_NONBLOCK: Final = os.O_NONBLOCK
TFD_CLOEXEC: Final = os.O_CLOEXEC

_NS: Final = 10**9


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


_libc = ctypes.CDLL(None, use_errno=True)
_settime = _libc.timerfd_settime
_settime.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)


@lru_cache(maxsize=16)
def _once_after(seconds: float) -> object:
    """A pointer to what the kernel reads; the same few times are asked for again and again."""
    whole, part = divmod(max(1, int(seconds * _NS)), _NS)
    return ctypes.byref(_Itimerspec(_Timespec(0, 0), _Timespec(whole, part)))


class Timer:
    """Counts down once for each `start`. `start` wakes nobody, and takes less than a microsecond of the kernel.

    Raises ``OSError``: this process has too many descriptors.
    """

    def __init__(self) -> None:
        self.descriptor: Final[int] = _libc.timerfd_create(time.CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)
        if self.descriptor < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        self._open = True

    def start(self, seconds: float) -> None:
        """Be readable after ``seconds``, more than none, instead of when it was said before. Nothing once closed."""
        if not self._open:
            return
        _settime(self.descriptor, 0, _once_after(seconds), None)

    def clear(self) -> None:
        """Be unreadable until it is over again."""
        with suppress(BlockingIOError):
            os.read(self.descriptor, 8)

    def close(self) -> None:
        self._open = False
        os.close(self.descriptor)
