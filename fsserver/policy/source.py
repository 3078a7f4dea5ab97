"""From bytes to plain values, each with its place: YAML without its surprises.

libyaml only splits the text into events here. What they mean is decided below, so that nothing can come in by a
feature that nobody thinks of: tags, anchors and aliases, merge keys, directives, several documents, tabs, duplicate
keys, keys that are not text, and plain values that YAML 1.1 and 1.2 read differently are errors. JSON is a subset.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from fsserver.policy.problems import Code, Place, Problem, Source
from fsserver.policy.scalars import ambiguity, plain_value
from fsserver.policy.text import decode, shortened
from fsserver.policy.tree import Entry, Node

MAX_DEPTH = 32
MAX_NODES = 20_000


@dataclass(slots=True)
class Parsed:
    """A whole text. ``root`` is None if it has no value, or none that can be made sense of."""

    source: Source
    root: Node | None
    problems: list[Problem] = field(default_factory=list)


def parse(data: bytes, shown: str, label: str) -> Parsed:
    """Compose one text. Never raises for what the text holds; `Parsed.problems` says what is wrong."""
    source, problems = decode(data, shown, label)
    if problems:
        return Parsed(source, None, problems)
    composer = _Composer(source)
    composer.run("\n".join(source.lines))
    return Parsed(source, composer.root, composer.problems)


# What libyaml's wording does not tell.
_SYNTAX_HELP = {
    "mapping values are not allowed in this context": 'a text that holds ": " needs quotes; keys of one map begin in '
    "one column",
    "did not find expected alphabetic or numeric character": 'a glob needs quotes: "**/.env"',
    "found character that cannot start any token": "put the text in quotes",
    "did not find expected key": "keys of one map begin in one column",
    "did not find expected '-' indicator": "items of one list begin in one column",
    "did not find expected ',' or ']'": "close the list with ]",
    "did not find expected ',' or '}'": "close the map with }",
}


class _Stop(Exception):  # noqa: N818 - control flow inside this module
    """Nothing more can be learnt from this text."""


class _Composer:
    """Builds nodes from events, iteratively: the depth of the text is the text's choice."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.root: Node | None = None
        self.problems: list[Problem] = []
        self._nodes = 0
        # Open containers, innermost last, each with the key that waits for its value.
        self._open: list[tuple[Node, list[tuple[str | None, Place]]]] = []

    def run(self, text: str) -> None:
        try:
            for event in yaml.parse(text, Loader=yaml.CSafeLoader):
                self._event(event)
        except yaml.MarkedYAMLError as error:
            self._syntax(error)
        except yaml.reader.ReaderError as error:
            self._unreadable(chr(error.character))
        except _Stop:
            self.root = None

    def _event(self, event: Any) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self._document(event)
        elif isinstance(event, yaml.AliasEvent):
            place = self._place(event)
            message = f"a policy holds no aliases (*{shortened(event.anchor or '')})"
            self._problem(Code.FEATURE, place, message, "write the value out; a glob needs quotes")
            self._add(Node(place, None, broken=True))
        elif isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            self._start(event)
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            self._open.pop()

    def _document(self, event: Any) -> None:
        place = self._place(event)
        if self.root is not None:
            self._problem(Code.FEATURE, place, "a policy is one document, and here a second one begins")
            raise _Stop
        if event.version or event.tags:
            help_text = "remove the lines that begin with %"
            self._problem(Code.FEATURE, place, "a policy holds no YAML directives", help_text)

    def _start(self, event: Any) -> None:
        place = self._place(event)
        self._decorations(event, place)
        node = Node(place, {} if isinstance(event, yaml.MappingStartEvent) else [])
        if len(self._open) >= MAX_DEPTH:
            self._problem(Code.TOO_BIG, place, f"more than {MAX_DEPTH} levels deep")
            raise _Stop
        if self._expects_key():
            self._problem(Code.FEATURE, place, "a key is text, not a list or a map")
            raise _Stop
        self._add(node)
        self._open.append((node, []))

    def _scalar(self, event: Any) -> None:
        place = self._place(event)
        self._decorations(event, place)
        if event.implicit[0] and event.end_mark.line > event.start_mark.line:
            message = "a text without quotes ends with its line, and here the next line continues it"
            help_text = "items of one list, or keys of one map, begin in one column, and a space follows a colon"
            self._problem(Code.FEATURE, place, message, help_text)
        if self._expects_key():
            self._open[-1][1].append((self._key(event, place), place))
            return
        node = Node(place, event.value)
        if event.implicit[0]:
            self._plain(node, event.value)
        elif "\0" in event.value:
            self._broken(node, Code.NOT_TEXT, "a NUL character in a text")
        self._add(node)

    def _key(self, event: Any, place: Place) -> str | None:
        """The key's text; None if its value is to be left out."""
        container = self._open[-1][0]
        name = event.value
        if event.implicit[0]:
            if name == "<<":
                self._problem(Code.FEATURE, place, "a policy holds no merge keys (<<)", "write the values out")
                return None
            probe = Node(place, name)
            self._plain(probe, name)
            if probe.broken:
                return None
            if not isinstance(probe.value, str):
                self._problem(Code.FEATURE, place, f"the key {name} is not text", f'in quotes it is: "{name}"')
                return None
        if "\0" in name:
            self._problem(Code.NOT_TEXT, place, "a NUL character in a key")
            return None
        if name in container.entries:
            first = container.entries[name].key.line
            self._problem(Code.DUPLICATE_KEY, place, f'"{shortened(name)}" is there already, in line {first}')
            return None
        return str(name)

    def _expects_key(self) -> bool:
        return bool(self._open) and isinstance(self._open[-1][0].value, dict) and not self._open[-1][1]

    def _add(self, node: Node) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            self._problem(Code.TOO_BIG, node.place, f"more than {MAX_NODES} values")
            raise _Stop
        if not self._open:
            self.root = node
            return
        container, waiting = self._open[-1]
        if isinstance(container.value, list):
            container.value.append(node)
        elif isinstance(container.value, dict):
            if not waiting:  # an alias as a key
                waiting.append((None, node.place))
                return
            key, place = waiting.pop()
            if key is None:
                container.incomplete = True
            else:
                container.value[key] = Entry(place, node)

    def _plain(self, node: Node, text: str) -> None:
        found = ambiguity(text)
        if found is None:
            node.value = plain_value(text)
        else:
            self._broken(node, *found)

    def _decorations(self, event: Any, place: Place) -> None:
        if event.anchor is not None:
            message = f"a policy holds no anchors (&{shortened(event.anchor)})"
            self._problem(Code.FEATURE, place, message, "write the value out where it is used")
        if event.tag is not None:
            self._problem(
                Code.FEATURE,
                place,
                f"a policy holds no tags ({shortened(event.tag)})",
                "remove it; a text that begins with ! needs quotes",
            )

    def _syntax(self, error: yaml.MarkedYAMLError) -> None:
        self.root = None
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line, mark.column) if mark else (0, 0)
        line = min(line, len(self.source.lines) - 1)
        column = min(column, len(self.source.lines[line]))
        help_text = _SYNTAX_HELP.get(error.problem or "")
        if help_text is None and error.context_mark and error.context_mark.line < line:
            help_text = f"{error.context} that begins in line {error.context_mark.line + 1}"
        self._problem(Code.SYNTAX, Place(self.source, line + 1, column + 1, 1), f"not YAML: {error.problem}", help_text)

    def _unreadable(self, character: str) -> None:
        """libyaml refuses some characters that no text needs, U+FFFF for one."""
        self.root = None
        for number, line in enumerate(self.source.lines, start=1):
            if character in line:
                place = Place(self.source, number, line.index(character) + 1, 1)
                self._problem(Code.NOT_TEXT, place, f"the character U+{ord(character):04X} cannot stand in YAML")
                return

    def _broken(self, node: Node, code: Code, message: str, help_text: str | None = None) -> None:
        node.broken = True
        node.value = None
        self._problem(code, node.place, message, help_text)

    def _problem(self, code: Code, place: Place, message: str, help_text: str | None = None) -> None:
        self.problems.append(Problem(code, place, message, help_text))

    def _place(self, event: Any) -> Place:
        """Where the event's text is, up to the end of its first line. A map or list in block style: its first word."""
        start, end = event.start_mark, event.end_mark
        line = self.source.lines[min(start.line, len(self.source.lines) - 1)]
        if end.line == start.line and end.column > start.column:
            length = end.column - start.column
        else:
            rest = line[start.column :]
            length = len(re.split(r"[:\s#]", rest, maxsplit=1)[0]) if start.index == end.index else len(rest.rstrip())
        return Place(self.source, start.line + 1, start.column + 1, max(length, 1))
