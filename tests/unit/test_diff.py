"""Unified diffs: letter for letter those of the npm package diff, recorded; and true whatever the size."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from fsserver.tools.editing.diff import MOST_LINES, NOT_SHOWN, SHORT_LINES, fenced, unified
from fsserver.tools.editing.spans import Region

RECORDED: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data/jsdiff.json").read_text("utf-8"))
HEADER = f"Index: /f\n{'=' * 67}\n--- /f\toriginal\n+++ /f\tmodified\n"


def whole(old: str, new: str) -> list[Region]:
    return [Region(0, len(old), 0, len(new))]


@pytest.mark.parametrize(("old", "new", "diff"), RECORDED["diffs"])
def test_diff_is_the_references(old: str, new: str, diff: str) -> None:
    assert unified("/f", old, new, whole(old, new)) == diff


def test_no_region_gives_the_header_only() -> None:
    assert unified("/f", "a\n", "a\n", []) == HEADER


def patched(old: str, diff: str) -> str:
    """What patch(1) makes of it."""
    lines = old.split("\n")
    lines = [line + "\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
    result: list[str] = []
    position = 0
    body = diff.removeprefix(HEADER).split("\n")[:-1]
    for index, line in enumerate(body):
        found = re.fullmatch(r"@@ -(\d+),(\d+) \+\d+,\d+ @@", line)
        if found:
            start = int(found[1]) - (int(found[2]) > 0)
            result += lines[position:start]
            position = start
        elif not line.startswith("\\"):
            last = body[index + 1].startswith("\\") if index + 1 < len(body) else False
            text = line[1:] + ("" if last else "\n")
            if line[0] != "+":
                assert lines[position] == text
                position += 1
            if line[0] != "-":
                result.append(text)
    return "".join(result + lines[position:])


def test_long_file_is_compared_inside_the_regions_only() -> None:
    lines = [f"line {number}\n" for number in range(SHORT_LINES * 5)]
    old = "".join(lines)
    start, end = old.index("line 5000\n"), old.index("line 5002\n")
    new = old[:start] + "new\n" + old[end:]
    diff = unified("/f", old, new, [Region(start, end, start, start + 4)])
    assert diff.count("\n@@ ") == 1
    assert "-line 5000\n-line 5001\n+new\n" in diff
    assert patched(old, diff) == new


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("x\n" * 200_000, "x\n" * 199_990 + "y\n" * 10),
        ("".join(f"{n}\n" for n in range(50_000)), "".join(f"{n}\n" for n in range(50_000, 0, -1))),
        ("ab" * 500_000, "ab" * 400_000),
        ("x\ny\n" * 50_000, "y\nx\n" * 50_000),
    ],
    ids=["repetitive", "reversed", "one long line", "alternating"],
)
def test_hostile_texts_take_bounded_time_and_the_diff_is_true(old: str, new: str) -> None:
    started = time.thread_time()
    diff = unified("/f", old, new, whole(old, new))
    assert time.thread_time() - started < 5
    assert patched(old, diff) == new


@pytest.mark.parametrize(
    ("old", "new", "between"),
    [("x\n" * 400, "y\n" * 400, "line\n" * 20), ("x", "y", "a" * 600)],
    ids=["long", "in one line"],
)
def test_many_edited_places_take_bounded_time_and_the_diff_is_true(old: str, new: str, between: str) -> None:
    before, count = "\n" * (SHORT_LINES + 1), 40_000 // len(old)
    text = before + (old + between) * count
    starts = [len(before) + number * len(old + between) for number in range(count)]
    regions = [Region(start, start + len(old), start, start + len(new)) for start in starts]
    started = time.thread_time()
    diff = unified("/f", text, text.replace(old, new), regions)
    assert time.thread_time() - started < 3
    assert patched(text, diff) == text.replace(old, new)


@pytest.mark.parametrize("lines", [1, SHORT_LINES + 1], ids=["short", "long"])
def test_more_lines_than_a_call_may_hold_are_not_compared(lines: int) -> None:
    old, new = "x\n" * lines, "\n" * (MOST_LINES + 1)
    assert unified("/f", old, new, whole(old, new)) == HEADER + NOT_SHOWN


@pytest.mark.parametrize(("old", "new", "diff"), RECORDED["diffs"])
def test_diff_of_regions_is_as_true_and_counts_as_many_lines(
    old: str, new: str, diff: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What long texts get, forced on short ones, in the middle of more text."""
    monkeypatch.setattr("fsserver.tools.editing.diff.SHORT_LINES", -1)
    first = next(
        (i for i, pair in enumerate(zip(old, new, strict=False)) if pair[0] != pair[1]), min(len(old), len(new))
    )
    for before, after in (("", ""), ("line\n" * 100, ""), ("line\n" * 100, "x\n" * 200)):
        one, other = before + old + after, before + new + after
        start = len(before) + first
        regions = [Region(start, len(before) + len(old), start, len(before) + len(new))] if old != new else []
        made = unified("/f", one, other, regions)
        assert patched(one, made) == other
        for header in re.findall(r"^@@ -(\d+),(\d+) \+(\d+),(\d+) @@\n((?:[ +\\-].*\n)*)", made, re.MULTILINE):
            body = header[4].split("\n")[:-1]
            assert sum(line[0] in " -" for line in body) == int(header[1])
            assert sum(line[0] in " +" for line in body) == int(header[3])


def test_a_line_ending_that_changes_shows() -> None:
    assert "-a\r\n+a\n" in unified("/f", "a\r\n", "a\n", whole("a\r\n", "a\n"))


@pytest.mark.parametrize(
    ("inside", "fence"), [("x", "```"), ("a ``` b", "````"), ("`" * 7, "`" * 8), ("` `` `", "```")]
)
def test_fence_is_longer_than_any_inside(inside: str, fence: str) -> None:
    assert fenced(f"+{inside}\n") == f"{fence}diff\n+{inside}\n{fence}\n\n"
