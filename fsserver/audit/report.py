"""What a report says about a log: gathered record by record while `verify` reads, in bounded memory.

Only sound records are counted: what comes after the first bad one of a chain never gets here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from fsserver.audit.fields import members, number, objects, shown, words
from fsserver.audit.phrases import (
    ASKED,
    CALLS,
    CLIENT,
    COMMANDS,
    CONFINED,
    DECISIONS,
    OK,
    WAS_REFUSED,
    about,
    client_words,
    confinement_words,
    decision,
    healing_words,
    limit_words,
    span_words,
    stamp,
)
from fsserver.audit.query import Open
from fsserver.audit.reading import Entry
from fsserver.audit.record import (
    CALL_INTENT,
    LOG_CHECKPOINT,
    LOG_HEALED,
    LOG_REMOVED,
    RUN_END,
    RUN_START,
    Record,
)
from fsserver.audit.report_changes import Files
from fsserver.audit.report_data import Command, Gap, Group, Question, Report, Run, Slow, Tool
from fsserver.audit.signing import PublicKey
from fsserver.audit.tally import Top
from fsserver.audit.verify import Status, Verdict, verify

MOST_RUNS: Final = 1000
MOST_GROUPS: Final = 500  # of refusals, failures, limits; of tools and commands
MOST_SLOW: Final = 20
MOST_QUESTIONS: Final = 100
MOST_GAPS: Final = 200
MOST_CLIENTS: Final = 20
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_CLOCK_STEP_S: Final = 2  # a smaller step back is two clocks that agree
OTHER: Final = "(others)"


def make_report(
    path: str,
    *,
    expect_head: str | None = None,
    keys: Sequence[PublicKey] = (),
    on_bytes: Callable[[int], object] | None = None,
) -> Report:
    """Verify the log at `path` and gather, in one pass.

    Args:
        on_bytes: told how many bytes were read since it was last told, about once a MiB.
    """
    gathering = Gathering(on_bytes)
    verdict = verify(path, expect_head, keys, gathering.see)
    return gathering.report(verdict)


class Gathering:
    """Takes records in the order of `verify`. Use: `see` each, then `report`."""

    def __init__(self, on_bytes: Callable[[int], object] | None = None) -> None:
        self._report = Report(Verdict("", Status.UNREADABLE, (), None, 0))  # until `report` has the real one
        self._on_bytes = on_bytes
        self._unsaid = 0
        self._run: Run | None = None
        self._all_runs: list[Run] = []
        self._open = Open()
        self._seq = 0
        self._head = ""
        self._second_text = ""
        self._second = self._latest = 0
        self._least: int | None = None
        self._most = 0
        self._tools: dict[str, Tool] = {}
        self._groups: dict[str, dict[tuple[str, str | None], Group]] = {"refusals": {}, "failures": {}, "limits": {}}
        self._files = Files()
        self._asked: dict[str, Question] = {}  # without an answer so far, by the number of the call
        self._slowest: Top[Slow] = Top(MOST_SLOW)
        self._commands: dict[str, Command] = {}

    def see(self, record: Record, line: bytes) -> None:
        """One sound record and its line."""
        report = self._report
        report.records += 1
        report.bytes += len(line)
        self._unsaid += len(line)
        if self._unsaid > 1024**2 and self._on_bytes is not None:
            self._on_bytes(self._unsaid)
            self._unsaid = 0
        seq: int = record["seq"]
        event = record.get("event")
        if event == RUN_START or seq != self._seq + 1:
            self._begin_run(record)
        self._take_time(record)
        if event == CALL_INTENT:
            self._open.begin(Entry("", "", 0, record, line))
        elif event in CALLS:
            self._call(record)
        else:
            self._other(record)
        self._seq, self._head = seq, record["hash"]

    # --- Runs and what is about no call.

    def _begin_run(self, record: Record) -> None:
        self._end_run()
        start = record if record.get("event") == RUN_START else {}
        self._run = run = Run(shown(start.get("run", "?"), 64), stamp(record.get("time")))
        if start:
            run.policy = shown(start.get("policy", "?"), 64)
            run.digest = shown(start.get("policy_digest", "?"), 64)
            run.version = shown(start.get("fsserver", "?"), 32)
            run.host = shown(start.get("host", "?"), 64)
            run.key = shown(start["key"], 64) if start.get("key") is not None else None
        else:
            self._gap(record, "the log begins in the middle here: the records before were not in what was read")
        if len(self._report.runs) < MOST_RUNS:
            self._report.runs.append(run)
        else:
            self._report.runs_cut += 1
        self._latest = 0

    def _end_run(self) -> None:
        for entry in self._open.clear():
            self._report.unfinished += 1
            self._gap(entry.record, f"{about(entry.record)}: this call began, and what came of it is not in the log")
        self._asked.clear()
        if self._run is not None:
            self._run.head = self._head

    def _take_time(self, record: Record) -> None:
        value = record.get("time")
        if type(value) is not str:
            return
        if value[:19] != self._second_text:
            try:
                at = datetime.fromisoformat(value)
                at = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
            except (ValueError, OverflowError):  # no time, or in no year of the calendar
                return
            if at < _EPOCH:  # when nobody wrote a record; and what is drawn begins a while before the first one
                return
            self._second_text = value[:19]
            self._second = int(at.replace(microsecond=0).timestamp())
            if self._least is None or self._second < self._least:
                self._least = self._second
            self._most = max(self._most, self._second)
            if self._latest - self._second >= _CLOCK_STEP_S:
                self._gap(record, f"the clock was set back by {span_words(self._latest - self._second)}")
            self._latest = self._second

    def _other(self, record: Record) -> None:
        event, run = record.get("event"), self._run
        assert run is not None
        if event == CONFINED:
            run.confined = confinement_words(record)
            run.layer = shown(record.get("layer"), 20)
        elif event == COMMANDS:
            run.commands = confinement_words(record)
        elif event == CLIENT:
            self._client(run, client_words(record))
        elif event == LOG_HEALED:
            self._gap(record, healing_words(record))
        elif event == LOG_REMOVED:
            names = ", ".join(shown(name, 80) for name in words(record, "files")[:3])
            self._gap(record, f"{shown(record.get('runs'), 20)} ended runs were removed, as the policy says: {names}")
        elif event == RUN_END:
            run.end = "ended"
            for place, missed in list(members(record, "missed").items())[:10]:
                self._gap(record, f"the optional log {shown(place, 200)} missed {shown(missed, 20)} records")
        if event == LOG_CHECKPOINT or (event == RUN_END and "signature" in record):
            self._report.checkpoints += 1

    def _client(self, run: Run, client: str) -> None:
        for known in (run.clients, self._report.clients):
            if client not in known and len(known) < MOST_CLIENTS:
                known.append(client)

    def _gap(self, record: Record, what: str) -> None:
        if len(self._report.gaps) < MOST_GAPS:
            self._report.gaps.append(Gap(record["seq"], stamp(record.get("time")), what))
        else:
            self._report.gaps_cut += 1

    # --- Calls.

    def _call(self, record: Record) -> None:
        ended = decision(record)
        if ended is None:
            self._consent(record)
            return
        if "path" in record:
            if ended == WAS_REFUSED:
                self._report.paths_refused += 1
                self._add("refusals", record, record, str(record.get("error")), path=True)
            return
        intent = self._open.end(record)
        call = record if intent is None else {**intent.record, **record}
        self._count(ended)
        self._measure(record, call, ended)
        if ended == WAS_REFUSED:
            self._add("refusals", record, call, str(record.get("error")))
        elif ended != OK:
            self._add("failures", record, call, _failure(record))
        self._limits(record, call)
        stages = objects(call, "commands")
        if stages and (intent is not None or ended != WAS_REFUSED):
            self._ran(record, stages)
        if "changes" in record:
            self._changes_of(record)
        elif intent is not None and ended == OK:
            self._report.changes_unknown += 1

    def _count(self, ended: str) -> None:
        report, run = self._report, self._run
        assert run is not None
        report.calls += 1
        run.calls += 1
        if self._least is not None:
            report.timeline.add(self._second, DECISIONS.index(ended))
        if ended == OK:
            report.ok += 1
        elif ended == WAS_REFUSED:
            report.refused += 1
            run.refused += 1
        else:
            report.failed += 1
            run.failed += 1

    def _measure(self, record: Record, call: Record, ended: str) -> None:
        name = call.get("tool")
        tool = self._tools.get(name) if type(name) is str else None
        if tool is None:
            key = name if type(name) is str and len(self._tools) < MOST_GROUPS else OTHER
            tool = self._tools.setdefault(key, Tool(shown(key, 64)))
        tool.calls += 1
        setattr(tool, ended, getattr(tool, ended) + 1)
        for key in ("bytes", "stdout_bytes", "stderr_bytes"):
            size = record.get(key)
            if type(size) is int and size > 0:
                tool.bytes += size
        took = number(record, "duration_us")
        if took is None:
            return
        tool.times.add(took)
        if self._slowest.takes(took):
            self._slowest.add(took, Slow(record["seq"], tool.tool, about(call), ended, took))

    def _add(self, kind: str, record: Record, call: Record, code: str, *, path: bool = False) -> None:
        groups = self._groups[kind]
        rule = None if record.get("rule") is None else shown(record["rule"], 120)
        key = (shown(code, 40), rule)
        group = groups.get(key)
        if group is None:
            if len(groups) >= MOST_GROUPS:
                self._report.groups_cut += 1
                return
            reason = shown(record.get("reason") or "", 200)
            group = Group(*key, reason, shown(call.get("tool"), 64), about(call), record["seq"])
            groups[key] = group
        group.count += 1
        group.paths += path

    def _limits(self, record: Record, call: Record) -> None:
        error = record.get("error")
        if type(error) is str and error.startswith("limit."):
            self._add("limits", record, call, limit_words(error))
        if record.get("ended_by") is not None:
            self._add("limits", record, call, limit_words(record["ended_by"]))

    def _ran(self, record: Record, stages: list[Record]) -> None:
        endings = objects(record, "stages") or [record]
        for place, stage in enumerate(stages):
            name = shown(stage.get("command"), 64)
            if name not in self._commands and len(self._commands) >= MOST_GROUPS:
                name = OTHER
            command = self._commands.setdefault(name, Command(name))
            command.runs += 1
            ending = endings[place] if place < len(endings) else {}
            how = _how_it_ended(ending)
            command.exits[how if how in command.exits or len(command.exits) < 20 else OTHER] += 1
            command.cpu_ms += number(ending, "cpu_ms") or 0
            command.peak_memory_bytes = max(command.peak_memory_bytes, number(ending, "peak_memory_bytes") or 0)

    def _changes_of(self, record: Record) -> None:
        for change in objects(record, "changes"):
            self._files.see(record["seq"], change)
        if type(record.get("changes_cut")) is str:  # not all was looked at, and nobody knows how many there are
            self._report.changes_unknown += 1
        if record.get("changes_cut") is not None:
            self._report.changes_cut += number(record, "changes_cut") or 0
            self._report.changes_at_least = True

    # --- Consent.

    def _consent(self, record: Record) -> None:
        """A question, or the answer to one."""
        if record["event"] == ASKED:
            self._report.asked += 1
            asked = "; ".join(shown(each.get("what")).replace("\\n", " ") for each in objects(record, "questions")[:4])
            self._question(record, asked, None)
            return
        answers, answer = self._report.answers, shown(record.get("answer"), 40)
        if answer in answers or len(answers) < 40:
            answers[answer] += 1
        question = self._asked.pop(shown(record.get("asked"), 20), None)
        if question is None:
            self._question(record, about(record), answer)
        else:
            question.answer = answer

    def _question(self, record: Record, what: str, answer: str | None) -> None:
        if len(self._report.questions) < MOST_QUESTIONS:
            question = Question(
                record["seq"], stamp(record.get("time")), shown(record.get("tool"), 64), shown(what), answer
            )
            self._report.questions.append(question)
            if answer is None:
                self._asked[shown(record.get("call"), 20)] = question

    # --- The end.

    def report(self, verdict: Verdict) -> Report:
        """Everything that was seen. No more may be seen after this."""
        self._end_run()
        if self._on_bytes is not None:
            self._on_bytes(self._unsaid)
        report = replace(self._report, verdict=verdict)
        for tool in self._tools.values():
            tool.p50_us, tool.p95_us = tool.times.quantile(0.5), tool.times.quantile(0.95)
            tool.max_us = tool.times.largest if tool.times.count else None
        report.tools = sorted(self._tools.values(), key=lambda tool: (-tool.calls, tool.tool))
        report.refusals, report.failures, report.limits = (_most_first(each) for each in self._groups.values())
        report.changes = self._files.all()
        report.changes_cut += self._files.left_out
        report.changes_at_least |= self._files.uncounted
        report.slowest = self._slowest.largest_first()
        report.commands = sorted(self._commands.values(), key=lambda command: (-command.runs, command.command))
        if self._least is not None:
            report.first, report.last = (_utc(each) for each in (self._least, self._most))
            report.seconds = self._most - self._least
        report.runs.sort(key=lambda run: run.start)
        self._say_ends(report)
        report.signatures = _signatures(report.verdict)
        return report

    def _say_ends(self, report: Report) -> None:
        live = {chain.last.head for chain in report.verdict.chains if chain.live}
        bad = {chain.last.head for chain in report.verdict.chains if chain.problem is not None}
        for run in report.runs:
            if run.end:
                continue
            run.end = "still running" if run.head in live else "not ended: killed, or its end was cut off"
            if run.head in bad and run.head not in live:
                run.end = "not read to its end: see the verdict"


def _signatures(verdict: Verdict) -> str | None:
    """What the signatures that hold say; None where there is none, and none was asked for."""
    signed = [chain for chain in verdict.chains if chain.signed]
    if not signed:
        return "No signature by the given key was found." if verdict.keys else None
    left = sum(chain.last.seq - chain.signed for chain in signed)
    rest = f" {left} {'record comes' if left == 1 else 'records come'} after the last signature."
    if verdict.keys:
        by = list(dict.fromkeys(key for chain in verdict.chains for key in chain.signed_by))
        given, them = ("key", "it") if len(by) == 1 else ("keys", "them")
        return f"Signed by the given {given} {', '.join(by)}: nobody without {them} wrote what is signed.{rest}"
    return (
        f"The signatures fit the key that the log itself names. Only a public key that was kept elsewhere shows whose "
        f"that is.{rest}"
    )


def _failure(record: Record) -> str:
    """What a failed call is grouped by: its error, or the limit that ended its command."""
    if record.get("error") is None and record.get("ended_by") is not None:
        return f"command ended: {limit_words(record['ended_by'])}"
    return str(record.get("error"))


def _how_it_ended(ending: Record) -> str:
    if ending.get("ended_by") is not None:
        return limit_words(ending["ended_by"])
    if ending.get("signal") is not None:
        return f"signal {shown(ending['signal'], 20)}"
    return "not known" if ending.get("exit") is None else shown(ending["exit"], 20)


def _most_first(groups: dict[Any, Group]) -> list[Group]:
    return sorted(groups.values(), key=lambda group: (-group.count, group.seq))


def _utc(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d %H:%M:%S")
