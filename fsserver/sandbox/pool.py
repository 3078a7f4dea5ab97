"""Cells that wait for their one command. Standard library only; part of the launcher, which is one thread.

A cell is built ahead of time, since that takes some milliseconds, and is used once: no command sees what another left.
A new one is built when a command has ended, not while it runs: the two would compete for the processor. Only while
commands follow each other closely is one built beside them.
"""

from __future__ import annotations

import math
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from fsserver.policy.compiled import Command, Layer
from fsserver.sandbox.cell_profile import CellProfile
from fsserver.sandbox.cgroup import Leaf
from fsserver.sandbox.protected import ProtectedName
from fsserver.sandbox.scratch import Scratch
from fsserver.sandbox.skeleton import Skeleton

MOST_READY: Final = 6
IDLE_S: Final = 10.0
"""After so long without use a pool goes back to one cell."""
BURST_S: Final = 0.05
"""Commands that follow each other faster are worth a cell that is built while they run."""
TRIES: Final = 3
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 30.0
WHILE_RUNNING_S: Final = 0.05
"""How long a command may run before a new cell is built beside it."""
AFTER_S: Final = 0.002
"""How long the server has for the result of a command before its cell is ended and a new one is built: both take the
kernel some time, during which a processor runs nobody else.
"""
DROPPED_S: Final = 0.05
"""How long a cell is left alone that nobody may use any more."""

Generation: TypeAlias = tuple[int, ...]
"""Of the index of each root of a profile."""


@dataclass(slots=True, eq=False)
class Job:
    """One request of the server.

    Attributes:
        number: the server's name for it.
        fields: what the cell is told.
        pipes: the command's standard streams; owned by the job until a cell has them.
        answer: the pipe on which the server is told how it ended, which happens once; then it is closed.
        before, generation: the protected names of each root when the request came.
    """

    number: str
    command: str
    fields: Sequence[str]
    pipes: list[int]
    answer: int
    kill_after_s: float | None = None
    before: dict[str, tuple[ProtectedName, ...]] = field(default_factory=dict)
    generation: Generation = ()


@dataclass(slots=True, eq=False)
class Cell:
    """A child of the launcher. ``kill_at``: the `time.monotonic` second when it is ended without being asked again."""

    pool: Pool
    pid: int
    pidfd: int
    control: socket.socket
    generation: Generation
    leaf: Leaf | None
    scratch: Scratch | None
    ready: bool = False
    job: Job | None = None
    answered: bool = False
    kill_at: float | None = None

    @property
    def runs(self) -> bool:
        """It has a command whose end is not known yet."""
        return self.job is not None and not self.answered

    def kill(self) -> None:
        """End it and all that runs in it. In the `landlock` layer it does the latter itself, when it is asked to."""
        full = self.pool.profile.layer is Layer.FULL
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL if full or not self.ready else signal.SIGTERM)


@dataclass(slots=True, eq=False)
class Pool:
    """The cells of one profile.

    Attributes:
        commands: those that run in them, by name.
        skeleton: what is the root of each, once there is one.
    """

    profile: CellProfile
    commands: dict[str, Command] = field(default_factory=dict)
    skeleton: Skeleton | None = None
    ready: deque[Cell] = field(default_factory=deque)
    building: list[Cell] = field(default_factory=list)
    waiting: deque[Job] = field(default_factory=deque)
    target: int = 1
    last_used: float = 0.0
    refill_at: float = 0.0
    _burst: bool = False
    failures: int = 0
    not_before: float = 0.0

    def take(self) -> Cell | None:
        """The cell that is ready longest."""
        if self.ready:
            return self.ready.popleft()
        self.target = min(self.target + 1, MOST_READY)
        return None

    def drop_older(self, generation: Generation) -> None:
        """Forget the cells that were built when other names were protected, and end them: those that are ready a little
        later, since somebody waits now, and the end of one takes a processor a millisecond and more.
        """
        for cell in [*self.ready, *self.building]:
            if cell.generation != generation:
                self.forget(cell)
                if cell.ready:
                    cell.kill_at = time.monotonic() + DROPPED_S
                else:
                    cell.kill()
                self.target = 1  # until it shows again that more are useful

    def forget(self, cell: Cell) -> None:
        if cell in self.ready:
            self.ready.remove(cell)
        if cell in self.building:
            self.building.remove(cell)

    def wanted(self, now: float) -> int:
        """How many cells should be built now."""
        if now < self.not_before or (now < self.refill_at and not self.waiting):
            return 0
        if self.waiting:
            return len(self.waiting) - len(self.building)  # one that is built ahead would take time from these
        return self.target - len(self.ready) - len(self.building)

    def superfluous(self, now: float) -> list[Cell]:
        """Cells that nobody needs any more; they are forgotten here."""
        if self.target == 1 or now - self.last_used < IDLE_S:
            return []
        self.target = 1
        return [self.ready.pop() for _ in range(len(self.ready) - 1)]

    @property
    def hurried(self) -> bool:
        """Commands wait, or come one after the other."""
        return bool(self.waiting) or self._burst

    def next_look(self) -> float:
        """The `time.monotonic` second at which there may be something to do here, other than by an event."""
        idle = self.last_used + IDLE_S if self.target > 1 else math.inf
        build = max(self.not_before, self.refill_at)
        return min(idle, build if len(self.ready) + len(self.building) < self.target else math.inf)

    def begun(self) -> None:
        """A cell of this pool got its command."""
        now = time.monotonic()
        self._burst = now - self.last_used < BURST_S
        self.last_used = now
        self.refill_at = now if self._burst else now + WHILE_RUNNING_S

    def ended(self) -> None:
        """A command of this pool has ended."""
        if not self._burst:
            self.refill_at = time.monotonic() + AFTER_S

    def built(self) -> None:
        self.failures = 0

    def failed(self) -> bool:
        """Whether to try again at once: what is in a root may have changed meanwhile. What goes on failing waits
        longer each time.
        """
        self.failures += 1
        if self.waiting and self.failures <= TRIES:
            return True
        pause = min(FIRST_PAUSE_S * 2 ** min(self.failures - 1, 16), LONGEST_PAUSE_S)
        self.not_before = time.monotonic() + pause
        return False
