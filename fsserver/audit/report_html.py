"""A report as one HTML file: no script, nothing from the network, a style sheet that the page itself holds to its hash.

*Trust.* Texts of a `Report` are printable and bounded, and hostile all the same: `markup` escapes every one of them.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from fsserver.audit.markup import Column, Markup, element, joined, literal, table, void
from fsserver.audit.phrases import CODES, State, size_words
from fsserver.audit.report import MOST_SLOW
from fsserver.audit.report_changes import MOST_FILES
from fsserver.audit.report_charts import bar, timeline
from fsserver.audit.report_data import Change, Group, Report
from fsserver.audit.report_style import STYLE
from fsserver.audit.report_words import (
    DASH,
    TIMES,
    bytes_or_dash,
    duration_or_dash,
    exits_words,
    judgement,
    net_change,
    number,
    policies,
    summary,
    unlisted,
)

_POLICY = "default-src 'none'; style-src 'sha256-{}'; img-src data:; base-uri 'none'; form-action 'none'"
_SIGNS = {"good": "M4 12.5l5 5L20 6.5", "careful": "M12 4v10M12 18v2", "bad": "M5 5l14 14M19 5L5 19"}

_SEQ = Column("Record", "n")
_TIME = Column("Time", "nowrap")
_COUNT = Column("Count", "n")

WORDS: Final = {
    "Call": "One use of a tool by the client. It succeeds, fails, or is refused.",
    "Refused": "The policy or a limit said no before anything was done. Refusals show that the policy works.",
    "Failed": "It was allowed and did not work: a file that is not there, a full disk, a time that ran out.",
    "Rule": "The line of the policy file that decided, as file:line.",
    "Before and after": "How large a file was and the SHA-256 of its contents, so that each state can be recognised.",
    "Layer": "How strongly the kernel confined the server or a command: full, landlock (in part), none.",
    "Head": "The fingerprint of the last record. Kept elsewhere, it shows later that nothing before it was touched.",
    "Record": "The number of a record in its log; `fsserver audit explain FILE NUMBER` tells its whole story.",
}


def render(report: Report, *, title: str, made: datetime | None = None) -> str:
    """The whole page. ``made``: when, for its foot; now if None."""
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode("ascii")
    head = element(
        "head",
        void("meta", charset="utf-8"),
        void("meta", http_equiv="Content-Security-Policy", content=_POLICY.format(digest)),
        void("meta", name="viewport", content="width=device-width, initial-scale=1"),
        void("meta", name="referrer", content="no-referrer"),
        void("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", literal(STYLE)),
    )
    sections = _sections(report)
    body = element("body", _header(report, title), element("main", *_top(report), *sections), _foot(made))
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _header(report: Report, title: str) -> Markup:
    about = []
    if report.runs:
        hosts = list(dict.fromkeys(run.host for run in report.runs))
        about.append(f"Policy {policies(report.runs)} on {hosts[0] if len(hosts) == 1 else f'{len(hosts)} hosts'}")
    if report.first:
        about.append(f"{report.first} to {report.last} UTC")
    about.append(f"{number(report.records)} records, {size_words(report.bytes)}")
    return element(
        "header",
        element("p", "fsserver audit report", class_="eyebrow"),
        element("h1", title),
        element("p", " · ".join(about), class_="meta"),
        _verdict(report),
    )


def _verdict(report: Report) -> Markup:
    tone, headline, sentences = judgement(report)
    path = element("path", d=_SIGNS[tone], fill="none", stroke="currentColor", stroke_width="3", stroke_linecap="round")
    parts = [
        element("h2", element("svg", path, viewBox="0 0 24 24", width="24", height="24", aria_hidden="true"), headline)
    ]
    parts += [element("p", sentence) for sentence in sentences]
    chains = [chain for chain in report.verdict.chains if chain.last.seq]
    if len(chains) == 1:
        head = chains[0].last
        parts.append(element("p", f"Head, record {head.seq}: ", element("code", head.head), class_="head"))
    elif chains:
        parts.append(element("p", f"{len(chains)} chains; each head is in the table of runs.", class_="head"))
    return element("section", *parts, class_=f"verdict {tone}", aria_label="Verdict")


def _top(report: Report) -> list[Markup]:
    """The summary, the figures, and where the rest is."""
    changed = f"{number(len(report.changes) + report.changes_cut)}{'+' if report.changes_at_least else ''}"
    figures = (
        ("Calls", number(report.calls)),
        ("Succeeded", number(report.ok)),
        ("Refused", number(report.refused)),
        ("Failed", number(report.failed)),
        ("Files changed", changed),
        ("Runs", number(len(report.runs) + report.runs_cut)),
    )
    shown = [element("div", element("dt", name), element("dd", value)) for name, value in figures]
    first, *rest = summary(report)
    links = [element("li", element("a", title, href=f"#{name}")) for name, title in _TITLES.items()]
    return [
        element(
            "section",
            element("h2", "In short"),
            element("p", first, class_="lead"),
            element("ul", *(element("li", sentence) for sentence in rest), class_="points"),
            element("dl", *shown, class_="figures"),
        ),
        element("nav", element("ul", *links), aria_label="Contents"),
    ]


_TITLES = {
    "time": "Over time",
    "tools": "Calls by tool",
    "refused": "What was refused",
    "files": "Files changed",
    "commands": "Commands",
    "failed": "What failed",
    "limits": "Limits reached",
    "consent": "Asked of a person",
    "slowest": "Slowest calls",
    "runs": "Runs and confinement",
    "log": "The log itself",
    "words": "Words used here",
}


def _sections(report: Report) -> list[Markup]:
    contents = {
        "time": timeline(report),
        "tools": _tools(report),
        "refused": _groups(report.refusals, "Refused calls by what refused them", "No call was refused."),
        "files": _files(report),
        "commands": _commands(report),
        "failed": _groups(report.failures, "Failed calls by error", "No call failed."),
        "limits": _groups(report.limits, "Limits that ended or refused calls", "No limit was reached."),
        "consent": _consent(report),
        "slowest": _slowest(report),
        "runs": _runs(report),
        "log": _log(report),
        "words": [_words()],
    }
    return [element("section", element("h2", title), *contents[name], id=name) for name, title in _TITLES.items()]


# --- Calls.


def _tools(report: Report) -> list[Markup]:
    if not report.tools:
        return [_nothing("There was no call.")]
    columns = [Column("Tool", "name"), Column("", "share"), Column("Calls", "n"), Column("Succeeded", "n")]
    columns += [Column("Refused", "n"), Column("Failed", "n"), Column("Typical time", "n")]
    columns += [Column("95 % within", "n"), Column("Longest", "n"), Column("Data", "n")]
    most = report.tools[0].calls
    rows = [
        [
            element("code", tool.tool),
            bar(tool.calls, most),
            *(number(count) for count in (tool.calls, tool.ok, tool.refused, tool.failed)),
            *(duration_or_dash(each) for each in (tool.p50_us, tool.p95_us, tool.max_us)),
            bytes_or_dash(tool.bytes),
        ]
        for tool in report.tools
    ]
    return [
        table("Most often used first. Typical: half of the calls took no longer. Both are within 4 %.", columns, rows)
    ]


def _groups(groups: Sequence[Group], caption: str, none: str) -> list[Markup]:
    if not groups:
        return [_nothing(none)]
    columns = [Column("What", "name"), _COUNT, Column("Rule", "nowrap"), Column("First of them", "wide"), _SEQ]
    rows = []
    for group in groups:
        paths = f"{group.paths} of them one path of a call that went on"
        said = [element("small", text) for text in (group.reason, paths if group.paths else "") if text]
        example = joined([element("code", f"{group.tool} {group.example}".strip()), *said])
        rule = element("code", group.rule) if group.rule else DASH
        rows.append([_code(group.code), number(group.count), rule, example, str(group.seq)])
    return [table(caption, columns, rows)]


def _code(code: str) -> Markup:
    """In plain words, with the code that programs know below."""
    plain = CODES.get(code)
    return joined([code[:1].upper() + code[1:]]) if plain is None else joined([plain, element("small", code)])


def _slowest(report: Report) -> list[Markup]:
    if not report.slowest:
        return [_nothing("There was no call.")]
    columns = [Column("Took", "n"), Column("Tool"), Column("About", "wide"), Column("Result"), _SEQ]
    rows = [
        [duration_or_dash(slow.duration_us), slow.tool, element("code", slow.about), slow.result, str(slow.seq)]
        for slow in report.slowest
    ]
    return [table(f"The {min(MOST_SLOW, len(rows))} calls that took longest", columns, rows)]


# --- What changed and what ran.


def _files(report: Report) -> list[Markup]:
    if not report.changes:
        return [_nothing(unlisted(report) if report.changes_unknown else "No file was changed.")]
    columns = [Column("File", "path"), Column("In the end")]
    columns += [Column("Before the first change", "hash"), Column("After the last", "hash"), _SEQ]
    rows = [
        [
            element("code", f"{change.root}/{change.name}"),
            _became(change),
            _state(change.before),
            _state(change.after),
            str(change.seq),
        ]
        for change in report.changes
    ]
    parts: list[Markup] = [table("Each file once, with the SHA-256 of its contents", columns, rows)]
    if report.changes_cut:
        least = "at least " if report.changes_at_least else ""
        more = f"The first {min(MOST_FILES, len(rows))} are shown; {least}{number(report.changes_cut)} more changed."
        parts.append(element("p", more, class_="meta"))
    if report.changes_unknown:
        parts.append(element("p", unlisted(report), class_="meta"))
    return parts


def _became(change: Change) -> Markup:
    net = net_change(change)
    notes = [f"{number(change.changes)} changes"] if change.changes > 1 else []
    notes += [change.last] if change.last.startswith("moved") else []
    return joined([net, *(element("small", note) for note in notes)])


def _state(state: State) -> Markup:
    return joined([state.size] if state.sha256 is None else [state.size, element("code", state.sha256)])


def _commands(report: Report) -> list[Markup]:
    if not report.commands:
        return [_nothing("No command was run.")]
    columns = [Column("Command", "name"), Column("Runs", "n"), Column("How they ended", "wide")]
    columns += [Column("Processor time", "n"), Column("Most memory", "n")]
    rows = [
        [
            element("code", command.command),
            number(command.runs),
            exits_words(command),
            duration_or_dash(command.cpu_ms * 1000 or None),
            bytes_or_dash(command.peak_memory_bytes),
        ]
        for command in report.commands
    ]
    return [table(f"Commands by name, with exit code {TIMES} how often", columns, rows)]


def _consent(report: Report) -> list[Markup]:
    if not report.questions:
        return [_nothing("No call needed a person's consent.")]
    columns = [_TIME, Column("Tool"), Column("Question", "wide"), Column("Answer"), _SEQ]
    rows = [
        [
            question.time,
            question.tool,
            element("code", question.about),
            question.answer or "none in the log",
            str(question.seq),
        ]
        for question in report.questions
    ]
    return [table("Questions and answers. That a person gave an answer is the client's word.", columns, rows)]


# --- The runs and the log.


def _runs(report: Report) -> list[Markup]:
    if not report.runs:
        return [_nothing("There is no run.")]
    columns = [
        Column("Began", "nowrap"),
        Column("End"),
        Column("Policy"),
        Column("Client"),
        Column("Confinement", "wide"),
    ]
    columns += [
        Column("Calls", "n"),
        Column("Refused", "n"),
        Column("Failed", "n"),
        Column("Run, server, key, head", "hash"),
    ]
    rows = []
    for run in report.runs:
        facts = f"{run.run}, fsserver {run.version} on {run.host}" + (f", key {run.key}" if run.key else "")
        policy = joined([run.policy, element("small", element("code", run.digest[:16]))])
        counts = [number(each) for each in (run.calls, run.refused, run.failed)]
        confinement = joined([run.confined, element("small", run.commands)])
        who = ", ".join(run.clients) or "not said"
        rows.append([run.start, run.end, policy, who, confinement, *counts, joined([facts, element("code", run.head)])])
    parts: list[Markup] = [
        table("Every start of the server. A policy is shown with the start of its digest.", columns, rows)
    ]
    if report.runs_cut:
        parts.append(element("p", f"{number(report.runs_cut)} more runs are counted and not shown.", class_="meta"))
    return parts


def _log(report: Report) -> list[Markup]:
    if not report.gaps:
        return [_nothing("Nothing was healed, nothing is missing, and every call has its end.")]
    columns = [_TIME, Column("What", "wide"), _SEQ]
    rows = [[gap.time, gap.what, str(gap.seq)] for gap in report.gaps]
    parts: list[Markup] = [table("What happened to the log itself, and calls without an end", columns, rows)]
    if report.gaps_cut:
        parts.append(element("p", f"{number(report.gaps_cut)} more are counted and not shown.", class_="meta"))
    return parts


def _words() -> Markup:
    pairs = [each for name, said in WORDS.items() for each in (element("dt", name), element("dd", said))]
    return element("dl", *pairs, class_="words")


def _foot(made: datetime | None) -> Markup:
    at = (made or datetime.now(UTC)).strftime("%Y-%m-%d %H:%M:%S")
    said = (
        f"Made by fsserver on {at} UTC from the log alone. The log says what the server reported; a report is a "
        "summary, and the log is the evidence."
    )
    return element("footer", element("p", said))


def _nothing(said: str) -> Markup:
    return element("p", said, class_="meta")
