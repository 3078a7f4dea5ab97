"""New lines for a place that is indented differently than whoever wrote them thought. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

# What JavaScript's trim takes off, so that the same lines count as equal as in the reference server.
WHITESPACE: Final = (
    "\t\n\v\f\r \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f"
    "\u3000\ufeff"
)


def indent_of(line: str) -> str:
    return line[: len(line) - len(line.lstrip(WHITESPACE))]


def reindent(new: Sequence[str], old: Sequence[str], found: Sequence[str]) -> list[str]:
    """The lines ``new``, indented for the place where ``old`` was found as ``found``.

    ``old`` and ``found`` are equal line by line but for their indentation; that says which indentation in ``old``
    stands for which in the file. A new line gets what the old line with its indentation has there: the one with its
    own number if there is a choice, else the nearest before it. An indentation that ``old`` does not use is measured
    from the longest one that it begins with, or from the shortest there is. Blank lines stay as they are.
    """
    places: dict[str, list[int]] = {}
    actual: list[str] = []
    for number, (line, there) in enumerate(zip(old, found, strict=True)):
        actual.append(indent_of(there))
        if line.strip(WHITESPACE):
            places.setdefault(indent_of(line), []).append(number)
    derived: dict[str, str] = {}
    result = []
    for number, line in enumerate(new):
        if not line.strip(WHITESPACE):
            result.append(line)
            continue
        indent = indent_of(line)
        numbers = places.get(indent)
        if number == 0 and len(indent) < len(indent_of(old[0])):
            there = actual[0]  # whoever leaves the indentation of the first line away means the one that is there
        elif numbers is not None:
            there = actual[numbers[max(0, bisect_right(numbers, number) - 1)]]
        else:
            if indent not in derived:
                derived[indent] = _derive(indent, places, actual)
            there = derived[indent]
        result.append(there + line[len(indent) :])
    return result


def _derive(indent: str, places: dict[str, list[int]], actual: Sequence[str]) -> str:
    """What an indentation that no old line has becomes."""
    known = sorted(places, key=len)
    for base in reversed(known):
        if len(base) < len(indent) and indent.startswith(base):
            return actual[places[base][0]] + indent[len(base) :]
    shortest = known[0]
    there = actual[places[shortest][0]]
    return there[: max(0, len(there) - max(0, len(shortest) - len(indent)))]
