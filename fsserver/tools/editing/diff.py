"""Unified diffs, letter for letter as the reference server prints them, from regions that are known to differ. Pure.

A short text is compared as a whole, as the reference does; of a long one only the lines inside the regions are. A
line's end is part of it, so that a CRLF that becomes an LF shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from fsserver.tools.editing.myers import MAX_STEPS, Script, script
from fsserver.tools.editing.spans import Region

CONTEXT: Final = 4
SHORT_LINES: Final = 2_000
MOST_LINES: Final = 500_000  # of both texts that are compared; each takes 150 bytes, and a text may be all line ends
SLIDING: Final = 64  # lines that a lone change near the end of the edited stretch may move down
NO_NEWLINE: Final = "\\ No newline at end of file"
NOT_SHOWN: Final = f"\\ More than {MOST_LINES} lines would have to be compared, so what changed is not shown\n"


class Change(NamedTuple):
    """Lines ``first`` … of the old text: so many removed, then these added. In the order of the script."""

    first: int
    removed: int
    added: tuple[str, ...]


def unified(path: str, old: str, new: str, regions: Sequence[Region]) -> str:
    """The diff with its header; only the header if nothing differs, and `NOT_SHOWN` below it if that is too long."""
    head = f"Index: {path}\n{'=' * 67}\n--- {path}\toriginal\n+++ {path}\tmodified\n"
    if not regions:
        return head
    if old.count("\n") <= SHORT_LINES:
        if new.count("\n") > MOST_LINES:
            return head + NOT_SHOWN
        lines, fresh = _split(old), _split(new)
        return head + "".join(_hunks(lines, list(_from_script(script(lines, fresh), 0, fresh)), 0))
    start, end = _surroundings(old, regions)
    if old.count("\n", start, end) + new.count("\n", regions[0].c, regions[-1].d) > MOST_LINES:
        return head + NOT_SHOWN
    lines = _split(old[start:end])
    near = [Region(a - start, b - start, c - start, d - start) for a, b, c, d in regions]
    room = len(lines) if end == len(old) else len(lines) - CONTEXT
    changes = _slid(lines, list(_changes(lines, old[start:end], new[start:], near)), room)
    return head + "".join(_hunks(lines, changes, old.count("\n", 0, start)))


def _surroundings(old: str, regions: Sequence[Region]) -> tuple[int, int]:
    """The stretch of a long text that its hunks and their context can touch; it begins and ends at lines."""
    start = regions[0].a
    for _ in range(CONTEXT + 1):
        start = max(0, old.rfind("\n", 0, start))
    start += old[start : start + 1] == "\n" and start > 0
    end = regions[-1].b
    for _ in range(CONTEXT + SLIDING):
        end = old.find("\n", end) + 1 or len(old)
    return start, end


def fenced(diff: str) -> str:
    """The diff in a Markdown fence that nothing in it closes."""
    fence = "`" * max(3, _longest_run(diff) + 1)
    return f"{fence}diff\n{diff}{fence}\n\n"


def _longest_run(text: str) -> int:
    """Of backticks. By halving, since there may be millions of runs."""
    there, absent = 0, 1
    while "`" * absent in text:
        there, absent = absent, 2 * absent
    while absent - there > 1:
        middle = (there + absent) // 2
        there, absent = (middle, absent) if "`" * middle in text else (there, middle)
    return there


def _split(text: str) -> list[str]:
    """Lines with their ends. Only LF ends a line."""
    lines = [line + "\n" for line in text.split("\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]


def _blocks(old: str, new: str, regions: Sequence[Region]) -> Iterator[Region]:
    """The regions widened to whole lines; those that then touch are one."""
    position = 0
    while position < len(regions):
        a, b, c, d = regions[position]
        start = a - (old.rfind("\n", 0, a) + 1)
        a, c = a - start, c - start
        end = -1
        while True:
            position += 1
            if b >= end:  # else it lies in the line that ends there, which may be long and have many regions
                end = b
                if not (_at_line_start(old, b) and _at_line_start(new, d)):
                    end = old.find("\n", b) + 1 or len(old)
            if position == len(regions) or regions[position].a > end:
                yield Region(a, end, c, d + end - b)
                break
            b, d = regions[position].b, regions[position].d


def _at_line_start(text: str, position: int) -> bool:
    return position == 0 or text[position - 1] == "\n"


def _changes(lines: Sequence[str], old: str, new: str, regions: Sequence[Region]) -> Iterator[Change]:
    line = counted = 0
    left = [MAX_STEPS]  # of all blocks together
    for a, b, c, d in _blocks(old, new, regions):
        line += old.count("\n", counted, a)
        counted = a
        fresh = _split(new[c:d])
        steps = script(lines[line : line + _line_count(old, a, b)], fresh, left)
        yield from _from_script(steps, line, fresh)


def _line_count(text: str, start: int, end: int) -> int:
    return text.count("\n", start, end) + (start < end and text[end - 1] != "\n")


def _from_script(steps: Script, line: int, fresh: Sequence[str]) -> Iterator[Change]:
    taken = 0
    for tag, count in steps:
        if tag == "+":
            yield Change(line, 0, tuple(fresh[taken : taken + count]))
            taken += count
            continue
        if tag == "-":
            yield Change(line, count, ())
        else:
            taken += count
        line += count


def _slid(lines: Sequence[str], changes: list[Change], room: int) -> list[Change]:
    """A lone insertion or removal that could as well stand further down does, as in the reference's diffs.

    None goes below line ``room``.
    """
    for index in range(len(changes) - 1, -1, -1):
        first, removed, added = changes[index]
        limit = changes[index + 1].first if index + 1 < len(changes) else room
        alone = index == 0 or changes[index - 1].first + changes[index - 1].removed < first
        if not alone or first + removed == limit:
            continue
        cycle = added or tuple(lines[first : first + removed])
        by = 0
        while first + removed + by < limit and lines[first + removed + by] == cycle[by % len(cycle)]:
            by += 1
        turn = by % len(cycle)
        changes[index] = Change(first + by, removed, (added[turn:] + added[:turn]) if added else ())
    return changes


def _hunks(lines: Sequence[str], changes: Iterable[Change], before: int) -> Iterator[str]:
    """Each hunk with its header. Changes with at most twice the context between them share one.

    ``before`` is how many lines of both texts come before ``lines``.
    """
    group: list[Change] = []
    grown = 0
    for change in changes:
        if group and change.first - (group[-1].first + group[-1].removed) > 2 * CONTEXT:
            yield _hunk(lines, group, before, grown)
            grown += sum(len(each.added) - each.removed for each in group)
            group = []
        group.append(change)
    if group:
        yield _hunk(lines, group, before, grown)


def _hunk(lines: Sequence[str], group: Sequence[Change], before: int, grown: int) -> str:
    start = max(0, group[0].first - CONTEXT)
    last = group[-1]
    end = min(len(lines), last.first + last.removed + CONTEXT)
    body: list[str] = []
    position = start
    for first, removed, added in group:
        body.extend(" " + line for line in lines[position:first])
        body.extend("-" + line for line in lines[first : first + removed])
        body.extend("+" + line for line in added)
        position = first + removed
    body.extend(" " + line for line in lines[position:end])
    old_count = end - start
    new_count = old_count + sum(len(each.added) - each.removed for each in group)
    old_start = before + start + (old_count > 0)
    new_start = before + start + grown + (new_count > 0)
    shown = "".join(line if line.endswith("\n") else f"{line}\n{NO_NEWLINE}\n" for line in body)
    return f"@@ -{old_start},{old_count} +{new_start},{new_count} @@\n{shown}"
