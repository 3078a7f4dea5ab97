"""Hides secrets: in every record before it is sealed, and in results where the policy says ``redact_output``.

What is hidden reads ``[redacted:NAME]``. Every pattern sees the text as it was; what overlaps is hidden as one, so no
pattern can uncover a part of what another one hides. A record keeps its form: what the chain and `verify` rest on
(hashes, names of files of the log, signatures) is never touched.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from fsserver.audit.record import OURS, Record
from fsserver.audit.secret_forms import FORMS, SECRET_FLAG, Form, has_capitals, prefilter

MARKER: Final = "[redacted:"
"""How what stands for a secret begins."""

CUT_NAME: Final = "cut-text"
ARGUMENT_NAME: Final = "secret-argument"

_LITERALS: Final = prefilter(tuple(literal for form in FORMS for literal in form.literals))
_in_text: Final = re.compile(_LITERALS).search

# Records that the log makes of itself: numbers, hashes and the names of its own files, by which a chain is followed.
_OF_THE_LOG: Final = ("log.", "run.end")
_SHA256: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


class _Span(NamedTuple):
    start: int
    end: int
    name: str


class Redactor:
    """Finds known forms of secrets, and what the regular expressions `patterns` match. Thread-safe: it never changes.

    Attributes:
        suspects: whether there may be something to hide in a text. Usually not; said in one pass.

    Raises re.error for what is no regular expression; the policy was checked for that.
    """

    def __init__(self, patterns: Sequence[str] = ()) -> None:
        self._own = tuple((f"policy-{number}", re.compile(each)) for number, each in enumerate(patterns, 1))
        self.suspects: Final[Callable[[str], object]] = (lambda _: True) if self._own else _in_text

    def fields(self, event: str, fields: dict[str, Any]) -> dict[str, Any]:
        """The fields of a record of that event with secrets hidden; the same object if there are none."""
        record = {**fields, "event": event}
        shown = self.record(record)
        return fields if shown is record else {key: value for key, value in shown.items() if key != "event"}

    def record(self, record: Record) -> Record:
        """`record` with secrets hidden; the same object if there are none.

        Values under our own keys stay, except in a call's arguments, where the keys are the client's and are looked at
        as well. A long text that is shown cut is cut before what may be the beginning of a secret.
        """
        if str(record.get("event", "")).startswith(_OF_THE_LOG):
            return record
        walk = _Walk(self)
        shown = {
            key: value if key in OURS else walk.value(value, client=key == "arguments") for key, value in record.items()
        }
        return shown if walk.hidden else record

    def text(self, text: str, *, eager: bool = False) -> tuple[str, int]:
        """The text with secrets hidden, and how many places that are.

        Args:
            eager: hide also what looks less like a secret than like a word of a program.
        """
        spans = sorted(self._spans(text, eager=eager), key=lambda span: (span.start, -span.end))
        pieces: list[str] = []
        shown_to = hidden = 0
        for start, end, name in spans:
            if start >= shown_to:
                pieces += [text[shown_to:start], f"{MARKER}{name}]"]
                hidden += 1
            shown_to = max(shown_to, end)
        return ("".join((*pieces, text[shown_to:])), hidden) if hidden else (text, 0)

    def may_begin_in(self, text: str) -> int | None:
        """Where what may be the beginning of a known form begins, if somewhere."""
        found = None
        lower = text.lower()
        for form in FORMS:
            for literal in form.literals:
                at = (text if has_capitals(literal) else lower).find(literal)
                if at >= 0:
                    found = at if found is None else min(found, at)
        return found

    def _spans(self, text: str, *, eager: bool) -> Iterator[_Span]:
        if _in_text(text) is not None:
            lower = text.lower()
            for form in FORMS:
                if any(literal in (text if has_capitals(literal) else lower) for literal in form.literals):
                    yield from _found(form, text, eager=eager)
        for name, pattern in self._own:
            for match in pattern.finditer(text):
                if match.end() > match.start():
                    yield _Span(match.start(), match.end(), name)


def _found(form: Form, text: str, *, eager: bool) -> Iterator[_Span]:
    pattern = form.eager if eager else form.pattern
    group = "secret" if "secret" in pattern.groupindex else 0
    for match in pattern.finditer(text):
        yield _Span(match.start(group), match.end(group), form.name)


class _Walk:
    """One walk over a record, and how many places it hid."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self.hidden = 0

    def value(self, value: Any, *, client: bool) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, dict):
            return self._members(value, client=client)
        if isinstance(value, (list, tuple)):
            return self._items(value, client=client)
        return value

    def _text(self, text: str) -> str:
        shown, hidden = self._redactor.text(text, eager=True)
        self.hidden += hidden
        return shown

    def _members(self, members: Mapping[str, Any], *, client: bool) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        for key, value in members.items():
            name = self._text(key) if client else key
            while name in shown:  # two keys that differed only in what is hidden
                name += "'"
            if client:
                kept = key == "sha256" and isinstance(value, str) and _SHA256.fullmatch(value) is not None
            else:
                kept = key in OURS
            shown[name] = value if kept else self.value(value, client=client)
        if "start" in shown and "sha256" in shown and isinstance(shown["start"], str):
            shown["start"] = self._cut(shown["start"])
        return shown

    def _cut(self, start: str) -> str:
        """The beginning of a longer text: a secret that goes on behind it could not be recognised."""
        at = self._redactor.may_begin_in(start)
        if at is None:
            return start
        self.hidden += 1
        return f"{start[:at]}{MARKER}{CUT_NAME}]"

    def _items(self, items: Sequence[Any], *, client: bool) -> list[Any]:
        shown: list[Any] = []
        flag = False
        for item in items:
            if flag and isinstance(item, str) and item and not item.startswith("--"):
                shown.append(f"{MARKER}{ARGUMENT_NAME}]")
                self.hidden += 1
            else:
                shown.append(self.value(item, client=client))
            flag = isinstance(item, str) and len(item) <= 100 and SECRET_FLAG.fullmatch(item) is not None
        return shown
