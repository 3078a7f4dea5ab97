"""Whatever ranges are read of a text, and however it changes between them, the index of lines changes no answer."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fsserver.policy.compiled import Limits
from fsserver.tools.files.line_index import LineIndex
from fsserver.tools.text.marks import Marks
from tests.gates import Served, served, texts
from tests.trees import rules

BUDGET = 128  # of text, of a result of 256 bytes; a longer file is scanned for lines
STEP = 16

TEXTS = st.lists(st.text("ab\ré€😀\u0a0a", max_size=30), min_size=1, max_size=12).map("\n".join)
NUMBERS = st.integers(1, 80)
RANGES = st.one_of(
    st.builds(lambda offset, limit: {"offset": offset, "limit": limit}, NUMBERS, st.integers(1, 20)),
    st.builds(lambda offset: {"offset": offset}, NUMBERS),
    st.builds(lambda offset: {"offset": offset, "limit": 3, "lineNumbers": True}, NUMBERS),
    st.builds(lambda tail: {"tail": tail, "lineNumbers": True}, st.integers(1, 30)),
)
EDITS = st.one_of(
    st.builds(lambda more: lambda text: text + more, TEXTS),
    st.builds(lambda more: lambda text: more + text, TEXTS),
    st.builds(lambda at: lambda text: text[: at % (len(text) + 1)], NUMBERS),
    st.builds(lambda at: lambda text: _swapped(text, at), NUMBERS),
)


def _swapped(text: str, at: int) -> str:
    """Of the same length: a letter and a line end change places."""
    at %= max(len(text) - 1, 1)
    return text[:at] + text[at + 1 : at + 2] + text[at : at + 1] + text[at + 2 :]


def naive(text: str, wanted: dict[str, Any]) -> str:
    """The lines asked for, of the whole text in memory, before anything is cut."""
    lines = text.split("\n")
    if "tail" in wanted:
        first = max(len(lines) - wanted["tail"], 0)
        kept = "\n".join(lines[first:])
    else:
        first = wanted["offset"] - 1
        ends = [*(line + "\n" for line in lines[:-1]), lines[-1]]
        kept = "".join(ends[first : first + wanted["limit"]] if "limit" in wanted else ends[first:])
    if not wanted.get("lineNumbers") or not kept:
        return kept
    numbered = [f"{number:6d}\t{line}" for number, line in enumerate(kept.removesuffix("\n").split("\n"), first + 1)]
    return "\n".join(numbered) + ("\n" if kept.endswith("\n") else "")


def fits(text: str) -> str:
    """What a result shows of it: whole lines, or the beginning of one that is too long."""
    data = text.encode()
    if len(data) <= BUDGET:
        return text
    return data[: data.rfind(b"\n", 0, BUDGET) + 1 or BUDGET].decode(errors="ignore")


def renewed(path: Path, text: str, encoding: str) -> None:
    """Write it, with another time also where the file system's clock ticks slowly."""
    before = path.stat().st_ctime_ns if path.exists() else 0
    path.write_bytes(text.encode(encoding))
    for _ in range(10**6):
        if path.stat().st_ctime_ns != before:
            return
        os.utime(path)
    raise AssertionError("the file system's clock stands still")


def require_right(gate: Served, text: str, wanted: dict[str, Any], encoding: str) -> None:
    result = gate.call("read_text_file", path="f", encoding=encoding, **wanted)
    assert not result.is_error, result
    whole = naive(text, wanted)
    if "tail" not in wanted or len(whole.encode()) <= BUDGET:
        assert texts(result)[0] == fits(whole)
    else:
        assert whole.endswith(texts(result)[0])


@settings(max_examples=60, deadline=None)
@given(
    text=TEXTS,
    times=st.integers(1, 20),
    steps=st.lists(st.tuples(st.none() | EDITS, st.lists(RANGES, min_size=1, max_size=4)), min_size=1, max_size=4),
    encoding=st.sampled_from(["utf-8", "utf-16-le", "utf-16-be", "utf-32-le"]),
)
def test_answers_with_the_index_are_those_of_the_text(
    text: str,
    times: int,
    steps: list[tuple[Callable[[str], str] | None, list[dict[str, Any]]]],
    encoding: str,
) -> None:
    text = "\n".join([text] * times)
    with tempfile.TemporaryDirectory() as directory:
        top = Path(directory) / "top"
        top.mkdir()
        renewed(top / "f", text, encoding)
        index = LineIndex(clock=lambda: 2**62, empty=lambda: Marks(STEP, 64))
        limits = Limits(result_bytes=256)
        with served(Path(directory), [rules(top)], limits=limits, index=index) as gate:
            for edit, ranges in steps:
                if edit is not None:
                    text = edit(text)
                    renewed(top / "f", text, encoding)
                for wanted in ranges:
                    require_right(gate, text, wanted, encoding)
