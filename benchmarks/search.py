"""``python -m benchmarks.search``: search at scale, its section of docs/performance.md.

Compared in the same run, sample beside sample: ripgrep alone, Desktop Commander, and a small read with nothing else
running. Every answer is compared with what was put into the files.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from benchmarks import report, servers, source_corpus
from benchmarks.corpus import text
from benchmarks.desktop_commander import NAME as COMMANDER
from benchmarks.desktop_commander import desktop_commander
from benchmarks.measure import WrongAnswerError, in_turn, timed
from benchmarks.processes import own_resident_bytes
from benchmarks.report import Line, PerCall
from benchmarks.search_cases import CASES, measured
from benchmarks.search_jobs import (
    STOPPED_AFTER,
    Commander,
    Ripgrep,
    content_job,
    exactly,
    names_job,
    read_job,
    some_of,
)
from benchmarks.search_report import Meanwhile, search_section
from benchmarks.source_corpus import Hostile, Place, Source
from tests.compat.install import MissingError
from tests.compat.wire import Connection, WireError

LIMITS = "{result: 4MiB}"
MOST_OF_RIPGREP = 1.2
SMALL_CALLS = 20_000
WARM_CALLS = 2_000
MOST_GROWTH_BYTES = 5_000_000


@dataclass(frozen=True, slots=True)
class Scale:
    """How much and how often. ``calls`` a round where one call is timed, ``reads`` beside a slow one."""

    files: source_corpus.Scale
    rounds: int
    calls: int
    reads: int
    small_calls: int


FULL = Scale(source_corpus.FULL, 7, 3, 200, SMALL_CALLS)
QUICK = Scale(source_corpus.QUICK, 2, 2, 40, SMALL_CALLS // 10)


@dataclass(frozen=True, slots=True)
class Bench:
    """What a part has at hand.

    Attributes:
        code, hard: servers on the source code and on what is hard to search.
        commander: None, and why, if it could not be installed.
    """

    scale: Scale
    source: Source
    hostile: Hostile
    code: Connection
    hard: Connection
    ripgrep: Ripgrep
    commander: Commander | None
    absent: str = ""


@dataclass(slots=True)
class Found:
    """All that was measured."""

    lines: list[Line] = field(default_factory=list)
    cases: list[Meanwhile] = field(default_factory=list)
    explanation: list[str] = field(default_factory=list)


# --- what is measured


def words(bench: Bench, found: Found) -> None:
    """A word that is in 100 of 100,000 files, and where the time of its search goes."""
    source = bench.source
    job = content_job(source.root, source_corpus.WORD, exactly(source.words), literal=True)
    small = _first_line(source)
    one = content_job(small.path, small.text, exactly({small}), literal=True)
    alone = bench.ripgrep
    subjects = [
        lambda: timed(bench.code, job),
        lambda: alone.grep(source_corpus.WORD, source.root, source.words | source.denied, literal=True),
        lambda: alone.grep(source_corpus.WORD, source.root, source.words | source.denied, literal=True, threads=1),
        lambda: timed(bench.code, one),
        lambda: alone.grep(small.text, small.path, {small}, literal=True),
    ]
    if bench.commander is not None:
        commander = bench.commander
        subjects.append(lambda: commander.grep(source_corpus.WORD, source.root, source.words | source.denied))
    own, rg, thread, own_one, rg_one, *others = in_turn(subjects, bench.scale.rounds, bench.scale.calls, 0)
    name = f"a word that is in {len(source.words)} of {bench.scale.files.files:,} files"
    found.lines += [
        PerCall(name, "rg", "s", rg, own, limit=MOST_OF_RIPGREP).line(),
        PerCall(name, "rg with one thread", "s", thread, own).line(),
        _beside_commander(name, bench, others[0] if others else [], own),
        PerCall("a word in one small file", "rg", "s", rg_one, own_one).line(),
    ]
    whole, least, one_small = (statistics.median(each) for each in (own, rg, own_one))
    seconds = [report.shown(each, "s") for each in (whole, least, one_small, whole - least - one_small)]
    told = (
        f"**A word in {bench.scale.files.files:,} files.** Of the {seconds[0]}, {seconds[1]} are what rg takes for "
        f"{source.total_bytes / 1e6:,.0f} MB without any sandbox. {seconds[2]} are what any search takes, measured on "
        "one small file: the call, handing it to a cell, starting rg there, reading what it prints."
    )
    if whole > least + one_small:
        told += (
            f" The other {seconds[3]} were not measured one by one: opening each file in the sandbox, the order of the "
            "paths, the policy's word on each file found."
        )
    found.explanation.append(told)


def patterns(bench: Bench, found: Found) -> None:
    """A regex without a literal, and a word that is everywhere."""
    source = bench.source
    codes = content_job(source.root, source_corpus.CODE, exactly(source.codes))
    common = content_job(source.root, source_corpus.COMMON, some_of(source.root, source_corpus.COMMON), literal=True)
    own, rg, own_common, rg_common = in_turn(
        [
            lambda: timed(bench.code, codes),
            lambda: bench.ripgrep.grep(source_corpus.CODE, source.root, source.codes),
            lambda: timed(bench.code, common),
            lambda: bench.ripgrep.first(source_corpus.COMMON, source.root, STOPPED_AFTER),
        ],
        bench.scale.rounds,
        bench.scale.calls,
        0,
    )
    found.lines += [
        PerCall(f"the regex `{source_corpus.CODE}`, the same files", "rg", "s", rg, own).line(),
        PerCall(
            f"a word that is everywhere, stopped after {STOPPED_AFTER:,} lines", "rg", "s", rg_common, own_common
        ).line(),
    ]


def lines_of_one_file(bench: Bench, found: Found) -> None:
    """One line of a file of 1 GB."""
    place = bench.hostile.lines_place
    job = content_job(bench.hostile.lines, place.text, exactly({place}), literal=True)
    own, rg = in_turn(
        [
            lambda: timed(bench.hard, job),
            lambda: bench.ripgrep.grep(place.text, bench.hostile.lines, {place}, literal=True),
        ],
        bench.scale.rounds,
        bench.scale.calls,
        0,
    )
    size = os.path.getsize(bench.hostile.lines) / 1e9
    found.lines.append(PerCall(f"one of the lines of {size:.1f} GB", "rg", "s", rg, own).line())


def names(bench: Bench, found: Found) -> None:
    """Names that match a glob."""
    source = bench.source
    job = names_job(source.root, "**/*.needle", source.needles)
    subjects = [
        lambda: timed(bench.code, job),
        lambda: bench.ripgrep.names(source.root, ".needle", source.needles),
    ]
    if bench.commander is not None:
        commander = bench.commander
        subjects.append(lambda: commander.names("*.needle", source.root, source.needles))
    own, rg, *others = in_turn(subjects, bench.scale.rounds, bench.scale.calls, 0)
    name = f"`**/*.needle` in {bench.scale.files.files:,} files"
    found.lines += [
        PerCall(name, "rg --files -uu", "s", rg, own, limit=MOST_OF_RIPGREP).line(),
        _beside_commander(name, bench, others[0] if others else [], own),
    ]
    each, least = (f"{statistics.median(times) / bench.scale.files.files * 1e6:.2g} µs" for times in (own, rg))
    found.explanation.append(
        f"**Names.** search_files takes {each} for each file, `rg --files -uu` {least} on {os.cpu_count()} processors. "
        "What fsserver does more: it gives the names in order, and asks the policy about each."
    )


def meanwhile(bench: Bench, found: Found) -> None:
    """What is hard to search, a small read beside it, and the memory that it takes."""
    for case in CASES:
        server = bench.code if case.on_code else bench.hard
        root = bench.source.root if case.on_code else bench.hostile.root
        read = read_job(f"{root}/small.txt")
        answer = measured(case, server, read, bench.source, bench.hostile, bench.scale.rounds, bench.scale.reads)
        print(" · ".join(answer.cells()), flush=True)
        found.cases.append(answer)


def small_calls(bench: Bench, found: Found) -> None:
    """What a server keeps of many calls."""
    small = _first_line(bench.source)
    each = [*[read_job(small.path)] * 19, content_job(small.path, small.text, exactly({small}), literal=True)]

    def after(calls: int) -> float:
        for number in range(calls):
            timed(bench.code, each[number % len(each)])
        return own_resident_bytes(bench.code.pid)

    before = after(min(WARM_CALLS, bench.scale.small_calls))
    found.lines.append(
        PerCall(
            f"memory of the server after {bench.scale.small_calls:,} small calls, one in {len(each)} a search",
            f"after {WARM_CALLS:,}",
            "B",
            [before],
            [after(bench.scale.small_calls)],
            limit=MOST_GROWTH_BYTES,
            difference=True,
        ).line()
    )


def _first_line(source: Source) -> Place:
    """Of the file of 1 KB."""
    return Place(f"{source.root}/small.txt", 1, 1, text(1024).split("\n")[0])


def _beside_commander(name: str, bench: Bench, theirs: Sequence[float], own: Sequence[float]) -> Line:
    if bench.commander is None:
        middle = report.shown(statistics.median(own), "s")
        return Line(name, f"{COMMANDER}, absent: {bench.absent}", "-", middle, "-", "-", None)
    return PerCall(name, COMMANDER, "s", theirs, own).line()


PARTS: dict[str, Callable[[Bench, Found], None]] = {
    "words": words,
    "patterns": patterns,
    "lines": lines_of_one_file,
    "names": names,
    "meanwhile": meanwhile,
    "calls": small_calls,
}


# --- the run


@contextlib.contextmanager
def _bench(base: str, scale: Scale) -> Iterator[Bench]:
    ripgrep = Ripgrep.found()
    for name in ("code", "hard", "commander"):
        os.mkdir(f"{base}/{name}")
    source = source_corpus.build_source(f"{base}/code/root", scale.files)
    hostile = source_corpus.build_hostile(f"{base}/hard/root", scale.files)
    for root in (source.root, hostile.root):
        with open(f"{root}/small.txt", "w", encoding="utf-8") as file:
            file.write(text(1024))
    os.sync()  # what is still to be written would be written while something is timed
    with contextlib.ExitStack() as held:
        code, hard = (held.enter_context(servers.fsserver(each.root, LIMITS).start()) for each in (source, hostile))
        for server in (code, hard):
            server.handshake()
        commander, absent = None, ""
        try:
            command = desktop_commander(f"{base}/commander", source.root)
        except MissingError as error:
            absent = str(error).splitlines()[0]
        else:
            commander = Commander(held.enter_context(command.start()))
        yield Bench(scale, source, hostile, code, hard, ripgrep, commander, absent)


def _corpus(bench: Bench) -> str:
    source = bench.source
    return (
        f"The code is {bench.scale.files.files:,} files of {source.total_bytes / 1e6:,.0f} MB in directories of "
        f"{source_corpus.PER_DIRECTORY}, up to four below each other, all in the page cache, beside some more that are "
        f"ignored by `.gitignore`, hidden, or denied by the policy; rg alone also finds the {len(source.denied)} "
        "places in denied files."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 measured, 1 a wrong answer, 2 something has to be installed first."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few files and rounds, for development")
    parser.add_argument("--only", default="", metavar="TEXT", help=f"parts whose name holds TEXT: {' '.join(PARTS)}")
    parser.add_argument("--strict", action="store_true", help="exit 1 also when a limit is not kept")
    options = parser.parse_args(arguments)
    gc.disable()  # the client's own pauses would be counted as the server's
    load = os.getloadavg()[0]
    if load > 1:
        print(f"this machine is busy (load {load:.1f}): what is measured on it says little", flush=True)
    found = Found()
    try:
        with tempfile.TemporaryDirectory(prefix="fsserver-bench-") as base:
            print("building files", flush=True)
            with _bench(os.path.realpath(base), QUICK if options.quick else FULL) as bench:
                corpus = _corpus(bench)
                for name, part in PARTS.items():
                    if options.only in name:
                        before = len(found.lines)
                        part(bench, found)
                        print("\n".join(" · ".join(line.cells()) for line in found.lines[before:]), flush=True)
    except MissingError as error:
        print(f"make bench: {error}", file=sys.stderr)
        return 2
    except (WrongAnswerError, WireError) as error:
        print(f"make bench: {error}", file=sys.stderr)
        return 1
    section = search_section(found.lines, found.cases, corpus, found.explanation, load)
    if options.quick or options.only:
        print(section)
    else:
        report.replace_section(report.SEARCH, section)
        print(f"\nwritten: {os.path.relpath(report.DOCUMENT)}")
    missed = [each.reached is False for each in found.lines] + [each.reached is False for each in found.cases]
    return 1 if options.strict and any(missed) else 0


if __name__ == "__main__":
    sys.exit(main())
