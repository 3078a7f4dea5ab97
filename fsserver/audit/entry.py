"""What a record says, checked and written in one walk, before it has its place in a chain. Pure.

The text is what `canonical` gives for the same members. What stands between the values of a record, or of an object in
it, depends on the keys alone, and those are few and come again: it is made once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final, NamedTuple, TypeAlias

from fsserver.audit.record import MAX_DEPTH, OURS, RESERVED, VERSION, Json, Shown, parse, quoted
from fsserver.audit.redaction import Redactor
from fsserver.errors import AuditError

_Picks: TypeAlias = Callable[[Sequence[Any]], tuple[Any, ...]]

# What comes after the fields' values for `_Plan.order`; ``time`` is two, its second and the microseconds after it.
_PLACE: Final = ("prev", "seq", "time", "time", "up_us")
_WORDS: Final = {None: "null", True: "true", False: "false"}
_LEAST, _MOST = -(2**63), 2**64

# A client names the keys of its arguments, 64 of at most 193 characters an object: with these bounds what is kept of
# them stays below 4 MB.
_SHAPES: Final = 128


class UnfitRecordError(AuditError):
    """What should be recorded cannot be a record: it is refused, and the log is as it was."""


class Entry:
    """The event of a record and its fields, in canonical form. It never changes.

    Attributes:
        event: as in the record.
        plan: how such records are written.
        texts: the values of the fields, for the plan.
        searched: where a secret may be: texts as they are written. Every form of one has a literal in plain ASCII, and
            that is in there if it is in the values.
    """

    __slots__ = ("event", "plan", "searched", "texts")

    def __init__(self, event: str, fields: Mapping[str, Json | Shown]) -> None:
        """Raises UnfitRecordError unless `fields` have other names than the record's own, and are made of dict, list,
        tuple, str, 64-bit int, bool, None and what is `Shown` only.
        """
        self.event = event
        self.texts: list[str] = []
        texts = self.texts
        searched: list[str] = []
        try:
            self.plan = _plan(event, tuple(fields))
            for key, value in fields.items():
                if type(value) is int or type(value) is bool:
                    texts.append(_text(value, 0))
                    continue  # no secret has such a form
                if type(value) is Shown:
                    text, seen = value.text, value.searched
                elif type(value) is str:
                    text = seen = quoted(value)
                else:
                    text = seen = _text(value, MAX_DEPTH - 1)
                texts.append(text)
                if key not in OURS:
                    searched.append(seen)
        except ValueError as error:
            raise UnfitRecordError("The audit record cannot be written, so the call was refused.") from error
        self.searched = "\0".join(searched)

    def hidden(self, redactor: Redactor) -> Entry:
        """The same without secrets."""
        fields = self.fields()
        shown = redactor.fields(self.event, fields)
        return self if shown is fields else Entry(self.event, shown)

    def fields(self) -> dict[str, Any]:
        """As they were given, but in JSON's types."""
        return {key: parse(f'{{"":{text}}}')[""] for key, text in zip(self.plan.keys, self.texts, strict=True)}


class _Plan(NamedTuple):
    """How records of one event with the same keys are written.

    Attributes:
        keys: of the fields.
        text: the record, with ``%s`` for each value, and a newline, which no record holds, in place of its hash.
        order: takes the values in the order of the text: from those of the fields, and then those of `_PLACE`.
    """

    keys: tuple[str, ...]
    text: str
    order: _Picks


@lru_cache(_SHAPES)
def _plan(event: str, keys: tuple[str, ...]) -> _Plan:
    """Raises ValueError if a key is no string or one of the record's own."""
    own = {"event": quoted(event).replace("%", "%%"), "v": str(VERSION), "prev": '"%s"', "time": '"%s.%06dZ"'}
    named = (*_names(keys), *_PLACE)
    if not RESERVED.isdisjoint(keys):
        raise ValueError("a field with a reserved name")
    ordered = sorted({*named, *own})
    start, end = (
        ",".join(_member(key, own.get(key, "%s")) for key in ordered if (key > "hash") is later)
        for later in (False, True)
    )
    order = _picks([place for key in ordered for place, name in enumerate(named) if name == key])
    return _Plan(keys, f"{{{start}\n,{end}}}", order)


@lru_cache(_SHAPES)
def _shape(keys: tuple[str, ...]) -> tuple[str, _Picks]:
    """How an object with these keys is written: its text with ``%s`` for each value, and what puts them in its order.

    Raises ValueError if a key is no string.
    """
    ordered = sorted(_names(keys))
    return f"{{{','.join(_member(key, '%s') for key in ordered)}}}", _picks([keys.index(key) for key in ordered])


def _names(keys: tuple[str, ...]) -> tuple[str, ...]:
    """Keys of another type would be written as text, and might then be there twice, or out of order."""
    if any(type(key) is not str for key in keys):
        raise ValueError("a key that is no string")
    return keys


def _member(key: str, value: str) -> str:
    return f"{quoted(key).replace('%', '%%')}:{value}"


def _picks(places: Sequence[int]) -> _Picks:
    """What takes these items out of a sequence."""
    if len(places) > 1:
        return itemgetter(*places)
    return lambda items: tuple(items[place] for place in places)


def _text(value: object, left: int) -> str:
    """In canonical form. Raises ValueError for what has none, or is nested more than ``left`` levels."""
    if type(value) is int:
        if not _LEAST <= value < _MOST:
            raise ValueError("an integer of more than 64 bits")
        return str(value)
    if value is None or type(value) is bool:
        return _WORDS[value]
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, (dict, list, tuple)) and not left:
        raise ValueError("nested too deeply")
    if isinstance(value, dict):
        text, order = _shape(tuple(value))
        return text % order([_text(each, left - 1) for each in value.values()])
    if isinstance(value, (list, tuple)):
        return f"[{','.join([_text(each, left - 1) for each in value])}]"
    raise ValueError(f"a value of type {type(value).__name__}")
