"""Brace expansion of glob patterns, ``a{b,c{1..3}}d``, as bash and minimatch have it; bounded. Pure."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final

from fsserver.errors import BadArguments

MAX_PATTERNS: Final = 256
MAX_CHARACTERS: Final = 8_192  # of all patterns that one expands to
MAX_DEPTH: Final = 20

_NUMBERS: Final = re.compile(r"(-?\d{1,9})\.\.(-?\d{1,9})(?:\.\.(-?\d{1,9}))?\Z")
_LETTERS: Final = re.compile(r"([A-Za-z])\.\.([A-Za-z])(?:\.\.(-?\d{1,9}))?\Z")


def expand(pattern: str) -> list[str]:
    """Every pattern that the braces stand for; the pattern itself if they stand for nothing.

    A backslash keeps the next character from meaning anything and stays, for the glob.

    Raises:
        BadArguments: there would be too many, or braces in braces too deep.
    """
    # Bash leaves a leading {} alone, but only at the very beginning.
    lead = "{}" if pattern.startswith("{}") else ""
    patterns = [lead + rest for rest in _expand(pattern[len(lead) :], MAX_DEPTH)]
    return list(dict.fromkeys(patterns))


def _expand(text: str, depth: int) -> list[str]:
    if depth == 0:
        raise BadArguments(f"braces in a pattern may be nested {MAX_DEPTH} deep")
    position = 0
    results = [""]
    while True:
        found = _next_group(text, position)
        if found is None:
            return _combine(results, [text[position:]])
        start, end, alternatives = found
        if start > position:
            results = _combine(results, [text[position:start]])
        results = _combine(results, [each for part in alternatives for each in _bounded(_expand(part, depth - 1))])
        position = end


def _combine(lefts: list[str], rights: list[str]) -> list[str]:
    if len(lefts) * len(rights) > MAX_PATTERNS:
        raise BadArguments(f"the braces of a pattern stand for more than {MAX_PATTERNS} patterns")
    return _bounded([left + right for left in lefts for right in rights])


def _bounded(patterns: list[str]) -> list[str]:
    if sum(map(len, patterns)) > MAX_CHARACTERS:
        raise BadArguments(f"a pattern with its braces expanded may have {MAX_CHARACTERS} characters")
    return patterns


def _next_group(text: str, position: int) -> tuple[int, int, list[str]] | None:
    """The next braces that stand for something: where they begin and end, and the alternatives, still unexpanded."""
    while True:
        start = _find(text, "{", position)
        if start < 0:
            return None
        commas, end = _scan(text, start)
        if end < 0:
            position = start + 1
            continue
        body = text[start + 1 : end]
        if commas:
            cuts = [start, *commas, end]
            parts = [text[a + 1 : b] for a, b in pairwise(cuts)]
            return start, end + 1, parts
        sequence = _sequence(body)
        if sequence is not None and text[max(0, start - 1) : start] != "$":
            return start, end + 1, sequence
        position = start + 1  # literal braces; there may be a group inside


def _find(text: str, wanted: str, position: int) -> int:
    """The next ``wanted`` that no backslash takes away."""
    while position < len(text):
        if text[position] == "\\":
            position += 2
        elif text[position] == wanted:
            return position
        else:
            position += 1
    return -1


def _scan(text: str, start: int) -> tuple[list[int], int]:
    """The commas of the group that opens at ``start``, not those of groups inside it, and where it closes, or -1."""
    commas: list[int] = []
    depth = 0
    position = start
    while position < len(text):
        character = text[position]
        if character == "\\":
            position += 1
        elif character == "{":
            depth += 1
        elif character == "}":
            depth -= 1
            if depth == 0:
                return commas, position
        elif character == "," and depth == 1:
            commas.append(position)
        position += 1
    return [], -1


def _sequence(body: str) -> list[str] | None:
    """The members of ``1..5``, ``05..10..2`` or ``a..e``."""
    numbers = _NUMBERS.match(body)
    if numbers is not None:
        low, high = int(numbers[1]), int(numbers[2])
        padded = any(re.match(r"-?0\d", numbers[index]) for index in (1, 2))
        width = max(len(numbers[1]), len(numbers[2])) if padded else 0
        values = _steps(low, high, numbers[3])
        return [f"{value:0{width}d}" for value in values]
    letters = _LETTERS.match(body)
    if letters is not None:
        values = _steps(ord(letters[1]), ord(letters[2]), letters[3])
        return ["" if chr(value) == "\\" else chr(value) for value in values]
    return None


def _steps(low: int, high: int, step: str | None) -> list[int]:
    size = max(1, abs(int(step))) if step else 1
    if abs(high - low) // size >= MAX_PATTERNS:
        raise BadArguments(f"the braces of a pattern stand for more than {MAX_PATTERNS} patterns")
    return list(range(low, high + 1, size)) if low <= high else list(range(low, high - 1, -size))
