"""Trees that are searched, the same on every run: source code with known places in it, and what is hard to search."""

from __future__ import annotations

import bisect
import contextlib
import math
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate

from benchmarks.corpus import SEED, line, text, write_lines

WORD = "zephyrquill"
"""Nowhere but where `build` puts it."""
WORD_PLACES = 100
CODE = "[A-Z]{2}-[0-9]{6}"
"""A regex without a literal; it matches only where `build` puts a code."""
CODE_PLACES = 60
COMMON = "return"
PER_DIRECTORY = 100
BRANCHES = 8
MEAN_BYTES = 5_000
SIGMA = 0.8
SUFFIXES = (".py", ".c", ".h", ".js", ".ts", ".go", ".rs", ".md", ".json", ".txt")
NEEDLE_EVERY = 1000
POOL_LINES = 40_000
GOING_FILES = 20_000
GOING_EVERY = 50
PIPE_FILES = 200
MEGABYTE = 1 << 20

DELETE = """
import os, shutil, sys, time
for name in sorted(os.listdir(sys.argv[1])):
    shutil.rmtree(os.path.join(sys.argv[1], name))
    time.sleep(0.01)
"""
"""Deletes a tree piece by piece, at a pace that leaves the processors to others."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything."""

    files: int
    tiny_files: int
    lines: int
    single_line_bytes: int


FULL = Scale(100_000, 1_000_000, 10_800_000, 1_000 * MEGABYTE)
QUICK = Scale(5_000, 50_000, 540_000, 50 * MEGABYTE)


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """One line that matches: where it is, from 1, and its text."""

    path: str
    line: int
    column: int
    text: str


@dataclass(frozen=True, slots=True)
class Source:
    """The tree of source code and what the right answers are.

    Attributes:
        words: of `WORD` where every search finds it.
        denied: of `WORD` in files that the preset ``secrets`` denies and no other rule hides.
        codes: of `CODE`.
        needles: paths of the files called ``*.needle``.
        total_bytes: of all files.
    """

    root: str
    words: frozenset[Place]
    denied: frozenset[Place]
    codes: frozenset[Place]
    needles: frozenset[str]
    total_bytes: int


@dataclass(frozen=True, slots=True)
class Hostile:
    """What is hard to search, beneath one directory.

    Attributes:
        tiny: a million empty files; ``tiny_needles`` of them are called ``*.needle``.
        lines: one file of many lines; ``lines_place`` is the only match of its text.
        single_line: one file that is one line, `WORD` at its end.
        pipes: a few files beside pipes that nobody writes; ``pipe_words`` are the places of `WORD`.
    """

    root: str
    tiny: str
    tiny_needles: frozenset[str]
    lines: str
    lines_place: Place
    single_line: str
    pipes: str
    pipe_words: frozenset[Place]


class _Text:
    """Source code without end: cuts of one pool of lines, and places put between them."""

    def __init__(self) -> None:
        self.pick = random.Random(SEED)
        names = ["_".join(self.pick.choices(_SYLLABLES, k=self.pick.randint(1, 3))) for _ in range(2_000)]
        lines = [self._line(names) for _ in range(POOL_LINES)]
        self._pool = b"".join(lines)
        self._starts = list(accumulate((len(each) for each in lines), initial=0))

    def _line(self, names: list[str]) -> bytes:
        form = self.pick.choice(_FORMS)
        first, second, third = self.pick.choices(names, k=3)
        indented = "    " * self.pick.randint(0, 3)
        return f"{indented}{form.format(first, second, third, self.pick.randint(0, 99_999))}\n".encode()

    def some(self) -> bytes:
        """Whole lines of a log-normal size whose mean is `MEAN_BYTES`."""
        size = int(self.pick.lognormvariate(math.log(MEAN_BYTES) - SIGMA**2 / 2, SIGMA))
        first = self.pick.randrange(POOL_LINES // 2)
        begin = self._starts[first]
        last = max(first + 1, bisect.bisect(self._starts, begin + size) - 1)
        return self._pool[begin : self._starts[min(last, POOL_LINES)]]

    def with_place(self, path: str, before: str, found: str, after: str) -> tuple[bytes, Place]:
        """Some lines, one of which is known: ``found`` in it is what a search finds."""
        lines = self.some().splitlines(keepends=True)
        number = self.pick.randrange(len(lines) + 1)
        known = f"{before}{found}{after}"
        lines.insert(number, f"{known}\n".encode())
        return b"".join(lines), Place(path, number + 1, len(before) + 1, known)


_SYLLABLES = ("count", "row", "limit", "index", "table", "node", "buffer", "parse", "read", "write", "path", "entry")
_FORMS = (
    "def {0}({1}, {2}):",
    "return {0}({1}) + {3}",
    "if {0} > {1} and not {2}:",
    "{0}.{1} = {2}[{3}]",
    "for {0} in {1}({2}):",
    "// {0} {1} of the {2}, see {3}",
    'log.info("{0} {1}", {2})',
    "static int {0}(struct {1} *{2}) {{",
    "}}",
    "",
)


def build_source(root: str, scale: Scale) -> Source:
    """Make ``root``: code in directories of directories, and beside it what is ignored, hidden or denied."""
    made = _Text()
    directories = list(_directories(root, scale.files // PER_DIRECTORY))
    os.mkdir(f"{root}/.git")  # without one, a search that goes by .gitignore does not look for it
    _write(f"{root}/.gitignore", b"build/\n*.log\n")
    _write(f"{directories[-1]}/.gitignore", b"generated-*\n")
    marked = made.pick.sample(range(scale.files), WORD_PLACES + CODE_PLACES)
    for_word, for_code = set(marked[:WORD_PLACES]), set(marked[WORD_PLACES:])
    words, codes, denied, needles = set(), set(), set(), set()
    total = 0
    for number in range(scale.files):
        needle = number % NEEDLE_EVERY == NEEDLE_EVERY // 2
        suffix = ".needle" if needle else SUFFIXES[number % len(SUFFIXES)]
        path = f"{directories[number // PER_DIRECTORY]}/{_SYLLABLES[number % len(_SYLLABLES)]}_{number}{suffix}"
        if needle:
            needles.add(path)
        if number in for_word:
            content, place = made.with_place(path, f"    value_{number} = ", WORD, "(row)")
            words.add(place)
        elif number in for_code:
            content, place = made.with_place(path, "    code = '", f"QZ-{number:06d}", "'")
            codes.add(place)
        else:
            content = made.some()
        total += _write(path, content)
    for directory in directories[:: len(directories) // 25 or 1]:
        denied.add(_unfound(directory, made))
    _write(f"{directories[-1]}/generated-1.py", f"{WORD}\n".encode())
    return Source(root, frozenset(words), frozenset(denied), frozenset(codes), frozenset(needles), total)


def _directories(root: str, number: int) -> Iterator[str]:
    """``root`` and directories below it, a few levels deep, each made."""
    made = [root]
    for place in range(number):
        if place:
            made.append(f"{made[(place - 1) // BRANCHES]}/{_SYLLABLES[place % len(_SYLLABLES)]}-{place}")
        os.mkdir(made[place])
        yield made[place]


def _unfound(directory: str, made: _Text) -> Place:
    """`WORD` where a search does not find it: ignored, hidden, denied. Gives the place that only a policy denies."""
    known = f"{WORD} = 1\n".encode()
    os.mkdir(f"{directory}/build")
    for number in range(40):
        _write(f"{directory}/build/made_{number}.o.txt", made.some() + known)
    for name in ("run.log", ".notes.txt", ".env", "server.key"):
        _write(f"{directory}/{name}", known)
    return Place(f"{directory}/server.key", 1, 1, f"{WORD} = 1")


def build_hostile(root: str, scale: Scale) -> Hostile:
    """Make ``root``: more files, longer lines and other files than a search expects.

    On ext4 it takes minutes instead of seconds where as many files were deleted in the last five minutes, as by a run
    before: the kernel goes past inodes that were in use lately (recently_deleted in fs/ext4/ialloc.c).
    """
    os.mkdir(root)
    tiny, pipes = f"{root}/tiny", f"{root}/pipes"
    os.mkdir(tiny)
    directories = [f"{tiny}/part-{number:04d}" for number in range(scale.tiny_files // 1000)]
    with multiprocessing.Pool(os.cpu_count()) as pool:
        pool.map(_empty_files, directories)
    lines, single_line = f"{root}/lines.log", f"{root}/single-line.txt"
    write_lines(lines, scale.lines)
    middle = line(scale.lines // 2)
    with open(single_line, "wb") as file:
        block = text(MEGABYTE).replace("\n", " ").encode()
        file.writelines(block for _ in range(scale.single_line_bytes // MEGABYTE))
        file.write(WORD.encode())
    return Hostile(
        root,
        tiny,
        frozenset(f"{directory}/file-000.needle" for directory in directories[::10]),
        lines,
        Place(lines, scale.lines // 2, 1, middle),
        single_line,
        pipes,
        frozenset(_pipes(pipes)),
    )


def _empty_files(directory: str) -> None:
    os.mkdir(directory)
    descriptor = os.open(directory, os.O_PATH)
    for number in range(1000):
        suffix = "needle" if number == 0 and directory.endswith("0") else "txt"
        os.mknod(f"file-{number:03d}.{suffix}", 0o644, dir_fd=descriptor)
    os.close(descriptor)


def _pipes(directory: str) -> Iterable[Place]:
    os.mkdir(directory)
    made = _Text()
    for number in range(PIPE_FILES):
        path = f"{directory}/file-{number:03d}.txt"
        if number % 20 == 0:
            os.mkfifo(f"{directory}/file-{number:03d}-pipe.txt")
        content, place = made.with_place(path, "at ", WORD, "")
        _write(path, content)
        yield place


@contextlib.contextmanager
def going(root: str) -> Iterator[None]:
    """A tree at ``root`` that a process deletes meanwhile; `going_words` says where `WORD` was."""
    for number in range(GOING_FILES):
        parent = f"{root}/part-{number // 100:03d}"
        if number % 100 == 0:
            os.makedirs(parent)
        _write(f"{parent}/file-{number:05d}.txt", f"{'nothing' if number % GOING_EVERY else WORD}\n".encode())
    with subprocess.Popen([sys.executable, "-I", "-c", DELETE, root]) as deleting:
        try:
            yield
        finally:
            deleting.kill()
    shutil.rmtree(root)


def going_words(root: str) -> frozenset[Place]:
    return frozenset(
        Place(f"{root}/part-{number // 100:03d}/file-{number:05d}.txt", 1, 1, WORD)
        for number in range(0, GOING_FILES, GOING_EVERY)
    )


def _write(path: str, content: bytes) -> int:
    """The number of bytes."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        return os.write(descriptor, content)
    finally:
        os.close(descriptor)
