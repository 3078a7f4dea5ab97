"""Globs of clients: the answers are minimatch's, recorded; the time is bounded, whatever is asked."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from fsserver.errors import BadArguments
from fsserver.tools.globbing.braces import expand
from fsserver.tools.globbing.globs import compile_any, compile_glob

RECORDED: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data/minimatch.json").read_text("utf-8"))
PATHS: list[str] = RECORDED["paths"]


def test_every_recorded_pattern_matches_what_minimatch_matches() -> None:
    differing = {}
    for pattern, hits in RECORDED["rows"].items():
        matches = compile_glob(pattern)
        found = [number for number, path in enumerate(PATHS) if matches(path)]
        if found != hits:
            differing[pattern] = [PATHS[number] for number in set(found) ^ set(hits)]
    assert not differing
    assert len(RECORDED["rows"]) > 600


HOSTILE_PATTERNS = {
    "stars and letters": "*a" * 500 + "b",
    "stars and any": ("*" + "?" * 30) * 60 + "x",
    "many sections": "**/a/" * 400 + "b",
    "sections with stars": "**/*a*/" * 280 + "b",
    "one long tail": "*" + "a" * 2000 + "b",
    "classes": "*[!b]" * 300 + "c",
    "braces": "{a,b}" * 8 + "*" * 10,
    "braces and sections": "**/{*a*b,*b*a}/" * 4 + "c",
    "long tail of segments": "**/" + "a*/" * 500 + "b",
    "negated": "!" + "*a" * 900,
}
HOSTILE_PATHS = ("a" * 4095, "/".join(["a" * 255] * 16), "a/" * 2047 + "a", "ab" * 2000, "/".join(["aa"] * 1300))


@pytest.mark.parametrize("pattern", HOSTILE_PATTERNS.values(), ids=HOSTILE_PATTERNS.keys())
def test_hostile_pattern_on_hostile_path_takes_milliseconds(pattern: str) -> None:
    matches = compile_glob(pattern)
    for path in HOSTILE_PATHS:
        started = time.thread_time()  # of this thread alone: other tests run beside it
        matches(path)
        assert time.thread_time() - started < 0.25


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("a" * 2049, "2048 characters"),
        ("+(a|b)", "not available"),
        ("x/@(a|b)/y", "not available"),
        ("{1..1000}", "more than 256"),
        ("{a,b}" * 20, "more than 256"),
        ("{a," * 30 + "b" + "}" * 30, "nested"),
        ("{" + ",".join(["x" * 40] * 40) + "}" + "{a,b,c,d,e,f}", "8192 characters"),
        ("[[:punct:]]", "not available"),
    ],
)
def test_pattern_that_is_too_much_is_refused_with_the_reason(pattern: str, says: str) -> None:
    with pytest.raises(BadArguments, match=says):
        compile_glob(pattern)


def test_any_matches_what_one_of_them_matches() -> None:
    matches = compile_any(["*.py", "x/**"])
    assert matches is not None
    assert [path for path in ("a.py", "x/y", "x", "b/a.py") if matches(path)] == ["a.py", "x/y"]
    assert compile_any([]) is None


@pytest.mark.parametrize(
    ("pattern", "patterns"),
    [
        ("a{b,c}d", ["abd", "acd"]),
        ("a{b,{c,d}e}", ["ab", "ace", "ade"]),
        ("{01..3}", ["01", "02", "03"]),
        ("{c..a}", ["c", "b", "a"]),
        ("a{b}c", ["a{b}c"]),
        ("{a", ["{a"]),
        (r"\{a,b}", [r"\{a,b}"]),
        ("${a,b}", ["$a", "$b"]),
        ("", [""]),
    ],
)
def test_braces_expand_as_in_bash(pattern: str, patterns: list[str]) -> None:
    assert expand(pattern) == patterns
