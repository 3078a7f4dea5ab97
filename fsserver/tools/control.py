"""How a running call hears that it must stop, and how it says how far it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self, TypeAlias

from fsserver.errors import Cancelled, TimeLimit

BRIEF_S: Final = 0.001
"""A call that takes longer is long."""

PAUSE_S: Final = 0.002
"""How long a long call stops for brief ones: some that follow each other are over by then."""

STEP_S: Final = 0.001
"""How long it then goes on before it stops again."""

Progress: TypeAlias = Callable[[float, float | None, str | None], None]


class Precedence:
    """Lets brief calls go before long ones, since Python runs one thread at a time.

    A call is brief until it has taken `BRIEF_S`. A long one that comes to a checkpoint while a brief one is under way
    stops for `PAUSE_S`; otherwise that one would wait for the interpreter after each of its system calls. To be stopped
    and to go on costs the brief one nearly as much, so there are few such moments: it is not woken when the brief call
    is over, and goes on for `STEP_S` then, whatever comes. So it has a third of the time at least, and what hangs in
    the kernel holds nobody up for longer than it counts as brief.
    """

    def __init__(self) -> None:
        self._mutex = threading.Lock()  # over the two below
        self._brief = 0
        self._last_began = 0.0

    def began(self, now: float) -> None:
        """A call began, at this second of `time.monotonic`."""
        with self._mutex:
            self._brief += 1
            self._last_began = max(self._last_began, now)

    def over(self) -> None:
        """A brief call is over, or has become long."""
        with self._mutex:
            self._brief -= 1

    def goes_first(self, now: float) -> bool:
        """Whether a brief call is under way, for which a long one has to stop."""
        return self._brief > 0 and now - self._last_began < BRIEF_S


class Turn:
    """One call's place among those that run at the same time. A context manager, entered by the call's own thread.

    Attributes:
        began: the second of `time.monotonic` at which it was made.
    """

    __slots__ = ("_brief", "_precedence", "_steps_until", "began")

    def __init__(self, precedence: Precedence) -> None:
        self._precedence = precedence
        self._brief = True
        self._steps_until = 0.0
        self.began = time.monotonic()

    def give_way(self, now: float) -> None:
        if self._brief:
            if now - self.began < BRIEF_S:
                return
            self._brief = False
            self._precedence.over()
        if now >= self._steps_until and self._precedence.goes_first(now):
            time.sleep(PAUSE_S)
            self._steps_until = time.monotonic() + STEP_S

    def __enter__(self) -> Self:
        self._precedence.began(self.began)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._brief:
            self._precedence.over()


@dataclass(slots=True)
class Control:
    """The strings attached to one call. Made by the server, read by the tool's thread.

    Attributes:
        cancelled: set by the server when the client cancels or the session ends.
        deadline: the `time.monotonic` second at which the call has to be over; None is no limit.
        progress: takes (done so far, whole or None, message or None); None when the client did not ask for it.
        turn: the call's place among the others; None where nothing else runs.
        request_id: the transport's name for the request, for the log and its neighbours.
        trace: a valid ``traceparent`` of W3C Trace Context that the client sent.
    """

    cancelled: threading.Event = field(default_factory=threading.Event)
    deadline: float | None = None
    progress: Progress | None = None
    turn: Turn | None = None
    request_id: str | None = None
    trace: str | None = None

    def checkpoint(self) -> None:
        """Every loop over files, lines or chunks calls this, often: a long call gives way to brief ones here.

        Raises:
            Cancelled: nobody waits for the result any more.
            TimeLimit: the deadline has passed.
        """
        if self.cancelled.is_set():
            raise Cancelled("The call was cancelled.")
        now = time.monotonic()
        if self.deadline is not None and now > self.deadline:
            raise TimeLimit(
                "The call took longer than the policy's limits.time.",
                allowed_instead="a smaller part: fewer paths, a narrower pattern, a lower maxDepth",
            )
        if self.turn is not None:
            self.turn.give_way(now)

    def give_way(self) -> None:
        """Lets brief calls go first, in a loop that ends soon and is not to fail."""
        if self.turn is not None:
            self.turn.give_way(time.monotonic())

    def report(self, done: float, whole: float | None = None, message: str | None = None) -> None:
        """Sends progress if somebody listens, after a checkpoint."""
        self.checkpoint()
        if self.progress is not None:
            self.progress(done, whole, message)
