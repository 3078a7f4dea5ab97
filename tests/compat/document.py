"""docs/compatibility.md, made from the table of differences and the recorded answers."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from tests.compat.differences import ALWAYS, DIFFERENCES
from tests.compat.record import PACKAGE
from tests.compat.run import REPOSITORY
from tests.compat.table import CASES

PATH = os.path.join(REPOSITORY, "docs", "compatibility.md")
SHOWN = 110


def document(reference: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """The whole page.

    Args:
        reference: the reference's answers by row.
        own: fsserver's answers by row, for the rows that differ.
    """
    lines = [
        "# Compatibility with the reference server",
        "",
        f"fsserver answers as `{PACKAGE}` does: the same tools, parameters and texts, errors included. Change the",
        "command in your client's configuration and keep the rest.",
        "",
        f"{len(CASES)} recorded calls and sequences of calls hold this (`tests/compat/`). `make compat` asks the",
        "reference server again and compares live. What follows is all that differs: a difference that is not on this",
        "page fails a test.",
        "",
        "## Everywhere",
        "",
        *(f"- **{title}** {reason}" for title, reason in ALWAYS),
        "",
        "## In particular cases",
        "",
    ]
    for difference in DIFFERENCES:
        rows = [case.id for case in CASES if difference.covers(case.id)]
        lines += [f"- **{difference.title}** {difference.reason}", f"  For example {_example(rows[0], reference, own)}"]
    return "\n".join(lines) + "\n"


def _example(row: str, reference: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    for theirs, ours in zip(reference[row]["answers"], own[row]["answers"], strict=True):
        if theirs != ours:
            theirs_text, ours_text = _text(theirs), _text(ours)
            same = _same_lines(theirs_text, ours_text)
            return f"`{row}`: {_quoted(theirs_text, same)} becomes {_quoted(ours_text, same)}."
    return f"`{row}`: the same answer, other files afterwards."


def _same_lines(one: str, other: str) -> int:
    """Where the first line begins in which two texts differ."""
    position = next(
        (at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
    return one.rfind("\n", 0, position) + 1


def _text(answer: Mapping[str, Any]) -> str:
    return next((str(answer[key]) for key in ("text", "error") if key in answer), json.dumps(answer))


def _quoted(text: str, start: int) -> str:
    """What follows from ``start``, shortened, as inline code."""
    if not text:
        return "an empty text"
    shown = text[start : start + SHOWN]
    quoted = json.dumps(shown, ensure_ascii=False)[1:-1].replace("`", "'").replace('\\"', '"')
    return f"`{'…' if start else ''}{quoted}{'…' if len(text) > start + SHOWN else ''}`"
