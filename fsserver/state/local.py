"""What one process keeps for itself, in memory: all there is without replicas."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from fsserver.errors import SharedStateError
from fsserver.policy.service import Rate
from fsserver.state.shared import Health, Held

SLICES: Final = 256
"""Into how many parts a window is cut. What was used in one part becomes free again at the same time, so at most that
much later than it might."""

MAX_SPENT: Final = 65_536
"""Keys that are remembered until they expire. While there are so many, none is taken."""

SWEEP: Final = 1024
"""From so many windows on those are looked for in which nothing is."""


class Window:
    """What was used in the last ``rate.per_s`` seconds, in at most `SLICES` + 1 numbers however much that was."""

    __slots__ = ("_per_s", "_slice_s", "_slices", "_total")

    def __init__(self, rate: Rate) -> None:
        self._per_s = rate.per_s
        self._slice_s = rate.per_s / SLICES
        self._slices: deque[list[float]] = deque()  # the second at which a slice ends, and what was used in it
        self._total: float = 0

    def used(self, now: float) -> float:
        while self._slices and self._slices[0][0] + self._per_s <= now:
            self._total -= self._slices.popleft()[1]
        return self._total

    def add(self, amount: int, now: float) -> None:
        self.used(now)  # forgets what is over
        if not self._slices or self._slices[-1][0] <= now:
            self._slices.append([now + self._slice_s, 0])
        self._slices[-1][1] += amount
        self._total += amount

    def wait(self, amount: int, now: float) -> float:
        """Seconds until less than ``amount`` is in use; 0 if it is now."""
        left = self.used(now)
        for ends, used in self._slices:
            if left < amount:
                return 0.0
            left -= used
            if left < amount:
                return ends + self._per_s - now
        return 0.0


class LocalState:
    """A `fsserver.state.shared.SharedState` that is shared with nobody. Nothing in it fails for long.

    Args:
        clock: seconds, never stepping back.
    """

    shared: Final = False

    def __init__(self, replica: str = "", *, clock: Callable[[], float] = time.monotonic) -> None:
        self.replica: Final = replica
        self._clock = clock
        self._mutex = threading.Lock()  # over the rest
        self._spent: dict[str, float] = {}
        self._windows: dict[tuple[str, Rate], Window] = {}
        self._sweep_at = SWEEP

    def spend(self, key: str, ttl_s: float) -> bool:
        now = self._clock()
        with self._mutex:
            if self._spent.get(key, now) > now:
                return False
            if len(self._spent) >= MAX_SPENT:
                self._spent = {spent: until for spent, until in self._spent.items() if until > now}
            if len(self._spent) >= MAX_SPENT:
                raise SharedStateError("Too many answers were used just now.")
            self._spent[key] = now + ttl_s
            return True

    def take(self, key: str, rate: Rate) -> float:
        now = self._clock()
        with self._mutex:
            window = self._window(key, rate, now)
            wait = window.wait(rate.amount, now)
            if not wait:
                window.add(1, now)
            return wait

    def used_up(self, key: str, rate: Rate) -> float:
        now = self._clock()
        with self._mutex:
            return self._window(key, rate, now).wait(rate.amount, now)

    def use(self, key: str, rate: Rate, amount: int) -> None:
        now = self._clock()
        with self._mutex:
            self._window(key, rate, now).add(amount, now)

    def announce(self, processes: Iterable[Held], ttl_s: float) -> None:
        """Nothing: there is nobody to tell."""

    def find(self, process: Held) -> None:  # noqa: ARG002 - it runs here or nowhere
        return None

    def forget(self, processes: Iterable[Held]) -> None:
        """Nothing: there is nobody to tell."""

    def status(self) -> Health:
        return Health(ok=True, text="limits are counted in this process")

    def close(self) -> None:
        """Nothing is open."""

    def _window(self, key: str, rate: Rate, now: float) -> Window:
        window = self._windows.get((key, rate))
        if window is None:
            if len(self._windows) >= self._sweep_at:
                self._windows = {each: window for each, window in self._windows.items() if window.used(now)}
                self._sweep_at = max(SWEEP, 2 * len(self._windows))
            window = self._windows[key, rate] = Window(rate)
        return window
