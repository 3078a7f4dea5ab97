"""Following commands until they end: their pipes are served, and whoever waits can stop them at any moment."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from fsserver.errors import SandboxSetupError
from fsserver.sandbox.runner import EndedBy, Ending, Running
from fsserver.sandbox.streams import Pump, Sink, Tail
from fsserver.tools.control import Control
from fsserver.tools.text.hostile import neutralised

TICK_S: Final = 0.05
"""How long a cancellation goes unnoticed at most, and how often a command that is silent is looked at."""

BACKSTOP_S: Final = 1.0
"""The sandbox ends a command at its time limit. One that outlives it by so much is stopped from here."""

ENDING_S: Final = 10.0
"""A stopped command is gone within a second. One that is not after so long is reported as a failure, and abandoned."""

LIVE_BYTES: Final = 400
LIVE_LINES: Final = 3
REPORT_S: Final = 0.25


class Live:
    """The newest output of all streams together, for progress messages."""

    def __init__(self) -> None:
        self._tail = Tail(LIVE_BYTES)

    def watch(self, sink: Sink) -> Sink:
        """A sink that shows everything here and hands it on."""
        return _Watched(sink, self._tail)

    def message(self) -> str | None:
        """The last lines, neutralised; None if there is nothing yet."""
        lines = neutralised(self._tail.read(0, self._tail.total)).split("\n")
        return "\n".join([line for line in lines if line.strip()][-LIVE_LINES:]) or None


class _Watched:
    def __init__(self, sink: Sink, tail: Tail) -> None:
        self._sink = sink
        self._tail = tail

    def add(self, data: memoryview) -> None:
        self._sink.add(data)
        self._tail.add(data[-LIVE_BYTES:])


def follow(runs: Sequence[Running], pump: Pump, control: Control, timeout_s: float, live: Live) -> list[Ending]:
    """Serve the pipes until every command has ended; how each did.

    A cancellation stops all of them. ``control.deadline`` does not: a command's own limit is never later than that of
    its call, and begins later.

    Raises:
        SandboxSetupError, ProgramNotFound: as `Running.wait`; or a stopped command does not end.
    """
    began = now = time.monotonic()
    endings: list[Ending | None] = [None] * len(runs)
    stopped_at: float | None = None
    next_look = next_report = began + TICK_S
    while None in endings or pump.open:
        over = None not in endings
        moved = pump.run(0 if over else TICK_S) if pump.open else False
        if over and not moved:
            break  # what still holds a pipe open is no part of the command
        now = time.monotonic()
        if not moved or now >= next_look:
            _look(runs, endings, 0 if pump.open else TICK_S)
            next_look = now + TICK_S
        if stopped_at is None:
            why = _why_to_stop(control, now - began, timeout_s)
            if why is not None:
                stopped_at = now
                for running in runs:
                    running.stop(why)
        elif now - stopped_at > ENDING_S:
            raise SandboxSetupError("The command was stopped and did not end.")
        if control.turn is not None:
            control.turn.give_way(now)
        if control.progress is not None and now >= next_report and not control.cancelled.is_set():
            control.progress(round(now - began, 2), timeout_s, live.message())
            next_report = now + REPORT_S
    return [ending for ending in endings if ending is not None]


def _look(runs: Sequence[Running], endings: list[Ending | None], timeout_s: float) -> None:
    """Take note of who has ended; wait for the first that has not."""
    for number, running in enumerate(runs):
        if endings[number] is None:
            endings[number] = running.wait(timeout_s)
            timeout_s = 0


def _why_to_stop(control: Control, took_s: float, timeout_s: float) -> EndedBy | None:
    if control.cancelled.is_set():
        return EndedBy.CANCELLED
    return EndedBy.TIME if took_s > timeout_s + BACKSTOP_S else None
