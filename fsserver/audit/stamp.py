"""When a record of one run was written."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - naive on purpose: `now` writes the zone, and an exact sum is UTC


class Stamp:
    """Of one run: all its chains measure ``up_us`` from the same moment. Used by one thread at a time."""

    def __init__(self, clock_ns: Callable[[], int]) -> None:
        """``clock_ns``: nanoseconds since 1970, UTC. It may step back."""
        self.now_ns = clock_ns
        self._started_ns = time.monotonic_ns()
        self._second = (
            -1,
            "",
        )  # the last one that was written, and its text: most records share it with the one before

    def now(self) -> tuple[str, int, int]:
        """The second, as RFC 3339 has it, the microseconds after it, and ``up_us``."""
        second, us = divmod(self.now_ns() // 1000, 10**6)
        if second != self._second[0]:
            self._second = (second, (_EPOCH + timedelta(seconds=second)).isoformat())
        return self._second[1], us, (time.monotonic_ns() - self._started_ns) // 1000
