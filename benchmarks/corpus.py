"""The files that are measured on: seeded, the same on every run, beneath one temporary directory."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass

SEED = 20260831
FILLERS = 997
LINE_BYTES = 100


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything. At most ``rounds`` rounds a row, ``calls`` calls a round for rows that are fast."""

    rounds: int
    calls: int
    list_entries: int
    tree_entries: int
    search_files: int
    huge_lines: int
    pipelined: int
    growth_calls: int


FULL = Scale(7, 200, 10_000, 10_000, 100_000, 10_800_000, 1_000, 20_000)
QUICK = Scale(3, 40, 1_000, 1_000, 5_000, 540_000, 200, 2_000)
BATCH = 100


@dataclass(frozen=True, slots=True)
class Corpus:
    """Absolute paths and what the right answers are."""

    root: str
    scale: Scale

    def path(self, name: str) -> str:
        return f"{self.root}/{name}"

    def batch(self) -> list[str]:
        """The paths of small files of 1 to 10 KB."""
        return [self.path(f"batch/file-{number:03d}.txt") for number in range(BATCH)]

    def line(self, number: int) -> str:
        """Line ``number``, from 1, of ``huge.log``."""
        return line(number)


def _fillers() -> list[str]:
    """Rests of lines between 40 and 140 characters, so that no reader can compute where a line begins."""
    pick = random.Random(SEED)
    letters = "abcdefghijklmnopqrstuvwxyz      "
    return ["".join(pick.choices(letters, k=pick.randint(LINE_BYTES - 60, LINE_BYTES + 40))) for _ in range(FILLERS)]


_FILLERS = _fillers()


def text(size: int) -> str:
    """``size`` characters of ASCII text in lines."""
    lines: list[str] = []
    total = 0
    while total < size:
        lines.append(_FILLERS[len(lines) % FILLERS])
        total += len(lines[-1]) + 1
    return ("\n".join(lines) + "\n")[: size - 1] + "\n"


def line(number: int) -> str:
    """Line ``number``, from 1, of every file that `write_lines` writes."""
    return f"{number:09d} {_FILLERS[number % FILLERS]}"


def build(root: str, scale: Scale) -> Corpus:
    """Make ``root`` and everything below it."""
    os.mkdir(root)
    corpus = Corpus(root, scale)
    _write(corpus.path("small.txt"), text(1024))
    _write(corpus.path("large.txt"), text(1024 * 1024))
    os.mkdir(corpus.path("batch"))
    for number, path in enumerate(corpus.batch()):
        _write(path, text(1024 + number * 9 * 1024 // BATCH))
    _flat(corpus.path("flat"), scale.list_entries)
    _nested(corpus.path("tree"), scale.tree_entries, per_directory=20, suffix=".txt")
    _nested(corpus.path("many"), scale.search_files, per_directory=100, suffix=".dat")
    write_lines(corpus.path("huge.log"), scale.huge_lines)
    return corpus


def _write(path: str, content: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(content)


def _flat(directory: str, entries: int) -> None:
    os.mkdir(directory)
    for number in range(entries):
        name = f"{directory}/entry-{number:06d}.txt"
        if number % 10:
            _write(name, "")
        else:
            os.mkdir(name)


def _nested(directory: str, entries: int, *, per_directory: int, suffix: str) -> None:
    """``entries`` files in directories of directories; every thousandth file is a ``.needle``."""
    for number in range(entries):
        group, place = divmod(number, per_directory)
        parent = f"{directory}/part-{group // 32:03d}/group-{group:05d}"
        if place == 0:
            os.makedirs(parent)
        _write(f"{parent}/file-{number:06d}{'.needle' if number % 1000 == 500 else suffix}", "")


def write_lines(path: str, lines: int) -> None:
    """Real lines on real blocks: a sparse file would be read without a disk or a cache behind it."""
    step = 100_000
    with open(path, "w", encoding="ascii") as file:
        for start in range(1, lines + 1, step):
            stop = min(start + step, lines + 1)
            file.write("\n".join([line(number) for number in range(start, stop)]) + "\n")
