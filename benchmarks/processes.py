"""What the kernel says of a process, from proc(5)."""

from __future__ import annotations

import os


def children(pid: int) -> list[int]:
    found: list[int] = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
            found += map(int, file.read().split())
    return found


def peak_bytes(pid: int) -> float:
    """The most that was resident at any time (VmHWM)."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return float(next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:")))


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
