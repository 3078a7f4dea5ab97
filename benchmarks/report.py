"""What was measured, as a table on the terminal and as docs/performance.md."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from benchmarks.rows import Row
from tests.compat.install import REFERENCE

DURABILITY = (
    "Neither server calls fsync: after a power failure a write of the last seconds can be missing. "
    "Both replace an existing file by a rename, so a reader sees the old or the new file and never a part. "
    "fsserver also writes two audit records for each write, likewise without fsync, which the reference does not."
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One row after all its rounds: a pair (reference, fsserver) for each."""

    row: Row
    rounds: Sequence[tuple[float, float]]

    @property
    def ratios(self) -> list[float]:
        return sorted(fsserver / reference for reference, fsserver in self.rounds)

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    @property
    def reached(self) -> bool | None:
        if self.row.target is None:
            return None
        value = self.own if self.row.own else self.ratio
        return value >= self.row.target if self.row.at_least else value <= self.row.target

    @property
    def own(self) -> float:
        """The value of fsserver alone."""
        return statistics.median(each for _, each in self.rounds)

    def cells(self) -> list[str]:
        """Name, both values, ratio with its range, target, verdict."""
        reference = statistics.median(each for each, _ in self.rounds)
        target = "-" if self.row.target is None else f"{'≥' if self.row.at_least else '≤'} {self.row.target:g}"
        verdict = {None: "-", True: "yes", False: "no"}[self.reached]
        spread = f"{self.ratio:.2f} ({self.ratios[0]:.2f} … {self.ratios[-1]:.2f})"
        return [self.row.name, shown(reference, self.row.unit), shown(self.own, self.row.unit), spread, target, verdict]


def shown(value: float, unit: str) -> str:
    """A value with three digits and a unit that fits."""
    if unit == "s":
        for factor, name in ((1, "s"), (1e3, "ms")):
            if value * factor >= 1:
                return f"{value * factor:.3g} {name}"
        return f"{value * 1e6:.0f} µs"
    if unit == "B":
        return f"{value / 1e6:.1f} MB"
    return f"{value:.3g}" if unit == "ratio" else f"{value:.0f} {unit}"


HEADER = ["what", "reference p50", "fsserver p50", "ratio (min … max)", "target", "reached"]


def table(outcomes: Sequence[Outcome]) -> str:
    """A Markdown table whose columns also line up on a terminal."""
    rows = [HEADER, *(outcome.cells() for outcome in outcomes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def machine() -> str:
    """One line: processor, cores, memory, kernel, interpreters."""
    model = platform.processor() or platform.machine()
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    return (
        f"{names[0] if names else model}, {os.cpu_count()} cores, {memory:.0f} GiB, Linux {platform.release()}, "
        f"Python {platform.python_version()}, node {node}"
    )


def explained(outcomes: Sequence[Outcome], imports: Sequence[tuple[str, float]], interpreter: float) -> str:
    """Where the time goes, from what was measured."""
    own = {outcome.row.name: outcome.own for outcome in outcomes}
    lines = []
    if {"list allowed directories", "read 1 KB"} <= own.keys():
        call, read = own["list allowed directories"], own["read 1 KB"]
        lines.append(
            f"- **A small call.** Of the {shown(read, 's')} of a 1 KB read, {shown(call, 's')} are what any call "
            "takes: pipes, waking both processes, JSON, validation, the audit record. "
            f"{shown(read - call, 's')} are the file: resolving, deciding, reading, its digest."
        )
    if imports:
        parts = ", ".join(f"{name} {shown(seconds, 's')}" for name, seconds in imports)
        lines.append(
            f"- **The cold start.** The interpreter alone needs {shown(interpreter, 's')}. Time in imports until "
            f"tools/list is answered, by package, traced: {parts}. The protocol's library loads its HTTP parts "
            "whatever is used of it."
        )
    lines.append(
        "- **Calls at once, and calls beside a slow one.** Python runs one thread at a time. A slow call stops at its "
        "next checkpoint while a small one is under way, but until then, and when it goes on, the two wake each other. "
        "The absolute times stay far below a millisecond; only a process of its own for slow walks would take the rest "
        "away. "
        "Written at once, calls are bound by the one core that Python uses."
    )
    lines.append(f"- **Writes.** {DURABILITY}")
    return "\n".join(lines)


def document(outcomes: Sequence[Outcome], explanation: str) -> str:
    """The whole of docs/performance.md."""
    missed = [outcome.row.name for outcome in outcomes if outcome.reached is False]
    verdict = "Every target is reached." if not missed else f"Not reached: {', '.join(missed)}."
    return f"""# Performance

Written by `make bench`, which measures fsserver and `{"@".join(REFERENCE)}` in the same run. Each sample of
one server has its neighbour from the other, every answer is checked, and the client is the same few lines of pipes and
JSON for both. Ratios are fsserver / reference; a round's ratio is taken from the p50 of that round, the table shows the
median over the rounds and the range. Times vary from machine to machine, ratios much less.

Machine: {machine()}. Date: {datetime.now(UTC):%Y-%m-%d}.

{table(outcomes)}

{verdict} Where the reference cannot do it, its column says what else is compared with.

## Where the time goes

{explanation}
"""
