"""Character classes of glob patterns, ``[a-c]``, ``[!x]``, ``[[:digit:]]``, as expressions of one character. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from fsserver.errors import BadArguments

NOTHING: Final = "(?!)"

_NAMED: Final = {
    "[:alnum:]": r"[^\W_]",
    "[:alpha:]": r"[^\W\d_]",
    "[:ascii:]": r"[\x00-\x7f]",
    "[:blank:]": r"[ \t]",
    "[:cntrl:]": r"[\x00-\x1f\x7f-\x9f]",
    "[:digit:]": r"\d",
    "[:space:]": r"\s",
    "[:word:]": r"\w",
    "[:xdigit:]": "[A-Fa-f0-9]",
}
_UNAVAILABLE: Final = ("[:graph:]", "[:lower:]", "[:print:]", "[:punct:]", "[:upper:]")


def character_class(pattern: str, start: int) -> tuple[str, int]:
    """The expression of the class that begins at ``start``, and where the pattern goes on.

    A bracket that never closes is a bracket. A class with nothing valid in it matches nothing.

    Raises:
        BadArguments: a named class that we do not offer.
    """
    position = start + 1
    negated = pattern[position : position + 1] in ("!", "^")
    position += negated
    first = position
    members: list[str] = []
    low: str | None = None  # a range has begun
    while position < len(pattern):
        if pattern[position] == "]" and position > first:
            return _expression(members, negated), position + 1
        name = _name_at(pattern, position)
        if name is not None:
            if low is not None:
                return NOTHING, len(pattern)  # a range cannot end in a class; minimatch gives up on the rest, too
            members.append(_NAMED[name])
            position += len(name)
            continue
        position += pattern[position] == "\\" and position + 1 < len(pattern)
        character = pattern[position]
        position += 1
        if low is not None:
            members += _range(low, character)
            low = None
        elif pattern.startswith("-", position) and not pattern.startswith("-]", position):
            low = character
            position += 1
        else:
            members += _range(character, character)
    return re.escape("["), start + 1


def _name_at(pattern: str, position: int) -> str | None:
    for name in _UNAVAILABLE:
        if pattern.startswith(name, position):
            raise BadArguments(f"the character class {name} is not available", allowed_instead="a range, such as a-z")
    return next((name for name in _NAMED if pattern.startswith(name, position)), None)


def _range(low: str, high: str) -> list[str]:
    """None where the range runs backwards; the other members still count."""
    return [f"[{re.escape(low)}-{re.escape(high)}]"] if low <= high else []


def _expression(members: Sequence[str], negated: bool) -> str:
    if not members:
        return NOTHING
    either = "|".join(members)
    return f"(?!/|{either})." if negated else f"(?!/)(?:{either})"
