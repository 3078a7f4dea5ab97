"""Whether an answer of fsserver is the reference's, what holds for every answer taken into account."""

from __future__ import annotations

import re
from typing import Any

from tests.compat.case import Case
from tests.compat.run import Answer

_ADDED = re.compile(r"(\n(?:rule|allowed instead): [^\n]*)+\Z")
_DIGEST = re.compile(r"\n?sha256: [0-9a-f]{64}\Z")
_WRITES = frozenset({"write_file", "edit_file"})


def comparable(case: Case, answer: Answer) -> Answer:
    """``answer`` of fsserver without what it adds to every answer of its kind."""
    calls = [_plain(call.tool, each) for call, each in zip(case.calls, answer["answers"], strict=True)]
    return {**answer, "answers": calls}


def _plain(tool: str, answer: Answer) -> Answer:
    if "error" in answer:
        return {**answer, "error": _ADDED.sub("", answer["error"])}
    if tool in _WRITES and "text" in answer:
        return {**answer, "text": _DIGEST.sub("", answer["text"])}
    return answer


def tools_missing(reference: dict[str, Any], own: dict[str, Any]) -> list[str]:
    """What ``tools/list`` of the reference has and fsserver's has not, in words."""
    problems = []
    for name, theirs in reference.items():
        if name == "read_file":
            continue
        ours = own.get(name)
        if ours is None:
            problems.append(f"{name} is not listed")
            continue
        pairs = [(key, ours[key], theirs[key]) for key in ("title", "required")]
        pairs += [(part, ours["parameters"].get(part), value) for part, value in theirs["parameters"].items()]
        pairs += [(part, ours["annotations"].get(part), value) for part, value in theirs["annotations"].items()]
        problems += [f"{name}: {what} is {mine!r}, not {his!r}" for what, mine, his in pairs if mine != his]
    return problems
