"""Which ended runs of a directory sink are kept, and the removal of the others.

Only whole runs go, the oldest first: never one whose writer holds its lock, never the run that asks, and never a file
that does not begin and end as a log of this program does: that is somebody else's, or evidence.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from fsserver.audit.runs import Run, last_record, open_run_file, runs

_NAMED_AT_ONCE: Final = 1000  # files, or as many more as one run has


class Keep(NamedTuple):
    """What is kept of ended runs: those written to in the last so many seconds, and so many bytes. None: all."""

    seconds: float | None
    size: int | None


class Excess(NamedTuple):
    """What is to be removed, as much as one record can name, and the reason: ``time`` or ``size``."""

    why: str
    runs: Sequence[Run]


def find_excess(directory: int, current: str, keep: Keep, now_ns: int) -> Iterator[Excess]:
    """What is more than `keep`, by reason. `current`: the first file of the run that asks. Raises OSError.

    Of most runs only name, size and time are looked at, so that a start is quick where there are thousands.
    """
    others = [run for run in runs(directory) if run.files[0] != current]
    if keep.seconds is not None:
        limit = now_ns - int(keep.seconds * 10**9)
        past = _ended(directory, [run for run in others if run.changed_ns < limit])
        old = [run for run in past if _is_ours(directory, run)]
        going = frozenset(old)
        others = [run for run in others if run not in going]
        yield from _in_parts("time", old)
    if keep.size is not None and sum(run.size for run in others) > keep.size:
        ended = _ended(directory, others)
        left = sum(run.size for run in ended)
        large = []
        for run in ended:
            if left > keep.size and _is_ours(directory, run):
                large.append(run)
                left -= run.size
        yield from _in_parts("size", large)


def _in_parts(why: str, found: Sequence[Run]) -> Iterator[Excess]:
    part: list[Run] = []
    for run in found:
        part.append(run)
        if sum(len(each.files) for each in part) >= _NAMED_AT_ONCE:
            yield Excess(why, part)
            part = []
    if part:
        yield Excess(why, part)


def remove(directory: int, run: Run) -> None:
    """Remove the run's files, the last one first: what a kill leaves is a beginning, which the next time removes.

    The lock is held meanwhile, so that two servers do not both remove it. Raises OSError.
    """
    descriptor = open_run_file(directory, run.files[0])
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for name in reversed(run.files):
            os.unlink(name, dir_fd=directory)
    finally:
        os.close(descriptor)


def _ended(directory: int, found: Sequence[Run]) -> list[Run]:
    """Those that nobody writes, and that are as they were found: one that went on since has files that are not known.

    A run that nobody writes does not go on any more, so what is listed after that was seen is all of it.
    """
    over = [run for run in found if _is_over(directory, run)]
    now = frozenset(runs(directory)) if over else frozenset()
    return [run for run in over if run in now]


def _is_over(directory: int, run: Run) -> bool:
    """Whether nobody writes this run. Takes a shared lock for an instant, as `verify` does."""
    with suppress(OSError):
        descriptor = open_run_file(directory, run.files[0])
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        finally:
            os.close(descriptor)
        return True
    return False


def _is_ours(directory: int, run: Run) -> bool:
    with suppress(OSError):
        return last_record(directory, run) is not None
    return False
