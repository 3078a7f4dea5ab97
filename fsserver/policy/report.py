"""Problems as people and programs read them."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

from fsserver.policy.problems import Place, Problem

MAX_SHOWN = 100
MAX_WIDTH = 120


def render(problems: Sequence[Problem]) -> str:
    """Each problem with its place, its line and a caret; in the order of files and lines."""
    texts = [_render_one(problem) for problem in problems[:MAX_SHOWN]]
    if len(problems) > MAX_SHOWN:
        texts.append(f"and {len(problems) - MAX_SHOWN} more")
    return "\n".join(texts)


def as_json(problems: Sequence[Problem]) -> list[dict[str, Any]]:
    """Each problem as an object: code, file, line, column, length, message, help."""
    return [
        {
            "code": problem.code.value,
            "file": problem.file,
            "line": problem.line,
            "column": problem.column,
            "length": problem.length,
            "message": problem.message,
            "help": problem.help,
        }
        for problem in problems
    ]


def _render_one(problem: Problem) -> str:
    lines = [f"{problem.file}:{problem.line}:{problem.column}: error[{problem.code}]: {problem.message}"]
    gutter = " " * (len(str(problem.line)) + 1)
    if problem.length:
        text, caret = _snippet(problem.place)
        lines += [f"{gutter}|", f"{problem.line} | {text}".rstrip(), f"{gutter}| {caret}"]
    if problem.help:
        lines.append(f"{gutter}= help: {problem.help}")
    return "\n".join(lines)


def _snippet(place: Place) -> tuple[str, str]:
    """The line, or the part of it around the place, and carets below the place."""
    line = place.source.lines[place.line - 1]
    start = place.column - 1
    first = max(0, start - MAX_WIDTH // 2) if len(line) > MAX_WIDTH else 0
    shown = line[first : first + MAX_WIDTH]
    marked = shown[start - first : start - first + place.length]
    text = "".join(character if character.isprintable() else "\ufffd" for character in shown)
    return text, " " * _width(shown[: start - first]) + "^" * max(1, _width(marked))


def _width(text: str) -> int:
    """How many columns a terminal gives to ``text``."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
