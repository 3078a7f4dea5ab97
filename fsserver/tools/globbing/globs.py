"""Glob patterns of clients, as the reference server's minimatch (``dot: true``) reads them, in bounded time. Pure.

A pattern is hostile, and so is a file's name: a regular expression that backtracks would hold the interpreter's lock
for minutes. So every repetition is followed by a commitment (atomic groups): a ``*`` takes the first place where what
follows it in the segment fits, a ``**`` the first directory where the segments after it fit. Taking the first is
enough, since what follows is fixed in length. The work for one path is at most (length of the path) x (length of the
pattern), and both are bounded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeAlias

from fsserver.errors import BadArguments
from fsserver.tools.globbing.braces import expand
from fsserver.tools.globbing.character_class import character_class

MAX_PATTERN: Final = 2_048

Matcher: TypeAlias = Callable[[str], bool]
"""Whether the pattern matches a path relative to the searched directory, ``a/b``."""

_EXTENDED: Final = re.compile(r"(?<!\\)[?*+@!]\(")


def compile_glob(pattern: str) -> Matcher:
    """The matcher of one pattern.

    Raises:
        BadArguments: too long, braces that stand for too much, or ``+(…)`` and its kin, which we do not offer.
    """
    if len(pattern) > MAX_PATTERN:
        raise BadArguments(f"a pattern may have {MAX_PATTERN} characters, this one has {len(pattern)}")
    if not pattern or pattern.startswith("#"):
        return _never  # an empty pattern matches the empty path only; "#" begins a comment
    bare = pattern.lstrip("!")
    negated = (len(pattern) - len(bare)) % 2 == 1
    if not bare:
        return _always if negated else _never
    for part in re.split("/+", bare):
        extended = _EXTENDED.search(part)
        if extended is not None and ")" in part[extended.end() :]:
            raise BadArguments(
                f"the pattern uses {extended[0]}…), which is not available",
                allowed_instead="alternatives in braces, {a,b}, or a second pattern",
            )
    expressions = [_path(re.split("/+", each)) for each in expand(bare)]
    match = re.compile("|".join(f"(?:{expression})" for expression in expressions), re.DOTALL).match
    if negated:
        return lambda path: match(path) is None
    return lambda path: match(path) is not None


def compile_any(patterns: Sequence[str]) -> Matcher | None:
    """A matcher of what any of the patterns matches; None if there are none."""
    matchers = [compile_glob(pattern) for pattern in patterns]
    if not matchers:
        return None
    if len(matchers) == 1:
        return matchers[0]
    return lambda path: any(match(path) for match in matchers)


def _never(path: str) -> bool:  # noqa: ARG001 - a matcher
    return False


def _always(path: str) -> bool:  # noqa: ARG001 - a matcher
    return True


def _path(segments: Sequence[str]) -> str:
    """The expression of a whole path. Sections are the segments between two ``**``."""
    sections: list[list[str]] = [[]]
    for segment in _without_parents(segments):
        if segment == "**":
            if sections[-1] or len(sections) == 1:
                sections.append([])
        else:
            sections[-1].append(_segment(segment))
    if len(sections) == 1:
        return "/".join(sections[0]) + r"\Z"
    head, *middle, tail = sections
    expression = "".join(f"{segment}/" for segment in head)
    for section in middle:
        expression += "(?>(?:[^/]++/)*?" + "".join(f"{segment}/" for segment in section) + ")"
    if not tail:
        return expression + r".+\Z"  # "a/**" is everything in a, not a itself
    return expression + "(?:[^/]++/)*?" + "/".join(tail) + r"\Z"


def _without_parents(segments: Sequence[str]) -> list[str]:
    """``a/../b`` is ``b``; other ``..`` stay, and match nothing since no path here holds one."""
    kept: list[str] = []
    for segment in segments:
        if segment == ".." and kept and kept[-1] not in ("", "..", ".", "**"):
            kept.pop()
        else:
            kept.append(segment)
    return kept or [""]


class _Token(NamedTuple):
    """One character of a segment's pattern as an expression; None is a star."""

    expression: str | None


def _segment(pattern: str) -> str:
    """The expression of one segment. Committed as a whole, so that a later failure does not try its stars again."""
    tokens = _tokens(pattern)
    if all(token.expression is None for token in tokens) and tokens:
        return "[^/]++"
    pieces: list[str] = [""]
    for token in tokens:
        if token.expression is not None:
            pieces[-1] += token.expression
        elif pieces[-1] or len(pieces) == 1:
            pieces.append("")
    if len(pieces) == 1:
        return pieces[0]
    first, *middle, last = pieces
    expression = first + "".join(f"(?>[^/]*?{piece})" for piece in middle)
    # A segment must not be empty where its pattern can be: "*" with nothing else was handled above.
    return f"(?>{expression}[^/]*{last}(?=/|\\Z))" if last else f"{expression}[^/]*+"


def _tokens(pattern: str) -> list[_Token]:
    tokens: list[_Token] = []
    position = 0
    while position < len(pattern):
        character = pattern[position]
        position += 1
        if character == "*":
            tokens.append(_Token(None))
        elif character == "?":
            tokens.append(_Token("[^/]"))
        elif character == "[":
            expression, position = character_class(pattern, position - 1)
            tokens.append(_Token(expression))
        elif character == "\\" and position < len(pattern):
            tokens.append(_Token(re.escape(pattern[position])))
            position += 1
        else:
            tokens.append(_Token(re.escape(character)))
    return tokens
