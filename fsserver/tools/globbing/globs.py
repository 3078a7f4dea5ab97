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


class Glob(NamedTuple):
    """A pattern as a regular expression for `re.Pattern.match` with ``re.DOTALL``.

    Attributes:
        holding: texts that the last name of every path that matches holds. None is no less true.
    """

    expression: str
    holding: tuple[str, ...] = ()

    def matcher(self) -> Matcher:
        match = re.compile(self.expression, re.DOTALL).match
        return lambda path: match(path) is not None


_NEVER: Final = Glob("(?!)")
_ALWAYS: Final = Glob("")


def parse_glob(pattern: str) -> Glob:
    """One pattern.

    Raises:
        BadArguments: too long, braces that stand for too much, or ``+(…)`` and its kin, which we do not offer.
    """
    if len(pattern) > MAX_PATTERN:
        raise BadArguments(f"a pattern may have {MAX_PATTERN} characters, this one has {len(pattern)}")
    if not pattern or pattern.startswith("#"):
        return _NEVER  # an empty pattern matches the empty path only; "#" begins a comment
    bare = pattern.lstrip("!")
    negated = (len(pattern) - len(bare)) % 2 == 1
    if not bare:
        return _ALWAYS if negated else _NEVER
    for part in re.split("/+", bare):
        extended = _EXTENDED.search(part)
        if extended is not None and ")" in part[extended.end() :]:
            raise BadArguments(
                f"the pattern uses {extended[0]}…), which is not available",
                allowed_instead="alternatives in braces, {a,b}, or a second pattern",
            )
    alternatives = [_without_parents(re.split("/+", each)) for each in expand(bare)]
    expression = "|".join(f"(?:{_path(each)})" for each in alternatives)
    if negated:
        return Glob(f"(?!{expression})")
    return Glob(expression, _literals(alternatives[0][-1]) if len(alternatives) == 1 else ())


def parse_any(patterns: Sequence[str]) -> Glob | None:
    """What any of the patterns matches; None if there are none. Raises `BadArguments`."""
    if not patterns:
        return None
    return Glob("|".join(f"(?:{parse_glob(pattern).expression})" for pattern in patterns))


def compile_glob(pattern: str) -> Matcher:
    """The matcher of one pattern. Raises `BadArguments`, as `parse_glob`."""
    return parse_glob(pattern).matcher()


def compile_any(patterns: Sequence[str]) -> Matcher | None:
    """A matcher of what any of the patterns matches; None if there are none. Raises `BadArguments`."""
    glob = parse_any(patterns)
    return None if glob is None else glob.matcher()


def _path(segments: Sequence[str]) -> str:
    """The expression of a whole path. Sections are the segments between two ``**``."""
    sections: list[list[str]] = [[]]
    for segment in segments:
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
    """One character of a segment's pattern as an expression; None is a star. ``text`` is what alone matches it."""

    expression: str | None
    text: str | None = None


def _literals(segment: str) -> tuple[str, ...]:
    """Texts that every name which the segment matches holds."""
    if segment == "**":
        return ()
    runs = [""]
    for token in _tokens(segment):
        if token.text is None:
            runs.append("")
        else:
            runs[-1] += token.text
    return tuple(run for run in runs if run)


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
            tokens.append(_Token(re.escape(pattern[position]), pattern[position]))
            position += 1
        else:
            tokens.append(_Token(re.escape(character), character))
    return tokens
