"""Rules on names: where each is written, and one matcher for all of a root. Standard library only.

*Trust.* The rules are the operator's. The names are hostile.

*Invariant.* `Matcher.find` returns None only if no rule covers the name: neither the name nor a directory above it
matches the rule's glob, or one of the rule's exceptions covers it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from fsserver.policy.globs import regex_source

# Code points that a case-folding volume ignores in a name: Default_Ignorable_Code_Point in the Unicode Character
# Database (DerivedCoreProperties.txt). Linux removes them for ext4 and f2fs (fs/unicode, "nfdicf").
_IGNORABLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a rule is written: a file's base name, ``preset:NAME`` or ``command line``, and a line from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class PathRule:
    """One entry of ``deny`` or ``read_only``.

    Attributes:
        glob: as written, for messages.
        exceptions: globs; names that one of these covers are not matched by the rule.
        matched_as: the globs that names are really matched with, where these differ from ``glob``: a rule of one
            root as another root that overlaps with it sees it. Empty: ``glob`` itself.
    """

    glob: str
    origin: Origin
    exceptions: tuple[str, ...] = ()
    matched_as: tuple[str, ...] = ()

    @property
    def globs(self) -> tuple[str, ...]:
        return self.matched_as or (self.glob,)


class _Patterns:
    """Several globs as two searches: those that begin at the root, and those that may begin anywhere."""

    def __init__(self, globs: Iterable[str], *, folds: bool) -> None:
        sources = [regex_source(comparable(glob, folds=folds)) for glob in globs]
        flags = re.DOTALL | (re.IGNORECASE if folds else 0)
        floating = "|".join(source for floats, source in sources if floats)
        anchored = "|".join(source for floats, source in sources if not floats)
        self._floating = re.compile(f"/(?:{floating})", flags) if floating else None
        self._anchored = re.compile(f"/(?:{anchored})", flags) if anchored else None

    def cover(self, subject: str) -> bool:
        """Whether one of the globs matches ``subject``, a comparable name after a slash, or a directory above it."""
        if self._floating is not None and self._floating.search(subject) is not None:
            return True
        return self._anchored is not None and self._anchored.match(subject) is not None


class _Group:
    """Rules behind one search: most names match none of them, and only a name that does is asked about each."""

    def __init__(self, rules: Sequence[PathRule], *, folds: bool) -> None:
        self._rules = rules
        self._folds = folds
        self._any = _Patterns([glob for rule in rules for glob in rule.globs], folds=folds)

    @cached_property
    def _each(self) -> tuple[tuple[PathRule, _Patterns, _Patterns], ...]:
        return tuple(
            (rule, _Patterns(rule.globs, folds=self._folds), _Patterns(rule.exceptions, folds=self._folds))
            for rule in self._rules
        )

    def find(self, subject: str) -> PathRule | None:
        if not self._any.cover(subject):
            return None
        for rule, patterns, exceptions in self._each:
            if patterns.cover(subject) and not exceptions.cover(subject):
                return rule
        return None


class _Compiled:
    """All rules for one way of comparing names. Those with exceptions are few and kept apart."""

    def __init__(self, rules: Sequence[PathRule], *, folds: bool) -> None:
        self._plain = _Group([rule for rule in rules if not rule.exceptions], folds=folds)
        excepted = [rule for rule in rules if rule.exceptions]
        self._excepted = _Group(excepted, folds=folds) if excepted else None

    def find(self, subject: str) -> PathRule | None:
        return self._plain.find(subject) or (self._excepted.find(subject) if self._excepted else None)


class Matcher:
    """All ``deny`` rules, or all ``read_only`` rules, of one root. Safe to use from several threads."""

    def __init__(self, rules: Sequence[PathRule]) -> None:
        self._rules = tuple(rules)
        self._exact = _Compiled(self._rules, folds=False)

    @cached_property
    def _folded(self) -> _Compiled:
        return _Compiled(self._rules, folds=True)

    def find(self, name: str, *, folds: bool = False) -> PathRule | None:
        """A rule that covers ``name`` (beneath the root, without a leading slash) or a directory above it.

        Args:
            folds: the volume takes names that differ in case, or in characters without a glyph, for the same.
        """
        if not self._rules or not name:
            return None
        if folds:
            return self._folded.find("/" + comparable(name, folds=True))
        return self._exact.find("/" + (name if name.isascii() else comparable(name, folds=False)))


def comparable(text: str, *, folds: bool) -> str:
    """``text`` in the form in which names are compared: NFC, and folded where the volume folds."""
    text = unicodedata.normalize("NFC", text)
    return unicodedata.normalize("NFC", _IGNORABLE.sub("", text).casefold()) if folds else text
