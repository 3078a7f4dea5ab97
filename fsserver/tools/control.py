"""How a running call hears that it must stop, and how it says how far it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from fsserver.errors import Cancelled, TimeLimit

Progress: TypeAlias = Callable[[float, float | None, str | None], None]


@dataclass(slots=True)
class Control:
    """The strings attached to one call. Made by the server, read by the tool's thread.

    Attributes:
        cancelled: set by the server when the client cancels or the session ends.
        deadline: the `time.monotonic` second at which the call has to be over; None is no limit.
        progress: takes (done so far, whole or None, message or None); None when the client did not ask for it.
    """

    cancelled: threading.Event = field(default_factory=threading.Event)
    deadline: float | None = None
    progress: Progress | None = None

    def checkpoint(self) -> None:
        """Every loop over files, lines or chunks calls this.

        Raises:
            Cancelled: nobody waits for the result any more.
            TimeLimit: the deadline has passed.
        """
        if self.cancelled.is_set():
            raise Cancelled("The call was cancelled.")
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise TimeLimit(
                "The call took longer than the policy's limits.time.",
                allowed_instead="a smaller part: fewer paths, a narrower pattern, a lower maxDepth",
            )

    def report(self, done: float, whole: float | None = None, message: str | None = None) -> None:
        """Sends progress if somebody listens, after a checkpoint."""
        self.checkpoint()
        if self.progress is not None:
            self.progress(done, whole, message)
