"""The processes of one cell, as its first process sees them: counted, measured, ended. Source: proc(5), kill(2)."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NamedTuple

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")

END_S: Final = 5.0
"""How long `Processes.end_all` goes on: what does not die of SIGKILL by then hangs in the kernel."""


SHARED_FILES: Final = 8 * 1024**2
"""What a process maps of programs and libraries, about: more than that is looked at."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Of all processes but this one, at one moment.

    Attributes:
        memory_bytes: resident and not shared, so that what processes have in common is not counted twice; and of the
            memory that they share, as much as one of them maps, since no file holds it.
        tasks: processes and threads.
    """

    memory_bytes: int = 0
    cpu_s: float = 0.0
    tasks: int = 0


class _Stat(NamedTuple):
    parent: int
    cpu_ticks: int
    tasks: int


class Processes:
    """All other processes of this cell.

    Args:
        alone: this process is PID 1 of a PID namespace: every process that it can see belongs to the cell, and a
            signal to all reaches exactly those. Otherwise they are its descendants.
        scoped: a signal to all reaches nobody outside this cell (Landlock's signal scope); implied by ``alone``.
        visible: /proc is there and shows them.
    """

    def __init__(self, *, alone: bool, scoped: bool, visible: bool) -> None:
        self._alone = alone
        self._scoped = alone or scoped
        self._visible = visible
        # Without a namespace of its own /proc shows all of the host's processes.
        self.interval_s = 0.05 if alone else 0.2

    def usage(self) -> Usage:
        """Zero where /proc is not there."""
        memory = shared = ticks = tasks = 0
        for pid, stat in self._members():
            private, others = _resident(pid)
            memory += private
            if others > shared + SHARED_FILES:
                shared = max(shared, _shared_memory(pid))
            ticks += stat.cpu_ticks
            tasks += stat.tasks
        return Usage(memory + shared, ticks / _TICKS, tasks)

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to each."""
        if self._scoped:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(-1, number)
            return
        for pid, _ in self._members():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)

    def end_all(self) -> None:
        """SIGKILL to each until nobody is left.

        Whoever lost a parent is this process's child: it is PID 1, or a subreaper. So when it has no child, there is
        nobody.
        """
        deadline = time.monotonic() + END_S
        while time.monotonic() < deadline:
            self.signal_all(signal.SIGKILL)
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                return
            time.sleep(0.0003)

    def _members(self) -> Iterator[tuple[int, _Stat]]:
        if not self._visible:
            return
        own = os.getpid()
        stats = {pid: stat for pid in _numbers() if pid != own and (stat := _stat(pid)) is not None}
        if self._alone:
            yield from stats.items()
            return
        ours = {own}
        found = True
        while found:
            found = False
            for pid, stat in stats.items():
                if stat.parent in ours and pid not in ours:
                    ours.add(pid)
                    found = True
        yield from ((pid, stats[pid]) for pid in ours - {own})


def _numbers() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []


def _stat(pid: int) -> _Stat | None:
    try:
        text = _read(f"/proc/{pid}/stat")
    except OSError:
        return None
    # The program's name in brackets may hold anything, brackets too.
    fields = text[text.rfind(b")") + 2 :].split()
    if fields[0] == b"Z":
        return None
    return _Stat(parent=int(fields[1]), cpu_ticks=int(fields[11]) + int(fields[12]), tasks=int(fields[17]))


def _resident(pid: int) -> tuple[int, int]:
    """Bytes that are the process's own, and bytes of files and of shared memory."""
    try:
        fields = _read(f"/proc/{pid}/statm").split()
    except OSError:
        return 0, 0
    if len(fields) < 3:
        return 0, 0
    return max(0, int(fields[1]) - int(fields[2])) * _PAGE, int(fields[2]) * _PAGE


def _shared_memory(pid: int) -> int:
    """Bytes that the process maps of shared memory: anonymous, memory files, files of a tmpfs."""
    try:
        words = _read(f"/proc/{pid}/status").split()
    except OSError:
        return 0
    return int(words[words.index(b"RssShmem:") + 1]) * 1024 if b"RssShmem:" in words else 0


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 4096)
    finally:
        os.close(descriptor)
