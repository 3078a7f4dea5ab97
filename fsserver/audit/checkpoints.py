"""Signing also while nothing is appended: the last records before a quiet time get their checkpoint too."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress


class CheckpointTimer:
    """A thread that calls a function whenever that is due, from `begin` to `end`.

    It is begun with the first record after the start, so that the server confines itself while it is one thread.
    """

    def __init__(self, sign: Callable[[], float], first_s: float) -> None:
        """``sign`` returns the seconds until it is due again and raises nothing."""
        self._sign = sign
        self._wait_s = first_s
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Does nothing when it was done before, or when no thread can be had now. Not called by two threads at once."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="audit checkpoints", daemon=True)
            with suppress(RuntimeError):  # the next record tries again; this one is in the log
                thread.start()
                self._thread = thread  # not before: one that could not be started cannot be waited for

    def end(self) -> None:
        """Return when the function is not running and will not be called any more."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self._wait_s):
            self._wait_s = self._sign()
