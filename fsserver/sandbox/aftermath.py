"""What is found when a command has ended: names that it should not have made, and what the kernel knows of its limits.

For the launcher's one thread.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from fsserver.errors import SandboxSetupError
from fsserver.sandbox.cell_profile import CellRoot
from fsserver.sandbox.cgroup import Leaf
from fsserver.sandbox.protected import Kind, ProtectedIndex, ProtectedName, Protection
from fsserver.sandbox.quarantine import Quarantine
from fsserver.sandbox.runner import EndedBy

MOST_NAMED: Final = 20
MOST_BYTES: Final = 16 * 1024
"""Of each list of names in one answer: three of them fit `messages.MAX_ANSWER`."""

LONG_S: Final = 0.02
"""The memory of a command that was over sooner, and well, is not asked for."""


class Aftermath:
    """Looks after commands.

    Args:
        quarantine: None where no command may write to a root.
    """

    def __init__(self, indexes: Mapping[str, ProtectedIndex], quarantine: Quarantine | None, run_id: str) -> None:
        self._indexes = indexes
        self._quarantine = quarantine
        self._run_id = run_id

    def put_away(
        self,
        roots: Sequence[CellRoot],
        before: Mapping[str, tuple[ProtectedName, ...]],
        generation: Sequence[int],
        command: str,
        most_bytes: int = MOST_BYTES,
    ) -> tuple[list[str], list[str]]:
        """Move protected names that the command made out of its roots; what was moved, and what is still there.

        Args:
            before, generation: of each root when the command began.
            most_bytes: of each of the two lists.
        """
        moved: list[str] = []
        left: list[str] = []
        for root, then in zip(roots, generation, strict=True):
            if not root.writable or self._quarantine is None:
                continue
            index = self._indexes[root.name]
            try:
                index.refresh()
                if index.generation == then:
                    continue
                taken = self._quarantine.take(index, before[root.name], run_id=self._run_id, command=command)
            except SandboxSetupError:
                left.append(root.name)  # it cannot be looked through, and no command runs there until it can be
                continue
            moved += taken.moved
            left += taken.failed
        return _fitting(moved, most_bytes), _fitting(left, most_bytes)


def masked(before: Mapping[str, tuple[ProtectedName, ...]], most_bytes: int = MOST_BYTES) -> list[str]:
    """Names that the command could not see: of a command that failed, they may be why."""
    denied = (
        f"{root}/{each.name}"
        for root, names in before.items()
        for each in names
        if each.protection is Protection.DENY and each.kind is not Kind.LINK
    )
    return _fitting((name for name, _ in zip(denied, range(MOST_NAMED), strict=False)), most_bytes)


def measured(leaf: Leaf, status: int, ended_by: str, duration_s: float, peak: str) -> tuple[str, str]:
    """What ended the command and the most memory that it held, as the kernel counted it for the whole group."""
    if status == 0 and duration_s < LONG_S:
        return ended_by, peak
    if not ended_by and status != 0:
        if leaf.oom_killed():
            ended_by = EndedBy.MEMORY
        elif leaf.processes_hit():
            ended_by = EndedBy.PROCESSES
    return ended_by, str(leaf.peak_bytes() or peak)


def killed(leaf: Leaf | None, *, late: bool) -> list[str]:
    """What a cell would have said of its command if it had not been killed itself: by the launcher or the kernel."""
    out_of_memory = leaf is not None and leaf.oom_killed()
    reason = EndedBy.MEMORY if out_of_memory else EndedBy.TIME if late else ""
    return ["ended", str(-signal.SIGKILL), reason, "0", "0", "0"]


def _fitting(names: Iterable[str], room: int) -> list[str]:
    """As many as fit ``room`` bytes."""
    kept: list[str] = []
    for name in names:
        room -= len(name.encode("utf-8", "surrogateescape")) + 1
        if room < 0:
            break
        kept.append(name)
    return kept
