"""Whether an answer of fsserver is the reference's, what holds for every answer taken into account."""

from __future__ import annotations

import re
from typing import Any

from tests.compat.case import Case
from tests.compat.run import Answer

_ADDED = re.compile(r"(\n(?:rule|allowed instead): [^\n]*)+\Z")
_ADDED_INLINE = re.compile(r" \(rule: [^()\n]*\)$", re.MULTILINE)
# A diff ends with an empty line already.
_DIGEST = {
    "write_file": re.compile(r"\nsha256: [0-9a-f]{64}\Z"),
    "edit_file": re.compile(r"(?<=\n\n)sha256: [0-9a-f]{64}\Z"),
}


def comparable(case: Case, answer: Answer) -> Answer:
    """``answer`` of fsserver without what it adds to every answer of its kind."""
    calls = [_plain(call.tool, each) for call, each in zip(case.calls, answer["answers"], strict=True)]
    return {**answer, "answers": calls}


def _plain(tool: str, answer: Answer) -> Answer:
    if tool == "read_multiple_files" and "text" in answer:
        return {**answer, "text": _ADDED_INLINE.sub("", answer["text"])}
    if "error" in answer:
        return {**answer, "error": _ADDED.sub("", answer["error"])}
    if tool in _DIGEST and "text" in answer:
        return {**answer, "text": _DIGEST[tool].sub("", answer["text"])}
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
        pairs += [(part, ours["annotations"].get(part), value) for part, value in theirs["annotations"].items()]
        problems += [f"{name}: {what} is {mine!r}, not {his!r}" for what, mine, his in pairs if mine != his]
        problems += [
            f"{name}: {part} is {ours['parameters'].get(part)!r}, not {value!r}"
            for part, value in theirs["parameters"].items()
            if not _takes_the_same(ours["parameters"].get(part, {}), value)
        ]
    return problems


def _takes_the_same(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    """Whether a schema takes what the reference's does.

    Whole numbers will do for numbers, and the defaults `[]` and `false` need not be written.
    """
    kinds = {theirs["type"], "integer"} if theirs["type"] == "number" else {theirs["type"]}
    if ours.get("type") not in kinds or (ours.get("default") or None) != (theirs.get("default") or None):
        return False
    if ours.get("enum") != theirs.get("enum") or ours.get("minItems") != theirs.get("minItems"):
        return False
    if "items" in theirs:
        return _takes_the_same(ours.get("items", {}), theirs["items"])
    if set(ours.get("required", [])) != set(theirs.get("required", [])):
        return False
    properties = ours.get("properties", {})
    return all(_takes_the_same(properties.get(name, {}), value) for name, value in theirs.get("properties", {}).items())
