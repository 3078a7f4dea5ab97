"""What is measured: one function a row, and one table of rows with their targets."""

from __future__ import annotations

import itertools
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from benchmarks.corpus import BATCH, Corpus, text
from benchmarks.measure import Check, Job, exchanged, expect, p50_during, paired_p50, pipelined_rate, result_text, timed
from benchmarks.processes import resident_bytes
from benchmarks.servers import Command
from fsserver.tools.files.line_index import SETTLED_NS
from tests.compat.wire import Connection

RANGE_LINES = 100


@dataclass(slots=True)
class Bench:
    """What a row has at hand: both servers running, how to start more, and the files."""

    corpus: Corpus
    commands: tuple[Command, Command]
    servers: tuple[Connection, Connection]
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def next_number(self) -> int:
        """Another number at each call, so that no two writes are alike."""
        return next(self.numbers)


Pair = tuple[float, float]
Round = Callable[[Bench], Pair]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        unit: of the two values; ``s``, ``B``, ``calls/s`` or ``ratio``.
        target: what the ratio fsserver / reference must reach; None is a row that only explains.
        measure: one round: the value of each server, in the order reference, fsserver.
        at_least: the target is a lower bound.
        own: the target is for fsserver's value, not for the ratio: the value itself is one already.
        rounds: how many rounds at most.
    """

    name: str
    unit: str
    target: float | None
    measure: Round
    at_least: bool = False
    own: bool = False
    rounds: int = 7


def _equal_text(expected: str) -> Callable[[dict[str, Any]], None]:
    def check(result: dict[str, Any]) -> None:
        found = result_text(result)
        expect(found == expected, f"{len(found)} characters, not the {len(expected)} expected: {found[:120]!r}")

    return check


def _latency(job: Callable[[Bench], Job], calls: int | None = None) -> Round:
    def measure(bench: Bench) -> Pair:
        each = job(bench)
        reference, fsserver = paired_p50(bench.servers, [each, each], calls or bench.corpus.scale.calls)
        return reference, fsserver

    return measure


def _small(bench: Bench) -> Job:
    return Job("read_text_file", {"path": bench.corpus.path("small.txt")}, _equal_text(text(1024)))


def _large(bench: Bench) -> Job:
    return Job("read_text_file", {"path": bench.corpus.path("large.txt")}, _equal_text(text(1024 * 1024)))


def _allowed(bench: Bench) -> Job:
    return Job("list_allowed_directories", {}, _equal_text(f"Allowed directories:\n{bench.corpus.root}"))


def _list(bench: Bench) -> Job:
    path = bench.corpus.path("flat")
    with os.scandir(path) as entries:
        expected = {f"[{'DIR' if entry.is_dir() else 'FILE'}] {entry.name}" for entry in entries}

    def check(result: dict[str, Any]) -> None:
        lines = result_text(result).split("\n")
        expect(len(lines) == len(expected) and set(lines) == expected, f"{len(lines)} lines, not {len(expected)}")

    return Job("list_directory", {"path": path}, check)


def _tree(bench: Bench) -> Job:
    def count(nodes: list[dict[str, Any]]) -> int:
        return sum(count(node["children"]) if node["type"] == "directory" else 1 for node in nodes)

    def check(result: dict[str, Any]) -> None:
        found = count(json.loads(result_text(result)))
        expect(found == bench.corpus.scale.tree_entries, f"{found} files in the tree")

    return Job("directory_tree", {"path": bench.corpus.path("tree")}, check)


def _search(bench: Bench) -> Job:
    expected = len(range(500, bench.corpus.scale.search_files, 1000))

    def check(result: dict[str, Any]) -> None:
        lines = result_text(result).split("\n")
        expect(len(lines) == expected, f"{len(lines)} files found, not {expected}")
        expect(all(line.endswith(".needle") for line in lines), "another name was found")

    return Job("search_files", {"path": bench.corpus.path("many"), "pattern": "**/*.needle"}, check)


def _head(bench: Bench) -> Job:
    expected = "\n".join(bench.corpus.line(number) for number in range(1, RANGE_LINES + 1))

    def check(result: dict[str, Any]) -> None:
        expect(result_text(result).rstrip("\n") == expected.rstrip("\n"), "not the first lines")

    return Job("read_text_file", {"path": bench.corpus.path("huge.log"), "head": RANGE_LINES}, check)


def _tail(bench: Bench) -> Job:
    """The reference counts the empty text after the last newline as a line, so the first line may be absent."""
    last = bench.corpus.scale.huge_lines
    expected = [bench.corpus.line(number) for number in range(last - RANGE_LINES + 1, last + 1)]

    def check(result: dict[str, Any]) -> None:
        lines = result_text(result).rstrip("\n").split("\n")
        expect(lines in (expected, expected[1:]), f"not the last lines: {lines[:1]}")

    return Job("read_text_file", {"path": bench.corpus.path("huge.log"), "tail": RANGE_LINES}, check)


def _middle(*, again: bool) -> Round:
    """A plain Python scan to lines in the middle, and fsserver's answer for them: the first one for this version of the
    file, or one after it gave others near them.
    """

    def measure(bench: Bench) -> Pair:
        path = bench.corpus.path("huge.log")
        first = bench.corpus.scale.huge_lines // 2
        if again:
            _wait_until_settled(path)
            timed(bench.servers[-1], _range(bench, first, _some_text))
            first += 10 * RANGE_LINES
        else:
            os.utime(path)
        started = time.perf_counter()
        with open(path, "rb") as file:
            lines = [line.decode() for line in islice(file, first - 1, first - 1 + RANGE_LINES)]
        scan = time.perf_counter() - started
        return scan, timed(bench.servers[-1], _range(bench, first, _equal_text("".join(lines))))

    return measure


def _range(bench: Bench, first: int, check: Check) -> Job:
    return Job("read_text_file", {"path": bench.corpus.path("huge.log"), "offset": first, "limit": RANGE_LINES}, check)


def _some_text(result: dict[str, Any]) -> None:
    expect(bool(result_text(result)), "no text")


def _wait_until_settled(path: str) -> None:
    """Until fsserver goes by the file's times: just after a change they may not tell the next one."""
    time.sleep(max(0.0, (os.stat(path).st_ctime_ns + SETTLED_NS - time.time_ns()) / 1e9 + 0.1))


def _several(bench: Bench, files: int) -> Job:
    paths = bench.corpus.batch()[:files]
    pieces = []
    for path in paths:
        with open(path, encoding="utf-8") as file:
            pieces.append(f"{path}:\n{file.read()}\n")
    return Job("read_multiple_files", {"paths": paths}, _equal_text("\n---\n".join(pieces)))


def _growth(bench: Bench) -> Pair:
    """Resident memory of a fsserver that has served some reads, and how much more it is after many."""
    at_once = 500
    jobs = [_small(bench), _range(bench, bench.corpus.scale.huge_lines // 2, _some_text), _several(bench, 10)]
    with bench.commands[-1].start() as server:
        server.handshake()
        for job in jobs:
            pipelined_rate(server, job, at_once)
        before = resident_bytes(server.pid)
        for _, job in zip(range(bench.corpus.scale.growth_calls // at_once), itertools.cycle(jobs), strict=False):
            pipelined_rate(server, job, at_once)
        return before, max(resident_bytes(server.pid) - before, 0.0)


def _write(fresh: bool) -> Round:
    """Each call writes other text, and what it wrote must be on the disk."""

    def measure(bench: Bench) -> Pair:
        times: list[list[float]] = [[] for _ in bench.servers]
        for _ in range(bench.corpus.scale.calls):
            for place, server in enumerate(bench.servers):
                number = bench.next_number()
                path = bench.corpus.path(f"written-{place}-{number if fresh else 'again'}.txt")
                content = f"{number:09d} {text(1014)}"
                times[place].append(timed(server, Job("write_file", {"path": path, "content": content}, _written)))
                with open(path, encoding="utf-8") as file:
                    expect(file.read() == content, "the file does not hold what was written")
                if fresh:
                    os.unlink(path)
        return statistics.median(times[0]), statistics.median(times[-1])

    return measure


def _written(result: dict[str, Any]) -> None:
    expect(result_text(result).startswith("Successfully wrote to "), "not written")


def _each_started(measure: Callable[[Command], float]) -> Round:
    return lambda bench: (measure(bench.commands[0]), measure(bench.commands[-1]))


def _memory(command: Command) -> float:
    """Resident memory of the whole process tree after the handshake and one list of the tools."""
    with command.start() as server:
        server.handshake()
        server.request("tools/list", {})
        return resident_bytes(server.pid)


def _cold_start(command: Command) -> float:
    started = time.perf_counter()
    with command.start() as server:
        server.handshake()
        tools = server.request("tools/list", {})["tools"]
        elapsed = time.perf_counter() - started
    expect(any(tool["name"] == "read_text_file" for tool in tools), "no tools")
    return elapsed


def _each_running(measure: Callable[[Bench, Connection], float]) -> Round:
    return lambda bench: (measure(bench, bench.servers[0]), measure(bench, bench.servers[-1]))


def _pipelined(bench: Bench, server: Connection) -> float:
    return pipelined_rate(server, _small(bench), bench.corpus.scale.pipelined)


def _while(slow: Callable[[Bench], Job]) -> Round:
    """p50 of a 1 KB read while the slow call runs, over its p50 in the same round with nothing else running."""

    def measure(bench: Bench, server: Connection) -> float:
        fast, calls = _small(bench), bench.corpus.scale.calls
        before = paired_p50([server], [fast], calls)[0]
        during = p50_during(server, fast, slow(bench), calls)
        after = paired_p50([server], [fast], calls)[0]
        return during / ((before + after) / 2)

    return _each_running(measure)


def _ping(bench: Bench) -> Pair:
    times: list[list[float]] = [[] for _ in bench.servers]
    for _ in range(bench.corpus.scale.calls):
        for place, server in enumerate(bench.servers):
            elapsed, result = exchanged(server, "ping", {})
            expect(isinstance(result, dict), "no answer to a ping")
            times[place].append(elapsed)
    return statistics.median(times[0]), statistics.median(times[-1])


ROWS: tuple[Row, ...] = (
    Row("ping", "s", None, _ping),
    Row("list allowed directories", "s", None, _latency(_allowed)),
    Row("read 1 KB", "s", 1.0, _latency(_small)),
    Row("read 1 MB", "s", 0.7, _latency(_large, 20)),
    Row("list 10,000 entries", "s", 1.0, _latency(_list, 10)),
    Row("tree of 10,000", "s", 0.4, _latency(_tree, 1), rounds=5),
    Row("name search in 100,000 files", "s", 0.0125, _latency(_search, 1), rounds=3),
    Row("head of 1 GB", "s", 1.0, _latency(_head, 100)),
    Row("tail of 1 GB", "s", 1.0, _latency(_tail, 100)),
    Row("lines in the middle of 1 GB; against a plain Python scan", "s", 1.5, _middle(again=False), rounds=3),
    Row("lines in the middle of 1 GB, second time; against that scan", "s", 0.05, _middle(again=True), rounds=3),
    Row(f"read {BATCH} files at once", "s", 0.5, _latency(lambda bench: _several(bench, BATCH), 30)),
    Row("write 1 KB, replacing", "s", 1.0, _write(fresh=False)),
    Row("write 1 KB, new file", "s", 1.0, _write(fresh=True)),
    Row("idle resident memory", "B", 1.2, _each_started(_memory), rounds=3),
    Row("growth in 20,000 reads; beside what was resident before", "B", 5e6, _growth, own=True, rounds=1),
    Row("cold start to tools/list", "s", 2.2, _each_started(_cold_start)),
    Row("1,000 reads of 1 KB written at once", "calls/s", 1.0, _each_running(_pipelined), at_least=True),
    Row("read 1 KB during a search / idle", "ratio", 1.3, _while(_search), own=True, rounds=3),
    Row("read 1 KB during a tree / idle", "ratio", 1.3, _while(_tree), own=True, rounds=3),
)
