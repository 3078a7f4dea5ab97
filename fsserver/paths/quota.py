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
from typing import TypeAlias

from fsserver.errors import QuotaExceeded
from fsserver.paths.descent import Descent
from fsserver.paths.entry import Checkpoint, Directory, go_on
from fsserver.paths.target import Target

REMEMBERED_S = 60.0

Stated: TypeAlias = tuple[str, os.stat_result]


def check_quota(target: Target, new_bytes: int) -> None:
    """Refuse to make, or replace, the target's object with ``new_bytes`` of contents if that exceeds the quota.

    Raises:
        QuotaExceeded
    """
    rules = target.root.rules
    if rules.quota is None:
        return
    more = new_bytes - (0 if target.stat is None else held(target.stat))
    if more <= 0:
        return
    usage = target.root.usage
    with usage.lock:
        now = time.monotonic()
        if usage.measured_at is None or now - usage.measured_at > REMEMBERED_S:
            usage.bytes = _measure(Directory(target.ruling, target.resolver, "", target.root.fd))
            usage.measured_at = now
        used = usage.bytes
    if used + more > rules.quota:
        raise QuotaExceeded(
            f"The root {rules.name} may hold {rules.quota} bytes; it holds {used}, and {more} more do not fit.",
            rule=str(rules.origin),
            allowed_instead="delete files, or write less",
        )


def held(status: os.stat_result) -> int:
    """What one file takes, in bytes."""
    return min(status.st_size, status.st_blocks * 512)


def _measure(root: Directory) -> int:
    return sum(held(status) for _, status in files_below(root))


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
