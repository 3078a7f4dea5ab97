"""What a row of the table is: files, calls on them, and the roots that the server is started with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ONE_ROOT = ("work",)
TWO_ROOTS = ("work", "second")
LINKED_ROOT = ("alias",)

# Stands for the temporary directory in arguments, in recorded answers and in trees.
BASE = "/BASE"
WORK = f"{BASE}/work"


@dataclass(frozen=True, slots=True)
class Call:
    """One ``tools/call``."""

    tool: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """One row.

    Attributes:
        id: ``topic/what is tried``; the key of the recorded answers and of the allowed differences.
        tree: the files, as `tests.compat.tree` reads them, beneath the temporary directory.
        calls: in order, on one server.
        roots: the directories that the server serves, beneath the temporary directory.
    """

    id: str
    tree: tuple[str, ...]
    calls: tuple[Call, ...]
    roots: tuple[str, ...] = ONE_ROOT


def do(tool: str, /, **arguments: Any) -> Call:
    """A call. ``BASE`` in arguments becomes the temporary directory."""
    return Call(tool, arguments)


def row(name: str, tree: str, *calls: Call, roots: tuple[str, ...] = ONE_ROOT) -> Case:
    """A row; ``tree`` is one line for each entry, indentation does not count."""
    lines = tuple(line.strip() for line in tree.strip().splitlines() if line.strip())
    return Case(name, lines, calls, roots)
