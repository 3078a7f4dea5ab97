"""Values of a policy, each with its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fsserver.policy.problems import Place
from fsserver.policy.scalars import Scalar


@dataclass(slots=True, eq=False)
class Node:
    """A value and its place.

    Attributes:
        value: a scalar, a list of nodes, or a map from key to `Entry`.
        incomplete: something below was wrong, is reported and was left out: what is missing here proves nothing.
        broken: the value itself is wrong and reported.
    """

    place: Place
    value: Scalar | list[Node] | dict[str, Entry]
    incomplete: bool = False
    broken: bool = False

    @property
    def entries(self) -> dict[str, Entry]:
        """The map's entries; empty if this is not a map."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def items(self) -> list[Node]:
        """The list's items; empty if this is not a list."""
        return self.value if isinstance(self.value, list) else []

    def get(self, *path: str) -> Node | None:
        """The node at ``path``, through maps, or None."""
        node = self
        for step in path:
            entry = node.entries.get(step)
            if entry is None:
                return None
            node = entry.node
        return node

    def entries_at(self, *path: str) -> dict[str, Entry]:
        """The entries of the map at ``path``; empty if there is none."""
        node = self.get(*path)
        return node.entries if node else {}

    def items_at(self, *path: str) -> list[Node]:
        """The items of the list at ``path``; empty if there is none."""
        node = self.get(*path)
        return node.items if node else []

    @property
    def text(self) -> str:
        """The value of a node that the schema has found to be a text."""
        assert isinstance(self.value, str)
        return self.value

    @property
    def number(self) -> int | float:
        """The value of a node that the schema has found to be a number, or has made one."""
        assert isinstance(self.value, (int, float))
        return self.value

    def plain(self) -> Any:
        """As lists, dicts and scalars. The composer bounds the depth."""
        if isinstance(self.value, dict):
            return {key: entry.node.plain() for key, entry in self.value.items()}
        if isinstance(self.value, list):
            return [item.plain() for item in self.value]
        return self.value


@dataclass(slots=True, eq=False)
class Entry:
    """One key of a map."""

    key: Place
    node: Node
