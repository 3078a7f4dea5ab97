"""What brings audit records to a place that is no file, and what it brings."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

PATIENCE_S: Final = 2.0
"""How long a call waits for a place that it needs."""

FINISH_S: Final = 1.0
"""How long the end of the log waits for the other end's."""


class NotTaken(OSError):  # noqa: N818 - an answer
    """The place answered that it will never take these records."""


class Sent:
    """A record on its way."""

    __slots__ = ("_wait", "at", "line", "seq", "taken")

    def __init__(self, seq: int, line: bytes, wait: Callable[[Sent], None]) -> None:
        self.seq = seq
        self.line = line
        self._wait = wait
        self.at = time.monotonic()
        self.taken: bool | None = None  # None: not known yet

    def wait(self) -> None:
        """Return when it is taken. Raises AuditError when it is not, in time."""
        self._wait(self)


class Carrier(Protocol):
    """What brings records to a place. Used by one thread; every wait in it has an end, but for a resolver's."""

    def connect(self) -> int | None:
        """Make the place ready: the number of the first record that may get there twice. Raises OSError."""

    def send(self, batch: Sequence[Sent]) -> None:
        """Return when the place has taken all. Raises NotTaken if it never will, OSError if that is not known."""

    def watch(self, wake: int, timeout_s: float) -> None:
        """Return when the descriptor can be read, or after the time. Raises OSError when the place went away."""

    def finish(self) -> None:
        """Nothing more comes. Raises OSError."""

    def close(self) -> None: ...
