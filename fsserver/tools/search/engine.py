"""Searches in a process of their own: what is run for them, and what it says, record by record, while it runs.

A search takes seconds of processor time. In a cell it takes them from nobody here, is bounded by the kernel, and reads
what it reads under the same confinement as a command: read-only, with what is denied masked.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

from fsserver.errors import Cancelled, SandboxSetupError
from fsserver.paths.target import Target
from fsserver.policy.compiled import Own
from fsserver.sandbox.runner import EndedBy, Ending, Request, Runner, Running
from fsserver.sandbox.streams import Ends, Pump, Sink
from fsserver.tools.control import Control

TICK_S: Final = 0.05
"""How long a cancellation goes unnoticed at most."""

SPARE_S: Final = 0.5
"""Kept of a call's time for what follows the search: checking what was found and saying it."""

RECORDS_PER_TURN: Final = 16
"""So many are taken before briefer calls may go first."""

LEAST_S: Final = 0.05
ENDING_S: Final = 10.0

_WHY: Final = {
    EndedBy.TIME: "it took as long as a call may",
    EndedBy.MEMORY: "it needed more memory than a call may use",
}


class Splitter(Protocol):
    """Takes what a search writes and gives it back in records. A sink of a `Pump`."""

    def add(self, data: memoryview) -> None: ...

    def taken(self) -> list[bytes]:
        """The whole records since the last time."""


class EndedRecords:
    """Records that end with one byte, of which none is longer than a path.

    Raises:
        SandboxSetupError: one is: that is no search of ours.
    """

    MOST: Final = 64 * 1024

    def __init__(self, end: bytes) -> None:
        self._end = end
        self._begun = b""
        self._whole: list[bytes] = []

    def add(self, data: memoryview) -> None:
        *whole, self._begun = (self._begun + data).split(self._end)
        self._whole += whole
        if len(self._begun) > self.MOST:
            raise SandboxSetupError("The search said something else than names.")

    def taken(self) -> list[bytes]:
        whole, self._whole = self._whole, []
        return whole


class SearchEngine:
    """One for each server. Thread-safe.

    Args:
        runner: None where this server was started without one.
        no_ripgrep: why there is none, ending a sentence; None if there is.
        time_s: what a call may take.
        apart: the roots that cells do not see, since there is a directory in them for each principal.
    """

    def __init__(
        self, runner: Runner | None, no_ripgrep: str | None, time_s: float, *, apart: Collection[str] = ()
    ) -> None:
        self._runner = runner
        self._apart = frozenset(apart)
        self._time_s = time_s
        self._no_ripgrep = no_ripgrep

    def not_there(self, target: Target) -> str | None:
        """Why no search can be run in a process of its own there, ending a sentence; None if one can."""
        if target.root.rules.name in self._apart:
            return f"the root {target.root.rules.name} has a directory for each principal, which no other process sees"
        return self.no_cells()

    def no_cells(self) -> str | None:
        """The same of every place."""
        if self._runner is None:
            return "this server was started without what runs searches"
        return self._runner.unavailable

    def no_ripgrep(self) -> str | None:
        """The same of searches that ripgrep makes."""
        return self._no_ripgrep or self.no_cells()

    @contextmanager
    def search(
        self,
        what: Own,
        where: tuple[Target, str],
        arguments: Sequence[str],
        control: Control,
        *,
        records: Splitter,
        complaints: Sink | None = None,
    ) -> Iterator[Search]:
        """A search that runs; when the context is left, it and all that belongs to it is gone.

        Args:
            where: a target, and the directory beneath its root in which to run.
            records: takes standard output.
            complaints: takes standard error; None throws it away.

        Raises:
            SandboxSetupError: it cannot be started.
        """
        assert self._runner is not None, "only for tools that are available"
        target, directory = where
        left = self._time_s if control.deadline is None else control.deadline - time.monotonic()
        timeout_s = min(max(left - SPARE_S, left / 2, LEAST_S), self._time_s)
        request = Request(what, tuple(arguments), target.root.rules.name, directory, timeout_s)
        running = self._runner.start(request)
        try:
            running.close_stdin()
            yield Search(running, control, records, complaints or Ends(0))
        finally:
            running.close()


class Search:
    """One that runs.

    Attributes:
        ending: how it ended; None before `records` is exhausted.
    """

    def __init__(self, running: Running, control: Control, records: Splitter, complaints: Sink) -> None:
        assert running.stdout is not None
        self._running = running
        self._control = control
        self._records = records
        self._pump = Pump({running.stdout: records, running.stderr: complaints})
        self.ending: Ending | None = None

    @property
    def ended_by(self) -> EndedBy | None:
        """The limit that ended it; None if it ended by itself, or has not ended."""
        return None if self.ending is None else self.ending.ended_by

    def stopped(self) -> str | None:
        """Why it ended before its end, ending a sentence; None if it did not, or has not ended."""
        return None if self.ended_by is None else _WHY.get(self.ended_by, f"it was ended: {self.ended_by}")

    def exit_code(self) -> int:
        """Of one that has ended by itself. Raises `SandboxSetupError`: something else ended it."""
        if self.ending is None or self.ending.exit_code is None:
            raise SandboxSetupError("The search broke off.")
        return self.ending.exit_code

    def records(self) -> Iterator[bytes]:
        """Everything that it says, until it has ended.

        Raises:
            Cancelled: nobody waits for the result any more.
            SandboxSetupError: its cell could not be made, or it does not end.
        """
        moved, over = True, False
        while self._pump.open and (moved or not over):
            over = self.ending is not None  # what it wrote is in the pipe by now
            moved = self._pump.run(TICK_S)
            if self._control.cancelled.is_set():
                raise Cancelled("The call was cancelled.")
            for number, record in enumerate(self._records.taken()):
                if number % RECORDS_PER_TURN == 0:
                    self._control.give_way()
                yield record
            if self.ending is None:
                self.ending = self._running.wait(0)
        if self.ending is None:
            self.ending = self._running.wait(ENDING_S)
        if self.ending is None:
            raise SandboxSetupError("The search does not end.")
