"""Of a large file each way of reading takes what it needs, in bytes read and in memory held."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fsserver.paths.reading import read_all
from fsserver.paths.workspace import Access, ClientPath
from fsserver.policy.compiled import Limits
from fsserver.tools.files.line_index import LineIndex
from fsserver.tools.files.media import MAX_MEDIA_BYTES
from fsserver.tools.text.marks import STEP_BYTES
from tests.gates import Served, served, texts
from tests.trees import rules

KIB, MIB, GIB = 1024, 1024**2, 1024**3
RESULT = 64 * KIB
MORE = 64 * KIB  # what else the process reads meanwhile: its own io file, pytest's pipes


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Served]:
    top = tmp_path / "work"
    top.mkdir()
    with served(tmp_path, [rules(top)], index=LineIndex(clock=lambda: 2**62)) as running:
        yield running


def bytes_read() -> int:
    """What this process has read so far, also from holes and from the page cache (proc_pid_io(5))."""
    for line in Path("/proc/self/io").read_text().splitlines():
        if line.startswith("rchar:"):
            return int(line.split()[1])
    raise AssertionError("no rchar")


def cost(work: Callable[[], Any]) -> tuple[Any, int, int]:
    """What it returns, the bytes that it read, and the bytes of memory that it held at most."""
    tracemalloc.start()
    try:
        before = bytes_read()
        found = work()
        return found, bytes_read() - before, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def sparse(path: Path, size: int, ends: bytes = b"") -> None:
    """``ends`` at the beginning and at the end, and a hole between them."""
    with open(path, "wb") as file:
        file.write(ends)
        file.truncate(size)
        file.seek(size - len(ends))
        file.write(ends)


@pytest.mark.parametrize(
    ("arguments", "text", "most"),
    [
        ({"head": 1}, "first", 128 * KIB),
        ({"offset": 1, "limit": 1}, "first\n", 128 * KIB),
        ({"offset": 2, "limit": 1}, "second\n", STEP_BYTES + 128 * KIB),
        ({"tail": 2}, "second\n", 128 * KIB),
    ],
)
def test_lines_at_the_ends_of_a_terabyte_cost_no_more_than_those_of_a_small_file(
    gate: Served, arguments: dict[str, Any], text: str, most: int
) -> None:
    sparse(gate.top / "f", 1024 * GIB, b"first\nsecond\n")
    found, read, held = cost(lambda: gate.text("read_text_file", path="f", encoding="latin-1", **arguments))
    assert found == text
    assert read <= most + MORE
    assert held <= 2 * MIB


ALL = GIB
PART = 3 * RESULT


@pytest.mark.parametrize(
    ("arguments", "shown", "says", "most"),
    [
        ({}, RESULT - 512, "Line 1 is longer than a result", PART),
        ({"head": 1}, RESULT - 512, "Line 1 is longer than a result", PART),
        ({"offset": 1}, RESULT - 512, "Line 1 is longer than a result", PART),
        ({"limit": 1}, RESULT - 512, "Line 1 is longer than a result", PART),
        ({"offset": 2}, 0, "The file has 1 lines; line 2 is past its end.", ALL),
        ({"lineNumbers": True}, RESULT - 512, "Line 1 is longer than a result", PART),
        ({"offset": 2, "lineNumbers": True}, 0, "The file has 1 lines; line 2 is past its end.", ALL),
        ({"tail": 1}, 0, "The last line alone is longer than a result", PART),
        ({"tail": 1, "lineNumbers": True}, 0, "The last line alone is longer than a result", PART),
    ],
)
def test_gigabyte_without_a_line_end_is_bounded(
    gate: Served, arguments: dict[str, Any], shown: int, says: str, most: int
) -> None:
    sparse(gate.top / "f", GIB)
    result, read, held = cost(lambda: gate.call("read_text_file", path="f", encoding="latin-1", **arguments))
    text, note = texts(result)
    assert len(text) == shown
    assert says in note
    assert read <= most + MORE
    assert held <= 2 * MIB


def test_second_range_and_a_numbered_tail_read_one_step(gate: Served) -> None:
    lines = [f"{number:07d} {'x' * (number % 90)}\n" for number in range(200_000)]
    (gate.top / "f").write_text("".join(lines))
    size = (gate.top / "f").stat().st_size
    _, read, _ = cost(lambda: gate.text("read_text_file", path="f", offset=190_001, limit=2))
    assert read > size * 0.9
    for first, count in ((190_001, 2), (100_001, 1), (7, 1)):
        found, read, _ = cost(partial(gate.text, "read_text_file", path="f", offset=first, limit=count))
        assert found == "".join(lines[first - 1 : first - 1 + count])
        assert read <= STEP_BYTES + 128 * KIB + MORE
    gate.text("read_text_file", path="f", tail=2, lineNumbers=True)
    found, read, _ = cost(lambda: gate.text("read_text_file", path="f", tail=2, lineNumbers=True))
    assert found == f"200000\t{lines[-1]}"
    assert read <= STEP_BYTES + 128 * KIB + MORE


def test_range_past_the_end_is_known_the_second_time(gate: Served) -> None:
    (gate.top / "f").write_bytes(b"0123456\n" * 500_000)
    for most in (4 * MIB, STEP_BYTES):
        result, read, _ = cost(lambda: gate.call("read_text_file", path="f", offset=600_000))
        assert texts(result) == ["", "The file has 500000 lines; line 600000 is past its end."]
        assert read <= most + MORE


def test_several_huge_files_are_read_as_far_as_they_are_shown(tmp_path: Path) -> None:
    for number in range(20):
        with open(tmp_path / f"f{number}", "wb") as file:
            file.write(b"0123456789abcde\n" * (MIB // 16))
            file.truncate(GIB)
    with served(tmp_path, [rules(tmp_path)], limits=Limits(result_bytes=4 * MIB)) as gate:
        paths = [f"f{number}" for number in range(20)]
        result, read, held = cost(lambda: gate.call("read_multiple_files", paths=paths))
    text, note = texts(result)
    assert note.count("Cut after line ") == 20
    assert sum(len(each) for each in (text, note)) <= 4 * MIB
    assert len(text) > 3 * MIB
    assert read <= 5 * MIB
    assert held <= 24 * MIB


def test_media_up_to_the_limit_are_read_and_above_it_not_at_all(gate: Served) -> None:
    sparse(gate.top / "most.png", MAX_MEDIA_BYTES, b"ends")
    assert not gate.call("read_media_file", path="most.png").is_error
    for size in (MAX_MEDIA_BYTES + 1, 1024 * GIB):
        sparse(gate.top / "more.png", size, b"ends")
        error, read, held = cost(lambda: gate.error("read_media_file", path="more.png"))
        assert error["code"] == "limit.file_size"
        assert error["message"] == f"The file is larger than the 16777216 bytes that are allowed: {gate.top}/more.png"
        assert error["allowedInstead"].startswith("a smaller copy of it; if it is text, read_text_file")
        assert "rule" not in error
        assert read <= MORE
        assert held <= MIB


def test_media_over_the_roots_own_limit_name_its_rule(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x" * 101)
    (tmp_path / "b.png").write_bytes(b"x" * 100)
    with served(tmp_path, [rules(tmp_path, max_file=100)]) as gate:
        assert not gate.call("read_media_file", path="b.png").is_error
        error = gate.error("read_media_file", path="a.png")
    assert error["message"] == f"The file is larger than the 100 bytes that are allowed: {tmp_path}/a.png"
    assert error["rule"] == "policy.yaml:7"
    assert error["allowedInstead"].startswith("a smaller copy of it")


def test_file_that_claims_less_than_it_gives_is_counted_as_it_is_read(tmp_path: Path) -> None:
    """As one that grows between the look at its size and the end of the reading; those in /proc claim 0 bytes."""
    with served(tmp_path, [rules(Path(f"/proc/{os.getpid()}"), max_file=100)]) as gate:
        assert (gate.top / "maps").stat().st_size == 0
        for tool, arguments in (("read_media_file", {"path": "maps"}), ("read_text_file", {"path": "maps"})):
            assert gate.error(tool, **arguments)["code"] == "limit.file_size"
        assert "is larger than the 100 bytes that are allowed" in gate.text("read_multiple_files", paths=["maps"])
        assert gate.text("read_text_file", path="maps", head=1).count(" ") > 3


def test_whole_file_is_held_once(gate: Served) -> None:
    size = 16 * MIB
    sparse(gate.top / "f", size, b"x")
    with gate.session.workspace.target(ClientPath("f"), Access.READ) as target:
        (data, _), _, held = cost(lambda: read_all(target, size))
    assert len(data) == size
    assert held < size + MIB
