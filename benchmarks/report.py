"""What was measured, as a table on the terminal and as docs/performance.md."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from benchmarks import peers
from benchmarks.rows import Row
from tests.compat.install import REFERENCE
from tests.compat.run import REPOSITORY

DOCUMENT = os.path.join(REPOSITORY, "docs", "performance.md")
SEARCH = "\n## Search\n"
"""Where the section begins that `benchmarks.search` writes."""
COMMANDS = "\n## Commands\n"
"""Where the section begins that `benchmarks.commands` writes."""
AUDIT = "\n## Audit log\n"
"""Where the section begins that `benchmarks.audit` writes."""
HTTP = "\n## Over HTTP\n"
"""Where the section begins that `benchmarks.http` writes."""
SECTIONS = (SEARCH, COMMANDS, AUDIT, HTTP)
"""In the order of the document."""

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
        limit = self.row.target
        value = "" if limit is None else shown(limit, "B") if self.row.own and self.row.unit == "B" else f"{limit:g}"
        target = "-" if limit is None else f"{'≥' if self.row.at_least else '≤'} {value}"
        verdict = {None: "-", True: "yes", False: "no"}[self.reached]
        spread = f"{ratio_text(self.ratio)} ({ratio_text(self.ratios[0])} … {ratio_text(self.ratios[-1])})"
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


def ratio_text(value: float) -> str:
    """With two digits behind the point, or two that say something."""
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


HEADER = ["what", "reference p50", "fsserver p50", "ratio (min … max)", "target", "reached"]


def table(outcomes: Sequence[Outcome]) -> str:
    """A Markdown table whose columns also line up on a terminal."""
    return aligned([HEADER, *(outcome.cells() for outcome in outcomes)])


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first row is its header."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
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


# --- commands


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table of commands, as it is shown. ``reached`` is None where there is no limit."""

    name: str
    other: str
    value_of_other: str
    own: str
    compared: str
    limit: str
    reached: bool | None

    def cells(self) -> list[str]:
        verdict = {None: "-", True: "yes", False: "no"}[self.reached]
        return [self.name, self.other, self.value_of_other, self.own, self.compared, self.limit, verdict]


@dataclass(frozen=True, slots=True)
class PerCall:
    """Two values in each of several rounds.

    Attributes:
        others, own: of what is compared with, and of fsserver: a pair for each round.
        limit: for the median of the ratios own / other, or of the differences; None is a line that only explains.
        difference: what own is more than other, instead of the ratio.
    """

    name: str
    other: str
    unit: str
    others: Sequence[float]
    own: Sequence[float]
    limit: float | None = None
    at_least: bool = False
    difference: bool = False

    def line(self) -> Line:
        pairs = list(zip(self.others, self.own, strict=True))
        values = sorted(own - other if self.difference else own / other for other, own in pairs)
        middle = statistics.median(values)
        written = [self._written(each) for each in (middle, values[0], values[-1])]
        reached = None if self.limit is None else middle >= self.limit if self.at_least else middle <= self.limit
        sign = "≥" if self.at_least else "≤"
        return Line(
            self.name,
            self.other,
            shown(statistics.median(self.others), self.unit),
            shown(statistics.median(self.own), self.unit),
            written[0] if len(pairs) == 1 else f"{written[0]} ({written[1]} … {written[2]})",
            "-" if self.limit is None else f"{sign} {self._written(self.limit)}",
            reached,
        )

    def _written(self, value: float) -> str:
        if not self.difference:
            return ratio_text(value)
        return f"{'+' if value >= 0 else '-'} {shown(abs(value), self.unit)}"


COMMAND_HEADER = ["what", "beside", "its value", "fsserver", "ratio, or difference (min … max)", "limit", "reached"]


def command_table(lines: Sequence[Line]) -> str:
    return aligned([COMMAND_HEADER, *(line.cells() for line in lines)])


def commands_section(lines: Sequence[Line], load: float) -> str:
    """The section of docs/performance.md about commands. ``load``: the machine's, before the run began."""
    missed = [f"{line.name}, beside {line.other}" for line in lines if line.reached is False]
    verdict = "Every limit is kept." if not missed else f"Not kept: {'; '.join(missed)}."
    servers = ", ".join([*(each.replace("==", " ") for each in peers.PYTHON_PEERS[:2]), " ".join(peers.NODE_PEER)])
    return f"""{COMMANDS}
Written by `make bench`. A call of `run_command` goes over the same pipes and JSON as above, with policy, audit log and
the whole sandbox; what stands beside it is measured in the same run, sample beside sample, and every answer is checked.
bwrap gets namespaces and mounts comparable to a cell's. The other servers run the program without any
sandbox: {servers}. Ratios are
fsserver / other; each round has its own, from the p50 of that round, and the table shows their median and range.

Machine: {machine()}. Load before the run: {load:.1f}. Date: {datetime.now(UTC):%Y-%m-%d}.

{command_table(lines)}

{verdict}
"""


def audit_section(lines: Sequence[Line], load: float) -> str:
    """The section of docs/performance.md about the audit log. ``load``: the machine's, before the run began."""
    missed = [f"{line.name}, beside {line.other}" for line in lines if line.reached is False]
    verdict = "Every limit is kept." if not missed else f"Not kept: {'; '.join(missed)}."
    return f"""{AUDIT}
Written by `make bench`. Calls go over the same pipes and JSON as above. Each ratio is fsserver / other, from the p50 of
one round, sample beside sample; the table shows the median over the rounds and the range. Where calls are timed, each
round has new servers, and they and the client share one processor: to wake a process on another one takes from nothing
to half of a small call, which would hide what the log takes.

Machine: {machine()}. Load before the run: {load:.1f}. Date: {datetime.now(UTC):%Y-%m-%d}.

{command_table(lines)}

{verdict}
"""


def http_section(lines: Sequence[Line], load: float, share: float) -> str:
    """The section of docs/performance.md about the service. ``share``: of a processor, that the client took."""
    missed = [f"{line.name}, beside {line.other}" for line in lines if line.reached is False]
    verdict = "Every limit is kept." if not missed else f"Not kept: {'; '.join(missed)}."
    return f"""{HTTP}
Written by `make bench`. `wrk` keeps 64 connections busy for 60 s with each kind of request, in blocks of 10 s, one
after the other and in changing order, over loopback. What stands beside is the SDK's server with one tool that returns
a short text: its sessions answer with event streams, its stateless form with JSON. fsserver asks for a token, decides,
opens the file, reads 1 KB and writes its record of the call. Every answer is looked at, and each had to be a result.
wrk took at most {share:.2f} of a processor. Ratios are fsserver / other, block beside block: their median and range.

Machine: {machine()}. Load before the run: {load:.1f}. Date: {datetime.now(UTC):%Y-%m-%d}.

{command_table(lines)}

{verdict}
"""


def replace_section(mark: str, section: str) -> None:
    """Put the section that begins with ``mark`` into docs/performance.md, in place of the one that is there."""
    first, *others = _sections()
    kept = {each: told for each, told in others if each != mark} | {mark: section.removeprefix(mark)}
    _write(first[1], kept)


def replace_all_but_sections(text: str) -> None:
    """Write docs/performance.md anew, and leave the sections that other programs write."""
    _write(text, dict(_sections()[1:]))


def _sections() -> list[tuple[str, str]]:
    """The parts of docs/performance.md, each with the line that it begins with; the first begins with none."""
    with open(DOCUMENT, encoding="utf-8") as file:
        rest = file.read()
    found = []
    for mark in reversed(SECTIONS):
        rest, begun, told = rest.partition(mark)
        found += [(begun, told)] if begun else []
    return [("", rest), *reversed(found)]


def _write(first: str, others: Mapping[str, str]) -> None:
    parts = [mark + others[mark] for mark in SECTIONS if mark in others]
    with open(DOCUMENT, "w", encoding="utf-8") as file:
        file.write(first + "".join(parts))
