"""Finds calls in a log: filters over records, where an intent and its outcome are looked at as one. Constant memory."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple
from urllib.parse import unquote

from fsserver.audit.fields import members, objects, text, words
from fsserver.audit.phrases import decision
from fsserver.audit.reading import Entry
from fsserver.audit.record import (
    CALL_INTENT,
    RUN_START,
    Record,
)
from fsserver.policy.globs import refuse_traps, regex_source

MOST_OPEN: Final = 4096
"""Calls that have begun and not ended, of which the intent is kept. A server runs a few at a time."""

MOST_OPEN_BYTES: Final = 8 * 1024**2
"""Of all these intents together, as lines; in memory one can take twenty times as much. The oldest go first."""

_PATH_ARGUMENTS = ("path", "source", "destination", "cwd")

_BEFORE_PATH: Final = re.compile(r"\Afile:(?://[^/]*)?", re.IGNORECASE)


class Found(NamedTuple):
    """One row: the record that ends a call, with its intent if it has one; or any other record."""

    entry: Entry
    intent: Entry | None

    @property
    def entries(self) -> tuple[Entry, ...]:
        return (self.entry,) if self.intent is None else (self.intent, self.entry)


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for; an empty collection or None means anything. Times are compared with the records' own.

    Attributes:
        commands: names of commands in the policy.
        path: matches a name beneath its root, or a path that was asked for and not found in any root.
    """

    tools: Collection[str] = ()
    decisions: Collection[str] = ()
    events: Collection[str] = ()
    commands: Collection[str] = ()
    path: re.Pattern[str] | None = None
    principal: str | None = None
    session: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def matches(self, found: Found) -> bool:
        record = found.entry.record
        if (
            (self.events and record.get("event") not in self.events)
            or (self.decisions and decision(record) not in self.decisions)
            or ((self.since or self.until) and not self._in_time(record))
        ):
            return False
        call = record if found.intent is None else {**found.intent.record, **record}
        if (
            (self.tools and text(call, "tool") not in self.tools)
            or (self.principal is not None and call.get("principal") != self.principal)
            or (self.session is not None and call.get("session") != self.session)
            or (self.commands and not any(text(each, "command") in self.commands for each in objects(call, "commands")))
        ):
            return False
        return self.path is None or any(self.path.search("/" + name.lstrip("/")) for name in names_of(call))

    def _in_time(self, record: Record) -> bool:
        at = moment(record)
        if at is None:
            return False
        return (self.since is None or at >= self.since) and (self.until is None or at <= self.until)

    @property
    def wants_intents(self) -> bool:
        """Whether intents are rows of their own: only who asks for them by name wants that."""
        return CALL_INTENT in self.events


def moment(record: Record) -> datetime | None:
    """When a record says that it was written; None if that is no time with a zone."""
    value = record.get("time")
    try:
        at = datetime.fromisoformat(value) if type(value) is str else None
    except ValueError:
        return None
    return at if at is None or at.tzinfo is not None else None


def path_pattern(glob: str) -> re.Pattern[str]:
    """A glob as in the policy, to be searched in ``/name``. Raises GlobError."""
    refuse_traps(glob)
    floating, source = regex_source(glob)
    return re.compile(f"/{source}" if floating else rf"\A/{source}", re.DOTALL)


def names_of(call: Record) -> Iterator[str]:
    """Every name of a file that a call's records show."""
    for each in objects(call, "paths"):
        yield from _texts(each, "name")
    for change in objects(call, "changes"):
        yield from _texts(change, "name", "from")
    yield from _texts(call, "path")
    if not objects(call, "paths"):
        arguments = members(call, "arguments")
        paths = _texts(arguments, *_PATH_ARGUMENTS)
        yield from paths if "via" not in call else map(_unescaped, paths)
        yield from (_unescaped(_BEFORE_PATH.sub("", uri, count=1)) for uri in _texts(arguments, "uri"))
        yield from words(arguments, "paths")


def _unescaped(asked: str) -> str:
    """As the server reads it, so that no escape hides a name from who looks for it."""
    return unquote(asked, errors="surrogateescape")


def _texts(record: Record, *keys: str) -> Iterator[str]:
    for key in keys:
        value = text(record, key)
        if value is not None:
            yield value


@dataclass(slots=True)
class Open:
    """The calls of one run that have begun and not ended, by their numbers."""

    _intents: dict[int, Entry] = field(default_factory=dict)
    _bytes: int = 0

    def begin(self, entry: Entry) -> list[Entry]:
        """Keep an intent; those that had to make room for it, or that it takes the number of."""
        call = entry.record.get("call")
        if type(call) is not int:
            return [entry]
        dropped = [self._take(call)] if call in self._intents else []
        self._intents[call] = entry
        self._bytes += len(entry.raw)
        while len(self._intents) > MOST_OPEN or (self._bytes > MOST_OPEN_BYTES and len(self._intents) > 1):
            dropped.append(self._take(next(iter(self._intents))))
        return dropped

    def end(self, record: Record) -> Entry | None:
        """The intent of the call that `record` ends. A failure of one path of many ends nothing."""
        call = record.get("call")
        if decision(record) is None or type(call) is not int or "path" in record or call not in self._intents:
            return None
        return self._take(call)

    def get(self, call: object) -> Entry | None:
        return self._intents.get(call) if type(call) is int else None

    def clear(self) -> list[Entry]:
        """What never ended; forgotten now."""
        left = list(self._intents.values())
        self._intents.clear()
        self._bytes = 0
        return left

    def _take(self, call: int) -> Entry:
        entry = self._intents.pop(call)
        self._bytes -= len(entry.raw)
        return entry


def paired(entries: Iterable[Entry], *, intents: bool = False) -> Iterator[Found]:
    """Rows: each outcome with its intent. An intent is a row where its run ended without an outcome.

    ``intents``: each is a row of its own as well.
    """
    unfinished = Open()
    chain: str | None = None
    for entry in entries:
        record = entry.record
        event = record["event"]
        if event == RUN_START or entry.chain != chain:
            yield from (Found(left, None) for left in unfinished.clear() if not intents)
            chain = entry.chain
        if event == CALL_INTENT:
            dropped = unfinished.begin(entry)
            yield from (Found(each, None) for each in ([entry] if intents else dropped))
        else:
            yield Found(entry, unfinished.end(record))
    yield from (Found(left, None) for left in unfinished.clear() if not intents)


def search(entries: Iterable[Entry], query: Query) -> Iterator[Found]:
    """The rows that match."""
    return (found for found in paired(entries, intents=query.wants_intents) if query.matches(found))
