"""What comes nearest to a text that was not found, for the message. Bounded work, whatever the file holds. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from typing import Final

from fsserver.tools.editing.indent import WHITESPACE

MAX_LINES: Final = 50_000  # of the file that are looked at
MAX_OLD_LINES: Final = 500
COMMON: Final = 50  # a line that is there more often says nothing about the place
COMPARED: Final = 3_000  # lines compared letter by letter
LINE_CHARACTERS: Final = 120  # of each that are compared and shown
SHOWN_LINES: Final = 12
ALIKE: Final = 0.6


def nearest(text: str, old: str, checkpoint: Callable[[], None]) -> str:
    """A sentence or more: the lines of ``text`` that are most like ``old``, and the first difference.

    ``checkpoint`` is called for each line that is compared letter by letter, which takes up to some milliseconds.
    """
    lines = text.split("\n", MAX_LINES)[:MAX_LINES]
    wanted = old.rstrip("\n").split("\n", MAX_OLD_LINES)[:MAX_OLD_LINES]
    start = _by_equal_lines(lines, wanted)
    if start is None:
        start = _by_likeness(lines, wanted, checkpoint)
    if start is None:
        return "Nothing in the file is like it."
    window = lines[start : start + len(wanted)]
    last = start + len(window)
    shown = "\n".join(f"{start + 1 + index:6d}\t{_short(line)}" for index, line in enumerate(window[:SHOWN_LINES]))
    place = f"line {last}" if len(window) == 1 else f"lines {start + 1}-{last}"
    return f"The nearest text is at {place}:\n{shown}\n{_difference(wanted, window, start)}"


def _by_equal_lines(lines: Sequence[str], wanted: Sequence[str]) -> int | None:
    """The start of the window in which most lines are equal once trimmed, if any is."""
    places: dict[str, list[int]] = {}
    for number, line in enumerate(lines):
        places.setdefault(line.strip(WHITESPACE), []).append(number)
    votes: Counter[int] = Counter()
    for offset, line in enumerate(wanted):
        trimmed = line.strip(WHITESPACE)
        at = places.get(trimmed, ()) if trimmed else ()
        if len(at) <= COMMON:
            votes.update(number - offset for number in at)
    if not votes:
        return None
    most = max(votes.values())
    return max(0, min(start for start, count in votes.items() if count == most))


def _by_likeness(lines: Sequence[str], wanted: Sequence[str], checkpoint: Callable[[], None]) -> int | None:
    """The start of the window whose line is most like the longest line of ``wanted``, if one is much like it."""
    offset = max(range(len(wanted)), key=lambda index: len(wanted[index].strip(WHITESPACE)))
    matcher: SequenceMatcher[str] = SequenceMatcher(autojunk=False)
    matcher.set_seq2(wanted[offset].strip(WHITESPACE)[:LINE_CHARACTERS])
    best, best_ratio = None, ALIKE
    compared = 0
    for number, line in enumerate(lines):
        matcher.set_seq1(line.strip(WHITESPACE)[:LINE_CHARACTERS])
        if matcher.real_quick_ratio() <= best_ratio:
            continue
        compared += 1
        if compared > COMPARED:
            break
        checkpoint()
        if matcher.quick_ratio() > best_ratio:
            ratio = matcher.ratio()
            if ratio > best_ratio:
                best, best_ratio = number, ratio
    return None if best is None else max(0, best - offset)


def _difference(wanted: Sequence[str], window: Sequence[str], start: int) -> str:
    """The first line that differs, with what cannot be seen written as an escape."""
    for index, line in enumerate(wanted):
        there = window[index] if index < len(window) else None
        if there is None:
            return f"The file ends before line {index + 1} of oldText: {_visible(line)}"
        if line.strip(WHITESPACE) != there.strip(WHITESPACE):
            at = next((i for i, pair in enumerate(zip(line, there, strict=False)) if pair[0] != pair[1]), 0)
            skip = max(0, at - LINE_CHARACTERS // 2)
            one, other = _visible(line[skip:]), _visible(there[skip:])
            return f"Line {start + index + 1} differs:\n  oldText: {one}\n  file:    {other}"
    return "Those lines are equal but for their place: oldText begins or ends inside a line there."


def _short(line: str) -> str:
    return line if len(line) <= LINE_CHARACTERS else line[:LINE_CHARACTERS] + "…"


def _visible(line: str) -> str:
    """Printable letters as they are; tabs, odd spaces and control characters as escapes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in _short(line))
