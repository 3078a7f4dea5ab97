"""What is hard to search: that its answer is bounded and says why, and that a small read goes on beside it."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from benchmarks import source_corpus
from benchmarks.measure import Check, Job, beside, expect, paired_p50, timed
from benchmarks.processes import Peaks
from benchmarks.search_jobs import NOTHING, content_job, exactly, names_job, places
from benchmarks.search_report import Meanwhile
from benchmarks.source_corpus import WORD, Hostile, Place, Source
from tests.compat.wire import Connection

MOST_OF_IDLE = 1.3
LEAST_WORDS = 20  # characters: less explains nothing
SHOWN = 72
LARGE_REGEX = "(a{1000}){1000}"
BACKTRACKING_REGEX = "(x+x+)+y"
NOWHERE = "[0-9]{7}"


@dataclass(frozen=True, slots=True)
class Case:
    """One call that is hard.

    Attributes:
        job: the call, from what there is to search.
        on_code: on the server whose root is the source code; else on that of the hostile files.
        around: entered while it is called again and again, and while the read is timed without it.
    """

    name: str
    job: Callable[[Source, Hostile], Job]
    on_code: bool = False
    around: Callable[[Hostile], AbstractContextManager[None]] = lambda _: contextlib.nullcontext()


def measured(
    case: Case, server: Connection, read: Job, source: Source, hostile: Hostile, rounds: int, reads: int
) -> Meanwhile:
    """The reads beside it in each round, then the memory that it takes, alone."""
    told: list[dict[str, Any]] = []
    job = case.job(source, hostile)

    def check(result: dict[str, Any]) -> None:
        job.check(result)
        told.append(result)

    hard = Job(job.tool, job.arguments, check)
    idle, during, took = [], [], []
    for _ in range(rounds):
        with case.around(hostile):
            before = paired_p50([server], [read], reads)[0]
            fast, slow = beside(server, read, hard, reads)
            after = paired_p50([server], [read], reads)[0]
        took += slow
        if len(fast) >= reads:
            idle.append((before + after) / 2)
            during.append(statistics.median(fast))
    with case.around(hostile), Peaks(server.pid) as peaks:
        timed(server, hard)
    held = [peaks.server, peaks.launcher, peaks.cell, peaks.cell_anonymous]
    return Meanwhile(case.name, took, _shortly(told[0], hostile.root), idle, during, held, MOST_OF_IDLE)


def _shortly(result: dict[str, Any], root: str) -> str:
    """An answer as a table shows it."""
    texts = [each["text"] for each in result["content"] if each["type"] == "text"]
    if result.get("isError"):
        said = f"refused: {texts[0]}"
    else:
        count = 0 if texts[0] == NOTHING else texts[0].count("\n") + 1
        said = ". ".join([f"{count:,} line{'s' if count > 1 else ''}" if count else NOTHING, *texts[1:]])
    line = " ".join(said.replace(root, "…").replace("|", "¦").split())
    return line if len(line) <= SHOWN else f"{line[: SHOWN - 1]}…"


# --- whether an answer is right


def _refused(result: dict[str, Any]) -> bool:
    """Whether it is an error; then it has to be one that a reader can act on."""
    if not result.get("isError"):
        return False
    said = result["content"][0]["text"]
    expect(len(said) >= LEAST_WORDS and "Traceback" not in said, f"an error that explains nothing: {said!r}")
    return True


def _refused_or(check: Check) -> Check:
    def either(result: dict[str, Any]) -> None:
        if not _refused(result):
            check(result)

    return either


def _stopped_with_note(result: dict[str, Any]) -> None:
    """Not all of it, and said so."""
    expect(bool(places(result)), "nothing found")
    expect(len(result["content"]) > 1, "nothing says that it was stopped")


def _any_of(known: Collection[Place]) -> Check:
    """What vanishes meanwhile need not be there; everything else has to be true."""

    def check(result: dict[str, Any]) -> None:
        more = set(places(result)) - set(known)
        expect(not more, f"{len(more)} found that never were there, such as {next(iter(more), None)}")

    return check


def _single_line(path: str) -> Check:
    """The place in the file, with as much of its line as fits; or a note why it is left out."""

    def check(result: dict[str, Any]) -> None:
        said = " ".join(each["text"] for each in result["content"])
        expect(f"{path}:1:" in said or len(result["content"]) > 1, f"the match is lost: {said[:200]!r}")

    return check


# --- the cases


def _going(hostile: Hostile) -> str:
    return f"{hostile.root}/going"


CASES = (
    Case(
        f"the regex `{LARGE_REGEX}`, where nothing matches",
        lambda source, _: content_job(source.root, LARGE_REGEX, _refused_or(exactly(()))),
        on_code=True,
    ),
    Case(
        f"the regex `{BACKTRACKING_REGEX}`, where nothing matches",
        lambda source, _: content_job(source.root, BACKTRACKING_REGEX, exactly(())),
        on_code=True,
    ),
    Case(
        f"the regex `{NOWHERE}`, where nothing matches",
        lambda source, _: content_job(source.root, NOWHERE, exactly(())),
        on_code=True,
    ),
    Case(
        "the regex `.`, which matches everywhere",
        lambda source, _: content_job(source.root, ".", _stopped_with_note),
        on_code=True,
    ),
    Case(
        "a word at the end of a line of 1 GB",
        lambda _, hostile: content_job(
            hostile.single_line, WORD, _refused_or(_single_line(hostile.single_line)), literal=True
        ),
    ),
    Case(
        "search_files in 1,000,000 empty files",
        lambda _, hostile: names_job(hostile.tiny, "**/*.needle", hostile.tiny_needles),
    ),
    Case(
        "a word in 1,000,000 empty files",
        lambda _, hostile: content_job(hostile.tiny, WORD, exactly(()), literal=True),
    ),
    Case(
        "a word in a tree that is being deleted",
        lambda _, hostile: content_job(
            _going(hostile), WORD, _refused_or(_any_of(source_corpus.going_words(_going(hostile)))), literal=True
        ),
        around=lambda hostile: source_corpus.going(_going(hostile)),
    ),
    Case(
        "a word in a tree with pipes that nobody writes",
        lambda _, hostile: content_job(hostile.pipes, WORD, exactly(hostile.pipe_words), literal=True),
    ),
)
