"""Edits of a text by what it says: exact, or equal but for indentation. Pure; nothing is written here.

The edits apply one after the other, each to the result of those before it. Either all apply or none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from fsserver.errors import AmbiguousMatch, BadArguments, FileTooLarge, LimitExceeded, NoMatch
from fsserver.tools.editing.endings import Normal, with_lf
from fsserver.tools.editing.indent import WHITESPACE, reindent
from fsserver.tools.editing.nearest import nearest
from fsserver.tools.editing.spans import Region, Splice, apply, compose

MAX_REPLACEMENTS: Final = 100_000
MAX_INDENTED: Final = 8 * 1024**2  # characters of a text whose lines are compared without their indentation
SHOWN_LINES: Final = 20
SHOWN_CHARACTERS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Edit:
    """One replacement. ``expected`` is how often it has to match; None is once, or any number with ``replace_all``."""

    old: str
    new: str
    replace_all: bool = False
    expected: int | None = None


@dataclass(frozen=True, slots=True)
class Edited:
    """The new text, and which stretches of the old one it replaces."""

    text: str
    regions: tuple[Region, ...]
    replacements: int


@dataclass(frozen=True, slots=True)
class _Hit:
    """A match in the text with LF endings, and the lines there if they are indented otherwise than ``oldText``."""

    start: int
    end: int
    window: Sequence[str] | None = None


def apply_edits(
    text: str, edits: Sequence[Edit], *, max_characters: int, checkpoint: Callable[[], None] = lambda: None
) -> Edited:
    """All edits applied.

    Args:
        max_characters: the largest result.
        checkpoint: called for each edit and each match; raises to stop.

    Raises:
        BadArguments: an ``oldText`` is empty.
        NoMatch: one is nowhere; says what comes nearest.
        AmbiguousMatch: one is there more often, or less often, than the edit says; names the lines.
        LimitExceeded: the result would be too large.
    """
    regions: list[Region] = []
    replacements = 0
    for number, edit in enumerate(edits):
        checkpoint()
        if not edit.old:
            raise BadArguments(f"oldText is empty in edit {number + 1}: nothing says where newText belongs.")
        normal = Normal.of(text)
        hits = _hits(normal.text, edit, _label(number, edits), changed=bool(regions), checkpoint=checkpoint)
        fresh = _fresh(hits, edit, len(text), max_characters, checkpoint)
        splices = [
            _splice(normal, hit, new, edit.new) for hit, new in zip(_paced(hits, checkpoint), fresh, strict=True)
        ]
        regions = compose(regions, splices)
        text = apply(text, splices)
        replacements += len(hits)
    return Edited(text, tuple(regions), replacements)


def _fresh(
    hits: Sequence[_Hit], edit: Edit, size: int, max_characters: int, checkpoint: Callable[[], None]
) -> list[str]:
    """What goes to each of the matches in a text of ``size`` characters, with LF endings.

    Raises:
        FileTooLarge: also before all of it is made. No more than the text is replaced, so by then it is certain.
    """
    new = with_lf(edit.new)
    fresh: list[str] = []
    after = size
    for hit in _paced(hits, checkpoint):
        fresh.append(new if hit.window is None else _reindented(edit, hit.window))
        after += len(fresh[-1]) - (hit.end - hit.start)
        if after > max_characters + size:
            break
    if after > max_characters:
        raise FileTooLarge(f"The edited text would have more than the {max_characters} characters that are possible.")
    return fresh


def _paced(hits: Sequence[_Hit], checkpoint: Callable[[], None]) -> Iterator[_Hit]:
    for hit in hits:
        checkpoint()
        yield hit


def _splice(normal: Normal, hit: _Hit, fresh: str, new: str) -> Splice:
    if "\n" not in normal.text:
        # One line without an end: there is no style to follow, the new text brings its own.
        return Splice(hit.start, hit.end, new if fresh == with_lf(new) else fresh)
    return normal.splice(hit.start, hit.end, fresh)


def _hits(text: str, edit: Edit, label: str, *, changed: bool, checkpoint: Callable[[], None]) -> list[_Hit]:
    """Where the edit applies, in order, without overlap."""
    old, new = with_lf(edit.old), with_lf(edit.new)
    many = edit.replace_all or edit.expected is not None
    hits: list[_Hit] = [_Hit(start, start + len(old)) for start in _find(text, old, many)]
    if not hits:
        hits = _indented(text, old, new, many)
    after = " (lines as they are after the edits before it)" if changed else ""
    if not hits:
        shown = edit.old if len(edit.old) <= SHOWN_CHARACTERS else edit.old[:SHOWN_CHARACTERS] + "…"
        near = nearest(text, old, checkpoint)
        if len(text) > MAX_INDENTED:
            near = f"In a text of this size other indentation is not looked for. {near}"
        raise NoMatch(f"Could not find exact match for edit:\n{shown}\n\n{label} has no match{after}. {near}")
    wanted = edit.expected if edit.expected is not None else 1
    if len(hits) != wanted and (edit.expected is not None or not edit.replace_all):
        lines = _lines(text, hits)
        times = f"{len(hits)} times" if many else "more than once"
        raise AmbiguousMatch(
            f"oldText of {label} matches {times}, at lines {lines}{after}; expected {wanted}.",
            allowed_instead=f"more of the text around it, replaceAll: true, or expectedReplacements: {len(hits)}"
            if many
            else "more of the text around it, replaceAll: true, or expectedReplacements",
        )
    return hits


def _find(text: str, old: str, many: bool) -> list[int]:
    """Starts of ``old``. With ``many`` all of them, without overlap; else the first few, to tell one from more."""
    starts: list[int] = []
    start = text.find(old)
    while start >= 0:
        starts.append(start)
        if many and len(starts) > MAX_REPLACEMENTS:
            raise LimitExceeded(f"oldText matches more than {MAX_REPLACEMENTS} times.")
        if not many and len(starts) > SHOWN_LINES:
            break
        start = text.find(old, start + (len(old) if many else 1))
    return starts


def _indented(text: str, old: str, new: str, many: bool) -> list[_Hit]:
    """Windows of whole lines that equal ``old`` once both are trimmed; the new lines get the window's indentation.

    A line end that closes ``old`` is the end of its last line, not one more line.
    """
    old_lines = _lines_of(old, old)
    trimmed = "\n".join(line.strip(WHITESPACE) for line in old_lines)
    if not trimmed.strip("\n") or len(text) > MAX_INDENTED:
        return []  # any blank line would match; or so many lines would not fit in memory
    lines = text.split("\n")
    # Both fenced by line ends, so that a hit begins and ends at a line; str.find is linear, whatever they hold.
    haystack = "\n" + "\n".join(line.strip(WHITESPACE) for line in lines) + "\n"
    needle = f"\n{trimmed}\n"
    starts = _find(haystack, needle, False) if not many else _find_fenced(haystack, needle)
    offsets = [0, *accumulate(len(line) + 1 for line in lines)]
    keeps_end = old.endswith("\n") and new.endswith("\n")
    hits = []
    line = counted = 0
    for start in starts:
        line += haystack.count("\n", counted, start)
        counted = start
        end = offsets[line + len(old_lines)] - (0 if old.endswith("\n") and not keeps_end else 1)
        hits.append(_Hit(offsets[line], min(end, len(text)), lines[line : line + len(old_lines)]))
    return hits


def _reindented(edit: Edit, window: Sequence[str]) -> str:
    """The new text for a window that `_indented` found."""
    old, new = with_lf(edit.old), with_lf(edit.new)
    return "\n".join(reindent(_lines_of(new, old), _lines_of(old, old), window)) if new else ""


def _lines_of(text: str, old: str) -> list[str]:
    """Without the line end that closes it, if one closes ``old`` too."""
    return (text[:-1] if text.endswith("\n") and old.endswith("\n") else text).split("\n")


def _find_fenced(haystack: str, needle: str) -> list[int]:
    """Like `_find` for many; neighbours share the line end between them."""
    starts: list[int] = []
    start = haystack.find(needle)
    while start >= 0:
        starts.append(start)
        if len(starts) > MAX_REPLACEMENTS:
            raise LimitExceeded(f"oldText matches more than {MAX_REPLACEMENTS} times.")
        start = haystack.find(needle, start + len(needle) - 1)
    return starts


def _lines(text: str, hits: Sequence[_Hit]) -> str:
    """Line numbers of the first hits, for a message."""
    numbers: list[str] = []
    line, counted = 1, 0
    for hit in hits[:SHOWN_LINES]:
        line += text.count("\n", counted, hit.start)
        counted = hit.start
        numbers.append(str(line))
    return ", ".join(numbers) + (", …" if len(hits) > SHOWN_LINES else "")


def _label(number: int, edits: Sequence[Edit]) -> str:
    return f"edit {number + 1} of {len(edits)}" if len(edits) > 1 else "the edit"
