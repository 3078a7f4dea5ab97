"""The shortest way from one list of lines to another, with jsdiff's order of choices. Pure.

Source: E. W. Myers, *An O(ND) Difference Algorithm and Its Variations*, 1986; the choice between equally short ways,
and the stop at the edge of the graph, are those of the npm package diff 8, so that the same edit reads the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

MAX_DISTANCE: Final = 400  # inserted and removed lines that are looked for; the work grows with the square
MAX_STEPS: Final = 2_000_000  # lines stepped over, for files that repeat themselves; about two seconds

Tag: TypeAlias = Literal["=", "-", "+"]
Script: TypeAlias = list[tuple[Tag, int]]


@dataclass(frozen=True, slots=True)
class _Run:
    """The end of a way: what its last steps were, and what came before them."""

    tag: Tag
    count: int
    before: _Run | None


def script(old: Sequence[str], new: Sequence[str], left: list[int] | None = None) -> Script:
    """Runs of equal, removed and added lines that lead from ``old`` to ``new``; a shortest one unless that is far.

    Args:
        left: the steps that may be taken, as its only item, less those that were taken; None is `MAX_STEPS`.
    """
    numbers: dict[str, int] = {}
    a = [numbers.setdefault(line, len(numbers)) for line in old]
    b = [numbers.setdefault(line, len(numbers)) for line in new]
    run = _shortest(a, b, [MAX_STEPS] if left is None else left)
    if run is None:
        return _replaced(a, b)
    steps: Script = []
    while run is not None:
        steps.append((run.tag, run.count))
        run = run.before
    steps.reverse()
    return steps


def _shortest(a: list[int], b: list[int], left: list[int]) -> _Run | None:
    """None when the way is too long to look for, or when both are empty."""
    low, high = -len(b) - 1, len(a) + 1  # diagonals worth looking at
    x, run = _slide(a, b, 0, 0, None)
    if x == len(a) == len(b):
        return run
    best: dict[int, tuple[int, _Run | None]] = {0: (x, run)}
    for distance in range(1, MAX_DISTANCE + 1):
        for diagonal in range(max(low, -distance), min(high, distance) + 1, 2):
            remove, add = best.pop(diagonal - 1, None), best.get(diagonal + 1)
            can_add = add is not None and 0 <= add[0] - diagonal - 1 < len(b)
            can_remove = remove is not None and remove[0] < len(a)
            if add is not None and can_add and (not can_remove or (remove is not None and remove[0] < add[0])):
                x, run = add[0], _longer(add[1], "+")
            elif remove is not None and can_remove:
                x, run = remove[0] + 1, _longer(remove[1], "-")
            else:
                best.pop(diagonal, None)
                continue
            start = x
            x, run = _slide(a, b, x, x - diagonal, run)
            if x >= len(a) and x - diagonal >= len(b):
                return run
            best[diagonal] = (x, run)
            left[0] -= x - start + 1
            if x >= len(a):
                high = min(high, diagonal - 1)
            if x - diagonal >= len(b):
                low = max(low, diagonal + 1)
        if left[0] < 0:
            return None
    return None


def _slide(a: list[int], b: list[int], x: int, y: int, run: _Run | None) -> tuple[int, _Run | None]:
    """As far as both are equal from here."""
    start = x
    while x < len(a) and y < len(b) and a[x] == b[y]:
        x += 1
        y += 1
    return x, run if x == start else _Run("=", x - start, run)


def _longer(run: _Run | None, tag: Tag) -> _Run:
    if run is not None and run.tag == tag:
        return _Run(tag, run.count + 1, run.before)
    return _Run(tag, 1, run)


def _replaced(a: list[int], b: list[int]) -> Script:
    """Everything removed and everything added, but for what both begin and end with."""
    most = min(len(a), len(b))
    first = next((i for i in range(most) if a[i] != b[i]), most)
    most -= first
    last = next((i for i in range(most) if a[-1 - i] != b[-1 - i]), most)
    steps: Script = [("=", first), ("-", len(a) - first - last), ("+", len(b) - first - last), ("=", last)]
    return [step for step in steps if step[1]]
