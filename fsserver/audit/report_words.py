"""The sentences of a report, for people who never saw an audit log. Pure; every renderer uses the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from fsserver.audit.fields import shown
from fsserver.audit.phrases import duration_words, size_words, span_words
from fsserver.audit.report_data import Change, Command, Report, Run
from fsserver.audit.verify import Status

GOOD: Final = "good"
CAREFUL: Final = "careful"
BAD: Final = "bad"

DASH: Final = "\N{EN DASH}"
TIMES: Final = "\N{MULTIPLICATION SIGN}"


class Judgement(NamedTuple):
    """The verdict for a reader: how it is meant, a headline, and what it proves."""

    tone: str
    headline: str
    sentences: list[str]


_HEADLINES: Final = {
    Status.WHOLE: (GOOD, "The log is whole"),
    Status.TAMPERED: (BAD, "The log was tampered with"),
    Status.UNREADABLE: (BAD, "The log cannot be read"),
    Status.CUT: (BAD, "Part of the log is missing"),
    Status.TORN: (CAREFUL, "The log ends in the middle of a record"),
}


def judgement(report: Report) -> Judgement:
    """What verification found, and what that proves."""
    verdict = report.verdict
    tone, headline = _HEADLINES[verdict.status]
    live = any(chain.live for chain in verdict.chains)
    if verdict.status is Status.TORN and live:
        headline = "The log is sound, and is being written"
    sentences = []
    if verdict.message:
        sentences.append(f"{shown(verdict.message)}.")
    if verdict.status is Status.WHOLE:
        sentences.append(
            "Each record carries the fingerprint of the one before it. All of them fit: no record was changed, "
            "removed, added or moved."
        )
    for chain in [each for each in verdict.chains if each.problem is not None][:5]:
        problem = chain.problem
        assert problem is not None
        line = f", line {problem.line}" if problem.line else ""
        sentences.append(f"In {shown(problem.file)}{line}, record {problem.seq} {shown(problem.reason)}.")
    if tone is BAD and report.records:
        sentences.append("Everything below is from the sound records before that place only.")
    if tone is not BAD or verdict.expect_head is not None:
        sentences.append(_about_the_end(report))
    if report.signatures is not None:
        sentences.append(report.signatures)
    return Judgement(tone, headline, [each for each in sentences if each])


def _about_the_end(report: Report) -> str:
    """What the verdict can say about records that are missing at the end."""
    verdict = report.verdict
    if not report.records:
        return ""
    if verdict.expect_head is None:
        return (
            "By itself a log cannot show that its last records were cut off, or that all of it was written anew; a "
            "head that was kept elsewhere shows it, and none was given."
        )
    for chain in verdict.chains:
        if chain.expected is not None:
            after = chain.last.seq - chain.expected
            return (
                f"The head that was kept elsewhere is record {chain.expected}: up to there nothing was cut off or "
                f"written anew. {_count(after, 'record follows', 'records follow')}."
            )
    return "The head that was kept elsewhere is not in it: records were cut off, or the log was written anew."


def summary(report: Report) -> list[str]:
    """The report in a few sentences."""
    if not report.records:
        return ["There is nothing to report: no sound record was read."]
    sentences = [_calls(report)]
    if report.refused or report.paths_refused:
        sentences.append(_refusals(report))
    sentences.append(_files(report))
    if report.commands:
        sentences.append(_commands(report.commands))
    if report.asked or report.answers:
        accepted = report.answers.get("accepted", 0)
        sentences.append(f"A person had to be asked {_times(report.asked)}, and agreed {_times(accepted)}.")
    limits = sum(group.count for group in report.limits)
    if limits:
        sentences.append(f"A limit was reached {_times(limits)}.")
    if report.unfinished:
        begun = _count(report.unfinished, "call", "calls")
        sentences.append(f"{begun} began to change something, and what came of it is not in the log.")
    return [*sentences, _confinement(report)]


def _calls(report: Report) -> str:
    # A client's version and protocol are in the table of runs.
    names = list(dict.fromkeys(client.partition(", protocol ")[0] for client in report.clients))
    who = _listed(names, 3) if names else "a client that the log does not name"
    runs = f" and {len(report.runs) + report.runs_cut} runs" if len(report.runs) > 1 else ""
    made = f"In {_long_span(report.seconds)}{runs}, {who} made {_count(report.calls, 'call', 'calls')}"
    parts = [f"{number(report.ok)} succeeded"]
    parts += [f"{number(report.refused)} {_was(report.refused)} refused"] if report.refused else []
    parts += [f"{number(report.failed)} failed"] if report.failed else []
    return f"{made}: {_and(parts)}." if report.calls else f"{made}."


def _refusals(report: Report) -> str:
    by_rule = [group for group in report.refusals if group.rule is not None]
    text = f"{_count(len(report.refusals), 'reason', 'different reasons')} led to a refusal"
    if by_rule:
        text += f"; the rule that refused most often is {by_rule[0].rule}"
    return f"{text}. What is refused is not done, not even in part."


def _files(report: Report) -> str:
    count = len(report.changes) + report.changes_cut
    if not count:
        return unlisted(report) if report.changes_unknown else "No file was changed."
    least = "At least " if report.changes_at_least else ""
    text = f"{least}{_count(count, 'file', 'files')}"
    kinds = [] if report.changes_cut else [net_change(change) for change in report.changes]
    if len(set(kinds)) == 1:
        text += f" {_was(count)} {kinds[0]}"
    else:
        text += " changed"
    if len(set(kinds)) > 1:
        named = [(kinds.count(kind), kind) for kind in _NET]
        text += ": " + _and([f"{number(many)} {_was(many)} {kind}" for many, kind in named if many])
    return f"{text}. {unlisted(report)}".rstrip()


_NET: Final = (
    *("created", "changed", "moved here", "moved away", "deleted", "created and deleted again"),
    *("created and moved away", "moved here and deleted again", "moved here and moved away"),
)
"""What `net_change` says."""


def unlisted(report: Report) -> str:
    """What the list of changed files cannot have in it; empty if nothing."""
    calls = report.changes_unknown
    if not calls:
        return ""
    return (
        f"Of {_count(calls, 'call', 'calls')} the log does not say which files {'it' if calls == 1 else 'they'} "
        "changed, if any; for commands that "
        "are not left in the background, and in roots that are not too large, `audit: {changes: true}` in the policy "
        "has that recorded."
    )


def net_change(change: Change) -> str:
    """A name's first state against its last."""
    away = change.last.startswith("moved ")
    if not change.came:
        return "changed" if change.stays else "moved away" if away else "deleted"
    if change.stays:
        return "moved here" if change.moved_here else "created"
    return f"{'moved here' if change.moved_here else 'created'} and {'moved away' if away else 'deleted again'}"


def _commands(commands: Sequence[Command]) -> str:
    runs = [f"{shown(each.command)} {_times(each.runs)}" for each in commands[:3]]
    more = f" and {_count(len(commands) - 3, 'other command', 'other commands')}" if len(commands) > 3 else ""
    good = sum(each.exits.get("0", 0) for each in commands)
    other = sum(each.runs for each in commands) - good
    bad = (
        f" {_count(other, 'run', 'runs')} did not end with exit code 0."
        if other
        else " Every run ended with exit code 0."
    )
    return f"Commands: {', '.join(runs)}{more}.{bad}"


def _confinement(report: Report) -> str:
    layers = {run.layer for run in report.runs}
    if layers == {"full"}:
        return "All of it happened in a server that the kernel confined to its directories (layer full)."
    if "none" in layers or "?" in layers:
        return "Not every run was confined by the kernel: see the table of runs."
    layer = _and(sorted(layers))
    return f"The kernel confined the server in part (layer {layer}): the table of runs says what is left open."


def exits_words(command: Command) -> str:
    """Exit codes and other ends, the most frequent first."""
    return ", ".join(f"{how} {TIMES} {number(count)}" for how, count in command.exits.most_common(6))


def bytes_or_dash(size: int) -> str:
    return size_words(size) if size else DASH


def duration_or_dash(microseconds: int | None) -> str:
    return DASH if microseconds is None else duration_words(microseconds)


def policies(runs: Sequence[Run]) -> str:
    names = list(dict.fromkeys(run.policy for run in runs))
    return _listed(names, 3)


def _long_span(seconds: int) -> str:
    """A length of time for the middle of a sentence."""
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        if seconds >= 2 * length or (seconds >= length and unit in ("minute", "second")):
            count = round(seconds / length)
            return f"{number(count)} {unit if count == 1 else unit + 's'}"
    return "less than a second"


def bucket_words(seconds: int) -> str:
    return "second" if seconds == 1 else span_words(seconds)


def number(value: int) -> str:
    """With thin groups of three digits, as typography has it."""
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}") if value >= 10_000 else str(value)


def _times(count: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{number(count)} times")


def _count(count: int, one: str, many: str) -> str:
    return f"{number(count)} {one if count == 1 else many}"


def _was(count: int) -> str:
    return "was" if count == 1 else "were"


def _and(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else ""


def _listed(names: Sequence[str], most: int) -> str:
    return _and(names) if len(names) <= most else f"{', '.join(names[:most])} and {len(names) - most} more"
