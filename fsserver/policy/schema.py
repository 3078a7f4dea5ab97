"""What may stand where in a policy: small declarations that check nodes in place and describe themselves to editors.

Checking converts values (``20MiB`` becomes bytes), reports every mistake at its own place, and takes what is wrong
out of the tree, so that later steps see correct values only. It needs no other library: a policy is read at each
start of the server, and the positions are the nodes' own.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from fsserver.policy.problems import Code, LanguageError, Place, Problem, did_you_mean
from fsserver.policy.text import shortened
from fsserver.policy.tree import Node
from fsserver.policy.unavailable import KEYS, VALUES


@dataclass(frozen=True, slots=True)
class Where:
    """The way to a value: as the file has it, and as patterns have it ("*": any name, "[]": any item)."""

    names: tuple[str, ...] = ()
    pattern: tuple[str, ...] = ()

    def key(self, name: str, pattern: str | None = None) -> Where:
        return Where((*self.names, name), (*self.pattern, pattern or name))

    def item(self) -> Where:
        return Where(self.names, (*self.pattern, "[]"))

    def __str__(self) -> str:
        if not self.names:
            return "a policy"
        name = f'"{shortened(self.names[-1])}"'
        return f"an item of {name}" if self.pattern[-1] == "[]" else name


class Spec(Protocol):
    """What may stand in one place."""

    def check(self, node: Node, where: Where, problems: list[Problem]) -> bool:
        """Convert ``node`` in place, or report what is wrong with it and return False: then it must not be used."""

    def json_schema(self) -> dict[str, Any]:
        """As JSON Schema, draft 2020-12."""


def check(spec: Spec, node: Node, where: Where, problems: list[Problem]) -> bool:
    """`Spec.check` of a node that may be broken, empty or reserved."""
    if node.broken:
        return False
    if node.value is None:
        line = node.place.source.lines[node.place.line - 1]
        help_text = "indent what belongs to it, leave the key out, or write [] or {} for nothing at all"
        if line[node.place.column - 1 : node.place.column] == "~":
            help_text = "~ alone means nothing in YAML; in quotes, or with a slash as in ~/notes, it is a path"
        problems.append(Problem(Code.MISSING, node.place, f"{where} has no value", help_text))
        return False
    if isinstance(node.value, str) and node.value in VALUES.get(where.pattern, ()):
        message = f'"{node.value}" is not available in this version'
        problems.append(Problem(Code.UNAVAILABLE, node.place, message))
        return False
    return spec.check(node, where, problems)


def _wrong_type(node: Node, where: Where, expected: str, problems: list[Problem], help_text: str | None = None) -> bool:
    problems.append(Problem(Code.TYPE, node.place, f"{where} must be {expected}, not {_kind(node)}", help_text))
    return False


def _kind(node: Node) -> str:
    value = node.value
    if isinstance(value, dict):
        return "a map"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return "true or false"
    return "text" if isinstance(value, str) else "a number"


@dataclass(frozen=True, slots=True)
class Word:
    """One of a few words. ``noun`` names them in messages."""

    noun: str
    words: tuple[str, ...]

    def check(self, node: Node, where: Where, problems: list[Problem]) -> bool:
        if not isinstance(node.value, str | bool | int | float):
            return _wrong_type(node, where, _either(self.words), problems)
        if isinstance(node.value, str) and node.value in self.words:
            return True
        written = str(node.value).lower() if isinstance(node.value, bool) else str(node.value)
        expected = _either(self.words) if len(self.words) <= 6 else f"one of {len(self.words)} names"
        message = f'"{shortened(written)}" is not a valid {self.noun}; expected {expected}'
        problems.append(Problem(Code.CHOICE, node.place, message, did_you_mean(written, self.words)))
        return False

    def json_schema(self) -> dict[str, Any]:
        return {"enum": list(self.words)}


def _either(words: tuple[str, ...]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]


@dataclass(frozen=True, slots=True)
class Text:
    """A text that ``parse`` takes: it returns the value, or raises `LanguageError`.

    ``digits``: a whole number without a unit may be such a text, so that editors take it without quotes too.
    """

    parse: Callable[[str], str | int | float]
    expected: str = "text"
    pattern: str | None = None
    digits: bool = False

    def check(self, node: Node, where: Where, problems: list[Problem]) -> bool:
        value = node.value
        if isinstance(value, dict | list | bool):
            return _wrong_type(node, where, self.expected, problems)
        if not isinstance(value, str) and self.expected == "text":
            return _wrong_type(node, where, self.expected, problems, f'in quotes it is text: "{value}"')
        try:
            node.value = self.parse(str(value))
        except LanguageError as error:
            problems.append(Problem(error.code, node.place, error.message, error.help))
            return False
        return True

    def json_schema(self) -> dict[str, Any]:
        kind = ["string", "integer"] if self.digits else "string"
        return {"type": kind} | ({"pattern": self.pattern} if self.pattern else {})


@dataclass(frozen=True, slots=True)
class Count:
    """A whole number of things: the only kind of number without a unit."""

    low: int
    high: int

    def check(self, node: Node, where: Where, problems: list[Problem]) -> bool:
        if type(node.value) is not int:
            return _wrong_type(node, where, "a whole number", problems)
        if self.low <= node.value <= self.high:
            return True
        message = f"{where} is {node.value}; expected {self.low} to {self.high}"
        problems.append(Problem(Code.NUMBER, node.place, message))
        return False

    def json_schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.low, "maximum": self.high}


@dataclass(frozen=True, slots=True)
class Version:
    """``version: 1``."""

    def check(self, node: Node, where: Where, problems: list[Problem]) -> bool:
        if type(node.value) is int and node.value == 1:
            return True
        message = f"this version of fsserver reads {where.names[-1]}: 1"
        problems.append(Problem(Code.VERSION, node.place, message))
        return False

    def json_schema(self) -> dict[str, Any]:
        return {"const": 1}


@dataclass(frozen=True, slots=True)
class Flag:
    """true or false."""

    def check(self, node: Node, where: Where, problems: list[Problem]) -> bool:
        return isinstance(node.value, bool) or _wrong_type(node, where, "true or false", problems)

    def json_schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list. ``least`` and ``most`` bound its length."""

    item: Spec
    least: int = 0
    most: int | None = None

    def check(self, node: Node, where: Where, problems: list[Problem]) -> bool:
        if not isinstance(node.value, list):
            help_text = "write it in brackets: [ … ]" if isinstance(node.value, str) else None
            return _wrong_type(node, where, "a list", problems, help_text)
        if len(node.value) < self.least:
            problems.append(Problem(Code.MISSING, node.place, f"{where} needs at least {self.least} item"))
            return False
        if self.most is not None and len(node.value) > self.most:
            message = f"more than {self.most} item in {where} is not available in this version"
            problems.append(Problem(Code.UNAVAILABLE, node.value[self.most].place, message))
            node.incomplete = True
        kept = [item for item in node.value if check(self.item, item, where.item(), problems)]
        node.incomplete = node.incomplete or len(kept) < len(node.value)
        node.value = kept
        return True

    def json_schema(self) -> dict[str, Any]:
        bounds = {"minItems": self.least} if self.least else {}
        bounds |= {} if self.most is None else {"maxItems": self.most}
        return {"type": "array", "items": self.item.json_schema()} | bounds


NAME_PATTERN = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"


def parse_name(text: str) -> str:
    """A name of a root, a profile or a policy. Raises `LanguageError`."""
    if not re.fullmatch(NAME_PATTERN[1:-1], text):
        message = f'"{shortened(text)}" is not a name'
        raise LanguageError(Code.NAME, message, "a name is 1 to 64 of A-Z a-z 0-9 _ . - and begins with A-Z a-z 0-9")
    return text


def given_name(directory: str) -> str:
    """A name for a root, made from the base name of its directory; "root" if nothing of that can stand in one.

    It keeps letters, marks and digits of every script: an author writes names in A to Z, so that no two look alike,
    but a directory is called what it is called, and by that its name is known in refusals and in the audit log.
    """
    kept = (
        c if c in "_.-" or unicodedata.category(c)[0] in "LMN" else "-" for c in unicodedata.normalize("NFC", directory)
    )
    return re.sub(r"^[\W_]+", "", "".join(kept))[:48] or "root"


@dataclass(frozen=True, slots=True)
class MapOf:
    """A map from names of the author's choice to values of one kind.

    Attributes:
        given: the names were made by `given_name`, so that they are not asked to be names as an author writes them.
        parse: raises `LanguageError` for what is no name here; ``pattern`` says the same to editors.
        example: one entry, for whoever wrote a list.
    """

    value: Spec
    given: bool = False
    parse: Callable[[str], str] = parse_name
    pattern: str = NAME_PATTERN
    example: str | None = None

    def check(self, node: Node, where: Where, problems: list[Problem]) -> bool:
        if not isinstance(node.value, dict):
            help_text = None
            if node.items:
                help_text = "put a name of your choice before each, as in notes: {path: ~/notes}"
                if self.example is not None:
                    help_text = f"write a map, as in {{{self.example}}}"
            return _wrong_type(node, where, "a map from names to what they stand for", problems, help_text)
        for name, entry in list(node.value.items()):
            usable = True
            try:
                if not self.given:
                    self.parse(name)
            except LanguageError as error:
                problems.append(Problem(error.code, entry.key, error.message, error.help))
                usable = False
            if not check(self.value, entry.node, where.key(name, "*"), problems) or not usable:
                del node.value[name]
                node.incomplete = True
        return True

    def json_schema(self) -> dict[str, Any]:
        names = {"pattern": self.pattern}
        return {"type": "object", "propertyNames": names, "additionalProperties": self.value.json_schema()}


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a `Section`, with a line for its reader."""

    spec: Spec
    about: str
    required: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """A map with known keys; any other is an error. ``main``: the key that a text in the map's place is meant for."""

    keys: Mapping[str, Key]
    main: str | None = None

    def check(self, node: Node, where: Where, problems: list[Problem]) -> bool:
        if not isinstance(node.value, dict):
            help_text = (
                f"write {{{self.main}: {shortened(node.text)}}}" if self.main and _kind(node) == "text" else None
            )
            return _wrong_type(node, where, f"a map with the keys {', '.join(self.keys)}", problems, help_text)
        for name, entry in list(node.value.items()):
            key = self.keys.get(name)
            if key is None:
                problems.append(self._unknown(name, where, entry.key))
            elif check(key.spec, entry.node, where.key(name), problems):
                continue
            del node.value[name]
            node.incomplete = True
        missing = [name for name, key in self.keys.items() if key.required and name not in node.value]
        if missing and not node.incomplete:
            message = f"{where} needs the key {missing[0]}"
            problems.append(Problem(Code.MISSING, node.place, message))
        return not missing

    def _unknown(self, name: str, where: Where, place: Place) -> Problem:
        if (*where.pattern, name) in KEYS:
            return Problem(Code.UNAVAILABLE, place, f'"{name}" is not available in this version')
        reserved = [path[-1] for path in KEYS if path[:-1] == where.pattern]
        inside = f" in {where}" if where.names else ""
        message = f'unknown key "{shortened(name)}"{inside}'
        help_text = did_you_mean(name, [*self.keys, *reserved])
        if help_text is None and self.keys:
            help_text = f"the keys here are {', '.join(self.keys)}"
        return Problem(Code.UNKNOWN_KEY, place, message, help_text)

    def json_schema(self) -> dict[str, Any]:
        properties = {name: {"description": key.about} | key.spec.json_schema() for name, key in self.keys.items()}
        required = [name for name, key in self.keys.items() if key.required]
        schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
        return schema | ({"required": required} if required else {})


@dataclass(frozen=True, slots=True)
class TextOrSection:
    """A short form, and a long form with keys. A section without keys is for keys that are reserved."""

    text: Spec
    section: Section | OneKey

    def check(self, node: Node, where: Where, problems: list[Problem]) -> bool:
        long = isinstance(node.value, dict) and bool(node.value or self.section.keys)
        chosen: Spec = self.section if long else self.text
        before = len(problems)
        right = chosen.check(node, where, problems)
        if not right and not long and self.section.keys and len(problems) > before and problems[-1].help is None:
            problems[-1] = replace(problems[-1], help=f"or write a map with {_either(tuple(self.section.keys))}")
        return right and not (long and not self.section.keys)

    def json_schema(self) -> dict[str, Any]:
        return {"anyOf": [self.text.json_schema(), self.section.json_schema()]}


@dataclass(frozen=True, slots=True)
class OneKey:
    """A tagged union: a map with exactly one of ``keys``, which says what stands behind it, and any of ``beside``."""

    keys: Mapping[str, Key]
    beside: Mapping[str, Key] = field(default_factory=dict)

    def check(self, node: Node, where: Where, problems: list[Problem]) -> bool:
        if not isinstance(node.value, dict):
            return _wrong_type(node, where, f"a map with one key, {_either(tuple(self.keys))}", problems)
        names = [name for name in node.value if name not in self.beside]
        found = Section({**self.keys, **self.beside}).check(node, where, problems)
        if found and len(names) != 1:
            message = f"{where} has {len(names)} keys; expected one, {_either(tuple(self.keys))}"
            problems.append(Problem(Code.CONFLICT if names else Code.MISSING, node.place, message))
        return found and len(names) == 1 and not node.incomplete

    def json_schema(self) -> dict[str, Any]:
        if not self.beside:
            return Section(self.keys).json_schema() | {"minProperties": 1, "maxProperties": 1}
        one = [{"required": [name]} for name in self.keys]
        return Section({**self.keys, **self.beside}).json_schema() | {"oneOf": one}


@dataclass(frozen=True, slots=True)
class TextOrList:
    """A text, or a list of texts."""

    text: Spec
    several: ListOf

    def check(self, node: Node, where: Where, problems: list[Problem]) -> bool:
        chosen: Spec = self.several if isinstance(node.value, list) else self.text
        return chosen.check(node, where, problems)

    def json_schema(self) -> dict[str, Any]:
        return {"anyOf": [self.text.json_schema(), self.several.json_schema()]}
