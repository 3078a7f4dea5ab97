"""The index of lines: what was scanned once is not scanned again, and what changed is never answered from it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from fsserver.paths.reading import Identity, OpenFile
from fsserver.tools.control import Control
from fsserver.tools.files.line_index import SETTLED_NS, LineIndex
from fsserver.tools.text.codec import UTF8, Codec, codec_of
from fsserver.tools.text.lines import count_line_ends, skip_lines
from fsserver.tools.text.marks import Marks

STEP = 64
LINES = [b"line %05d\n" % number for number in range(2000)]
DATA = b"".join(LINES)


def later() -> int:
    """A clock by which every file has been left alone for long."""
    return 2**62


def index(max_files: int = 4) -> LineIndex:
    return LineIndex(max_files=max_files, clock=later, empty=lambda: Marks(STEP, 1024))


class Counted:
    """An open file that counts the bytes that are read, and can be disturbed after some of them."""

    def __init__(self, file: OpenFile, after: int = 0, disturb: Callable[[], None] | None = None) -> None:
        self.file = file
        self.read = 0
        self._after = after
        self._disturb = disturb

    def __call__(self, offset: int, count: int) -> bytes:
        data = self.file.read_at(offset, count)
        self.read += len(data)
        if self._disturb is not None and self.read >= self._after:
            disturb, self._disturb = self._disturb, None
            disturb()
        return data


@contextmanager
def opened(path: Path) -> Iterator[OpenFile]:
    descriptor = os.open(path, os.O_RDONLY)
    with OpenFile(descriptor, os.fstat(descriptor), str(path)) as file:
        yield file


def line(
    known: LineIndex, path: Path, number: int, codec: Codec = UTF8, disturb: Callable[[], None] | None = None
) -> tuple[tuple[int, int], int]:
    """Where line ``number``, from 0, begins, and how many bytes were read to find it."""
    with opened(path) as file:
        read_at = Counted(file, len(DATA) // 4, disturb)
        found = known.scan(file, codec, partial(skip_lines, read_at, codec, number, Control()))
        return found, read_at.read


def renew(path: Path, change: Callable[[], object]) -> None:
    """Change the file, and see to it that it has another time also where the file system's clock ticks slowly."""
    before = path.stat()
    change()
    for _ in range(10**6):
        if path.stat().st_ctime_ns != before.st_ctime_ns:
            return
        os.utime(path)
    raise AssertionError("the file system's clock stands still")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "f").write_bytes(DATA)
    return tmp_path / "f"


@pytest.mark.parametrize("second", [0, 1, 10, 1500, 1999, 2000, 5000])
def test_second_range_reads_from_the_nearest_mark(path: Path, second: int) -> None:
    known = index()
    assert line(known, path, 1999) == ((11 * 1999, 1999), len(DATA))
    found, read = line(known, path, second)
    assert found == (11 * min(second, 2000), min(second, 2000))
    assert read <= STEP


def test_line_ends_before_an_offset_are_counted_from_the_nearest_mark(path: Path) -> None:
    known = index()
    line(known, path, 2000)
    for end in (0, 1, STEP, STEP + 1, 11000, len(DATA)):
        with opened(path) as file:
            read_at = Counted(file)
            count = known.scan(file, UTF8, partial(count_line_ends, read_at, UTF8, end, Control()))
        assert count == DATA[:end].count(b"\n")
        assert read_at.read <= STEP


def test_later_scan_goes_on_where_the_first_one_ended(path: Path) -> None:
    known = index()
    _, first = line(known, path, 1000)
    _, second = line(known, path, 1999)
    assert first + second <= 11 * 1999 + 3 * STEP


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("rewritten", lambda path: path.write_bytes(DATA.replace(b"line 00003\n", b"line\n00003\n"))),
        ("grown", lambda path: path.write_bytes(DATA + b"more\n")),
        ("cut", lambda path: path.write_bytes(DATA[:11000])),
        (
            "touched, its time put back",
            lambda path: os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns)),
        ),
        ("replaced", lambda path: (path.with_name("g").write_bytes(DATA), path.with_name("g").rename(path))),
    ],
)
def test_changed_file_is_scanned_anew(path: Path, what: str, change: Callable[[Path], object]) -> None:
    known = index()
    line(known, path, 1999)
    renew(path, lambda: change(path))
    data = path.read_bytes()
    found, read = line(known, path, 900)
    assert found == (len(b"".join(data.splitlines(keepends=True)[:900])), 900), what
    assert read >= 900 * 11 - STEP, what


def test_file_changed_during_a_scan_is_not_answered_from_before(path: Path) -> None:
    known = index()
    line(known, path, 1000)
    changed = DATA.replace(b"line 00003\n", b"line\n00003\n")
    # The scan begins at the mark near line 1,000; then the beginning of the file gets one more line.
    found, read = line(known, path, 1800, disturb=lambda: renew(path, lambda: path.write_bytes(changed)))
    assert found == (11 * 1799, 1800)
    assert read > len(DATA) // 2
    assert line(known, path, 1800)[0] == found


def test_file_that_changed_a_moment_ago_is_not_kept(path: Path) -> None:
    """It could change again within one tick of the clock that gives it its times."""
    now = path.stat().st_ctime_ns
    for since, kept in ((SETTLED_NS - 1, False), (SETTLED_NS + 1, True)):
        known = LineIndex(clock=partial(int, now + since), empty=lambda: Marks(STEP))
        line(known, path, 1999)
        assert (line(known, path, 1999)[1] <= STEP) is kept


def test_other_encoding_has_marks_of_its_own(path: Path) -> None:
    path.write_bytes("ab\u0a0a\n".encode("utf-16-le") * 500)  # 8 bytes, three of them 0A
    known = index()
    wide = codec_of(b"", "utf-16-le")
    for _ in range(2):
        assert line(known, path, 400, wide)[0] == (400 * 8, 400)
        assert line(known, path, 400)[0] == (133 * 8 + 5, 400)


def test_only_so_many_files_are_known_and_the_oldest_goes(tmp_path: Path) -> None:
    known = index(max_files=2)
    for name in "abc":
        (tmp_path / name).write_bytes(DATA)
        line(known, tmp_path / name, 1999)
    assert [line(known, tmp_path / name, 1999)[1] <= STEP for name in "cb"] == [True, True]
    assert line(known, tmp_path / "a", 1999)[1] > STEP


def test_marks_stay_few_and_right() -> None:
    marks = Marks(8, 4)
    for place in range(1, 1000):
        marks.add(place * 8, place)
        assert len(marks._counts) <= 4
    for number in range(0, 1200, 7):
        offset, seen = marks.before_line(number)
        assert seen * 8 == offset
        assert seen < max(number, 1)
        assert number * 8 - offset <= 2048 or offset == marks.reach
    assert marks.before_offset(10**9)[0] == marks.reach


def test_calls_at_once_find_what_one_finds(path: Path) -> None:
    known = index()
    start = threading.Barrier(4)

    def some(seed: int) -> list[tuple[int, tuple[int, int]]]:
        start.wait(10)
        return [(number, line(known, path, number)[0]) for number in range(seed * 7, 2000, 97)]

    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(some, range(4)):
            assert found == [(number, (11 * number, number)) for number, _ in found]


def test_identity_tells_a_rewrite_of_the_same_size(path: Path) -> None:
    with opened(path) as file:
        assert file.identity_now() == Identity.of(file.stat)
        renew(path, lambda: path.write_bytes(DATA[::-1]))
        assert file.identity_now() != Identity.of(file.stat)
