"""Audit records on standard error, one a line: what collects a container's output has them too.

Nobody waits for it, and nothing is written that would have to wait. A line that is longer than a pipe takes at once may
have lines of others in the middle.
"""

from __future__ import annotations

import errno
import os
import select
import time
from collections.abc import Sequence
from typing import Final

from fsserver.audit.carrier import PATIENCE_S, Sent

STDERR: Final = 2

PIPE_BUF: Final = 4096
"""pipe(7): poll says writable when this many bytes fit, so a write of no more never waits."""


class Stderr:
    """Carries records to descriptor 2. Used by one thread."""

    def __init__(self) -> None:
        self._torn = False
        self._poll = select.poll()
        self._poll.register(STDERR, select.POLLOUT)

    def connect(self) -> int | None:
        """It is there, or `send` fails."""
        return None

    def send(self, batch: Sequence[Sent]) -> None:
        """Write them. Raises OSError; then the last line that was begun has no end, and the next begins a new one."""
        deadline = time.monotonic() + PATIENCE_S
        for each in batch:
            data = b"\n" + each.line if self._torn else each.line
            self._torn = True
            while data:
                left_s = deadline - time.monotonic()
                if left_s <= 0 or not self._poll.poll(left_s * 1000):
                    raise TimeoutError(errno.ETIMEDOUT, "nobody reads it")
                data = data[os.write(STDERR, data[:PIPE_BUF]) :]
            self._torn = False

    def watch(self, wake: int, timeout_s: float) -> None:
        poll = select.poll()
        poll.register(wake, select.POLLIN)
        poll.poll(timeout_s * 1000)

    def finish(self) -> None:
        """Every line was written whole."""

    def close(self) -> None:
        """It stays open for others."""
