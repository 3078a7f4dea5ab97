"""How many bytes a root holds, as last measured and with our own changes since. The measuring is `quota`'s."""

from __future__ import annotations

import threading


class Usage:
    """Shared by every view of one root; hold `lock` while reading or changing it.

    Attributes:
        bytes: meaningless until measured.
        taken: what writes that are under way will add at most.
        measured_at: `time.monotonic` of the last measure; None before the first.
    """

    __slots__ = ("bytes", "lock", "measured_at", "taken")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.bytes = 0
        self.taken = 0
        self.measured_at: float | None = None

    def forget(self) -> None:
        """What is held is not known any more; the next write measures."""
        with self.lock:
            self.measured_at = None

    def add(self, change: int) -> None:
        """Count what a call of ours added, or took away where ``change`` is negative."""
        with self.lock:
            self.bytes = max(0, self.bytes + change)
