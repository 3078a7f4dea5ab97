"""A merged policy as YAML again: what several files and presets say together, and where each value is written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from fsserver.policy.problems import Place
from fsserver.policy.scalars import ambiguity, plain_value
from fsserver.policy.tree import Node

_PLAIN = re.compile(r"[A-Za-z/~][A-Za-z0-9_./~-]*")


def as_yaml(tree: Node, *, origins: bool) -> str:
    """The tree as a policy file, without what is each file's own. ``origins``: each value with its file and line.

    A number is shown as it is written, with its unit. The tree has passed the schema.
    """
    shown = Node(tree.place, {name: entry for name, entry in tree.entries.items() if name != "extends"})
    return "\n".join(_lines(shown, "", origins=origins)) + "\n"


def _lines(node: Node, indent: str, *, origins: bool) -> Iterator[str]:
    for name, entry in node.entries.items():
        value = entry.node
        if value.entries:
            yield f"{indent}{_scalar(name)}:"
            yield from _lines(value, indent + "  ", origins=origins)
        elif value.items:
            yield f"{indent}{_scalar(name)}:"
            for item in value.items:
                yield f"{indent}  - {_flow(item)}{_origin(item.place, origins)}"
        else:
            yield f"{indent}{_scalar(name)}: {_flow(value)}{_origin(value.place, origins)}"


def _flow(node: Node) -> str:
    """A value in one line."""
    value = node.value
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_scalar(name)}: {_flow(entry.node)}" for name, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return _written(node.place).strip("\"'")
    assert isinstance(value, str)
    return _scalar(value)


def _scalar(text: str) -> str:
    """A text as YAML reads it back: plain where nothing can be mistaken, else in double quotes."""
    plain = _PLAIN.fullmatch(text) and ambiguity(text) is None and plain_value(text) == text
    return text if plain else json.dumps(text)


def _written(place: Place) -> str:
    return place.source.lines[place.line - 1][place.column - 1 :][: place.length]


def _origin(place: Place, wanted: bool) -> str:
    return f"  # {place.source.label}:{place.line}" if wanted else ""
