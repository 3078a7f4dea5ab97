"""What a report consists of. Plain data: `fsserver.audit.report` fills it, the renderers show it.

Every text in here went through `fields.shown`. A renderer still has to escape it for its markup.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from fsserver.audit.phrases import DECISIONS, State
from fsserver.audit.tally import Histogram, Timeline
from fsserver.audit.verify import Verdict


@dataclass(slots=True)
class Run:
    """One run of the server. ``end``: how it ended, in words; ``head``: the hash of its last record that was read."""

    run: str
    start: str
    end: str = ""
    last: str = ""
    policy: str = "?"
    digest: str = "?"
    version: str = "?"
    host: str = "?"
    key: str | None = None
    clients: list[str] = field(default_factory=list)
    confined: str = "not said"
    commands: str = "none"
    layer: str = "?"
    calls: int = 0
    refused: int = 0
    failed: int = 0
    head: str = ""


@dataclass(slots=True)
class Tool:
    """Calls of one tool; times in microseconds. ``bytes``: of contents and output."""

    tool: str
    calls: int = 0
    ok: int = 0
    failed: int = 0
    refused: int = 0
    bytes: int = 0
    p50_us: int | None = None
    p95_us: int | None = None
    max_us: int | None = None
    times: Histogram = field(default_factory=Histogram, repr=False)


@dataclass(slots=True)
class Group:
    """Refusals, failures or limits of one kind. ``seq`` and ``example``: the first of them; ``paths``: how many were
    about one path of a call that went on."""

    code: str
    rule: str | None
    reason: str
    tool: str
    example: str
    seq: int
    count: int = 0
    paths: int = 0


@dataclass(slots=True)
class Change:
    """A name and what became of it: what was there before its first change and after its last.

    Attributes:
        came: nothing was there before; ``moved_here``: what came was moved.
        stays: something is there after.
    """

    root: str
    name: str
    changes: int
    last: str
    before: State
    after: State
    seq: int
    came: bool
    stays: bool
    moved_here: bool = False


@dataclass(slots=True)
class Slow:
    seq: int
    tool: str
    about: str
    result: str
    duration_us: int


@dataclass(slots=True)
class Command:
    """Runs of one command of the policy. ``exits``: exit code, or how else it ended, to how often."""

    command: str
    runs: int = 0
    exits: Counter[str] = field(default_factory=Counter)
    cpu_ms: int = 0
    peak_memory_bytes: int = 0


@dataclass(slots=True)
class Question:
    """A question put to a person, or an answer without one; ``answer``: None if the log has none."""

    seq: int
    time: str
    tool: str
    about: str
    answer: str | None


@dataclass(slots=True)
class Gap:
    """Something that an auditor should know about the log itself."""

    seq: int
    time: str
    what: str


@dataclass(slots=True)
class Report:
    """Everything. A ``…_cut`` counts what a bounded list had no room for."""

    verdict: Verdict
    signatures: str | None = None
    records: int = 0
    bytes: int = 0
    first: str = ""
    last: str = ""
    seconds: int = 0
    calls: int = 0
    ok: int = 0
    failed: int = 0
    refused: int = 0
    paths_refused: int = 0
    clients: list[str] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    runs_cut: int = 0
    timeline: Timeline = field(default_factory=lambda: Timeline(len(DECISIONS)))
    tools: list[Tool] = field(default_factory=list)
    refusals: list[Group] = field(default_factory=list)
    failures: list[Group] = field(default_factory=list)
    limits: list[Group] = field(default_factory=list)
    groups_cut: int = 0
    changes: list[Change] = field(default_factory=list)
    changes_cut: int = 0
    changes_at_least: bool = False
    changes_unknown: int = 0
    slowest: list[Slow] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    asked: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    questions: list[Question] = field(default_factory=list)
    checkpoints: int = 0
    unfinished: int = 0
    gaps: list[Gap] = field(default_factory=list)
    gaps_cut: int = 0
