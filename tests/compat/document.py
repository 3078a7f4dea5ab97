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
            return f"`{row}`: {_shown(theirs)} becomes {_shown(ours)}."
    return f"`{row}`: the same answer, other files afterwards."


def _shown(answer: Mapping[str, Any]) -> str:
    """One answer as inline code."""
    text = next((str(answer[key]) for key in ("text", "error") if key in answer), json.dumps(answer))
    text = text if len(text) <= SHOWN else text[:SHOWN] + "…"
    quoted = json.dumps(text, ensure_ascii=False)[1:-1].replace("`", "'")
    return f"`{quoted}`" if text else "an empty text"
