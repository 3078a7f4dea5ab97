"""What was measured of search, as its section of docs/performance.md. For `benchmarks.search`."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from benchmarks.report import SEARCH, Line, aligned, command_table, machine, ratio_text, shown


@dataclass(frozen=True, slots=True)
class Meanwhile:
    """One call that is hard, and a small read that goes on beside it.

    Attributes:
        took: seconds of the hard call, each time.
        answer: what it said.
        idle, beside: the p50 of the read in each round, alone and while the hard call ran.
        peaks: bytes; the most that the server, the launcher and the biggest cell held, and that cell of no file's.
    """

    name: str
    took: Sequence[float]
    answer: str
    idle: Sequence[float]
    beside: Sequence[float]
    peaks: Sequence[float]
    limit: float

    @property
    def ratios(self) -> list[float]:
        return sorted(beside / idle for idle, beside in zip(self.idle, self.beside, strict=True))

    @property
    def reached(self) -> bool | None:
        """None: it never ran long enough for a read beside it."""
        return statistics.median(self.ratios) <= self.limit if self.ratios else None

    def cells(self) -> list[str]:
        verdict = {None: "-", True: "yes", False: "no"}[self.reached]
        values = ["-", "-", "-"]
        if self.ratios:
            ratios = [ratio_text(each) for each in (statistics.median(self.ratios), self.ratios[0], self.ratios[-1])]
            values = [
                shown(statistics.median(self.idle), "s"),
                shown(statistics.median(self.beside), "s"),
                f"{ratios[0]} ({ratios[1]} … {ratios[2]})",
            ]
        peaks = ", ".join(shown(each, "B").removesuffix(" MB") for each in self.peaks)
        took = shown(statistics.median(self.took), "s")
        return [self.name, took, self.answer, *values, f"≤ {self.limit:g}", verdict, peaks]


MEANWHILE_HEADER = [
    "while this runs",
    "it takes",
    "it answers",
    "read 1 KB, idle",
    "beside it",
    "ratio (min … max)",
    "limit",
    "kept",
    "peak MB: server, launcher, cell, its anonymous part",
]


def meanwhile_table(cases: Sequence[Meanwhile]) -> str:
    return aligned([MEANWHILE_HEADER, *(case.cells() for case in cases)])


def search_section(
    lines: Sequence[Line], cases: Sequence[Meanwhile], corpus: str, explanation: Sequence[str], load: float
) -> str:
    """The section of docs/performance.md about search. ``corpus``: what is searched. ``load``: before the run."""
    missed = [f"{line.name}, beside {line.other}" for line in lines if line.reached is False]
    missed += [f"read 1 KB beside: {case.name}" for case in cases if case.reached is False]
    verdict = "Every limit is kept." if not missed else f"Not kept: {'; '.join(missed)}."
    told = "\n".join(f"- {each}" for each in explanation)
    return f"""{SEARCH}
Written by `make bench`. Calls go over the same pipes and JSON as above, with policy, audit log and the whole sandbox;
what stands beside them is measured in the same run, in turn, and every answer is compared with what was put into the
files.
{textwrap.fill(corpus, 120)}
`rg` is the same program that fsserver runs, started on the directory itself, all of its output read from a pipe.
Ratios are fsserver / other; each round has its own, from the p50 of that round, and the table shows their median and
range.

Machine: {machine()}. Load before the run: {load:.1f}. Date: {datetime.now(UTC):%Y-%m-%d}.

{command_table(lines)}

What is hard to search, and a read of 1 KB that goes on beside it: the read's p50 without it, and its p50 over the calls
that began and ended while the hard one was running. `-` where that ended before a read did. A cell's peak counts what
it maps of files; its anonymous part is what it allocates.

{meanwhile_table(cases)}

{verdict}

Where the time goes:

{told}
"""
