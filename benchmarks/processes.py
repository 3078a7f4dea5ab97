"""What the kernel says of a process, from proc(5)."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import Self

SAMPLED_S = 0.002


def children(pid: int) -> list[int]:
    found: list[int] = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
            found += map(int, file.read().split())
    return found


def peak_bytes(pid: int) -> float:
    """The most that was resident at any time (VmHWM), or since `begin_peak`."""
    return _status(pid, "VmHWM:")


def begin_peak(pid: int) -> None:
    """From now on `peak_bytes` says the most that is resident from now on.

    Raises:
        PermissionError: the process is not dumpable; only root may.
    """
    with open(f"/proc/{pid}/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


class Peaks:
    """The most that a server and those below it hold while this is entered.

    Processes that come and go are looked at every `SAMPLED_S`; what one of them takes in its last moment is not seen.

    Attributes:
        server: the most that was resident.
        launcher: the same, of the biggest of its children; 0 without.
        cell: the same, of the biggest process below those; what it maps of files counts.
        cell_anonymous: the most that such a process held that is no file's.
    """

    def __init__(self, server: int) -> None:
        self._server = server
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.server = self.launcher = self.cell = self.cell_anonymous = 0.0

    def __enter__(self) -> Self:
        for pid in (self._server, *children(self._server)):
            with contextlib.suppress(PermissionError):  # then it is the most since it started
                begin_peak(pid)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._end.wait(SAMPLED_S):
            self._look()

    def _look(self) -> None:
        self.server = peak_bytes(self._server)
        for launcher in _children_if_there(self._server):
            self.launcher = max(self.launcher, _if_there(launcher, "VmHWM:"))
            below = _children_if_there(launcher)
            while below:
                for pid in below:
                    self.cell = max(self.cell, _if_there(pid, "VmHWM:"))
                    self.cell_anonymous = max(self.cell_anonymous, _if_there(pid, "RssAnon:"))
                below = [child for pid in below for child in _children_if_there(pid)]


def _children_if_there(pid: int) -> list[int]:
    try:
        return children(pid)
    except (FileNotFoundError, ProcessLookupError):
        return []


def _if_there(pid: int, field: str) -> float:
    try:
        return _status(pid, field)
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


def own_resident_bytes(pid: int) -> float:
    """Resident memory of one process (VmRSS)."""
    return _status(pid, "VmRSS:")


def _status(pid: int, field: str) -> float:
    """A size in bytes; 0 where there is none, as for a process that has ended and is not waited for."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return float(next((int(line.split()[1]) * 1024 for line in file if line.startswith(field)), 0))


def proportional_bytes(pid: int) -> float:
    """Resident memory, each page divided among those who share it (Pss). What is not dumpable shows it to root only."""
    return _rollup(pid, "Pss:")


def resident_bytes(pid: int) -> float:
    """Resident memory of a process and everything below it (Rss)."""
    return _rollup(pid, "Rss:") + sum(resident_bytes(child) for child in children(pid))


def descriptors(pid: int) -> int:
    """How many are open. What is not dumpable shows it to root only."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def _rollup(pid: int, field: str) -> float:
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return float(sum(int(line.split()[1]) * 1024 for line in file if line.startswith(field)))
