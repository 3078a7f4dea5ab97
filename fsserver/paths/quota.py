"""The most bytes that a root may hold after a write.

A walk measures the root; the result is remembered for a minute and our own changes since are added. What others write
is seen at the next measure, so this bounds what clients add and is not a disk quota. Counted is what regular files
hold: the smaller of their size and the blocks allotted to them, so that a sparse file counts for what it takes. A file
counts once for each of its names. Directories that cannot be listed count as nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self, TypeAlias

from fsserver.errors import QuotaExceeded
from fsserver.paths.descent import Descent
from fsserver.paths.entry import Checkpoint, Directory, go_on
from fsserver.paths.target import Target
from fsserver.paths.usage import Usage
from fsserver.policy.compiled import Action
from fsserver.policy.decision import granted_actions

REMEMBERED_S = 60.0

Stated: TypeAlias = tuple[str, os.stat_result]


def check_quota(target: Target, new_bytes: int, *, checkpoint: Checkpoint = go_on) -> None:
    """Refuse to make, or replace, the target's object with ``new_bytes`` of contents if that exceeds the quota.

    Takes nothing: see `Room` for the write itself.

    Raises:
        QuotaExceeded
    """
    with Room(target) as room:
        room.grow(new_bytes, checkpoint=checkpoint)


class Room:
    """What one write takes of its root's quota, before it is made: so that calls at the same time do not all count on
    the same free bytes. A context manager: what is not settled at its end is given back.

    Args:
        target: what will be made, or replaced.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._held = 0 if target.stat is None else held(target.stat)
        self._taken = 0

    def grow(self, new_bytes: int, *, checkpoint: Checkpoint = go_on) -> None:
        """Take what the object needs beyond what it held and what was taken already, to have ``new_bytes`` then.

        Raises:
            QuotaExceeded: the root has no room for that; nothing more was taken.
        """
        rules, usage = self._target.root.rules, self._target.root.usage
        more = new_bytes - self._held - self._taken
        if rules.quota is None or more <= 0:
            return
        with usage.lock:
            now = time.monotonic()
            if usage.measured_at is None or now - usage.measured_at > REMEMBERED_S:
                usage.bytes = self._measure(checkpoint)
                usage.measured_at = now
            used = usage.bytes + usage.taken
            if used + more <= rules.quota:
                usage.taken += more
                self._taken += more
                return
        raise QuotaExceeded(
            f"The root {rules.name} may hold {rules.quota} bytes; it holds {used}, and {more} more do not fit.",
            rule=str(rules.origin),
            allowed_instead="delete files, or write less" if Action.DELETE in granted_actions(rules) else "write less",
        )

    def settle(self, change: int) -> None:
        """The write is made, and the root holds ``change`` bytes more than before, or less where it is negative."""
        usage = self._target.root.usage
        usage.add(change)
        self._give_back(usage)

    def _measure(self, checkpoint: Checkpoint) -> int:
        target = self._target
        root = Directory(target.ruling, target.resolver, "", target.root.fd)
        return sum(held(status) for _, status in files_below(root, checkpoint))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._give_back(self._target.root.usage)

    def _give_back(self, usage: Usage) -> None:
        with usage.lock:
            usage.taken -= self._taken
        self._taken = 0


def held(status: os.stat_result) -> int:
    """What one file takes, in bytes."""
    return min(status.st_size, status.st_blocks * 512)


def files_below(directory: Directory, checkpoint: Checkpoint = go_on) -> Iterator[Stated]:
    """Every regular file below, protected ones too: its name beneath the root, and its stat. What cannot be listed or
    is gone by now is left out.
    """
    with Descent(directory, checkpoint) as descent:
        try:
            descent.begin()
        except OSError:
            return
        while descent.frames:
            frame = descent.frames[-1]
            for entry in frame.entries:
                try:
                    if entry.kind == "file":
                        status = os.stat(entry.name, dir_fd=frame.directory.descriptor, follow_symlinks=False)
                        yield entry.path, status
                    elif entry.kind == "directory" and descent.enter(entry):
                        break
                except OSError:
                    continue
            else:
                descent.leave()
