"""A report as GitHub-flavoured Markdown, short enough for the summary of a build.

*Invariant.* No text from a log makes a link, an image, a mention, HTML, a formula, or another row or cell of a table:
what could is escaped, or written as a character reference (CommonMark 0.31, 2.4 and 2.5).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from fsserver.audit.report_data import Group, Report
from fsserver.audit.report_words import (
    BAD,
    CAREFUL,
    DASH,
    bytes_or_dash,
    duration_or_dash,
    exits_words,
    judgement,
    net_change,
    number,
    summary,
)

MOST_ROWS: Final = 20  # of each table; how many more there are is said

_BACKSLASHED: Final = re.compile(r"([\\`*_{}\[\]#!|~^])")
_REFERRED: Final = re.compile(r"[<>&@$]|:(?!\s)|(?i:(?<=www)\.)")  # these act even after a backslash, somewhere
_MARKS: Final = {BAD: "❌", CAREFUL: "⚠️"}


def escaped(text: str) -> str:
    """A shown text that stays text, in a paragraph or a cell."""
    referred = _REFERRED.sub(lambda found: f"&#{ord(found[0])};", text)
    return re.sub(r"&\\#", "&#", _BACKSLASHED.sub(r"\\\1", referred))


def render(report: Report, *, title: str) -> str:
    """The verdict, the summary, and the tables that a reviewer looks at."""
    tone, headline, sentences = judgement(report)
    parts = [
        f"## {escaped(title)}",
        f"{_MARKS.get(tone, '✅')} **{escaped(headline)}.** {escaped(' '.join(sentences))}",
    ]
    heads = [chain.last for chain in report.verdict.chains if chain.last.seq]
    if len(heads) == 1:
        parts.append(f"Head, record {heads[0].seq}: `{heads[0].head}`")
    parts.append(escaped(" ".join(summary(report))))
    parts += _tools(report)
    parts += _groups("What was refused", report.refusals)
    parts += _files(report)
    parts += _commands(report)
    parts += _groups("What failed", report.failures)
    parts += _groups("Limits reached", report.limits)
    gaps = [[str(gap.seq), gap.time, gap.what] for gap in report.gaps]
    parts += _table("The log itself", ["Record", "Time", "What"], gaps, report.gaps_cut)
    return "\n\n".join(parts) + "\n"


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], cut: int = 0) -> list[str]:
    """A heading and a table; nothing if there are no rows. A column whose title ends in a space is of numbers."""
    if not rows:
        return []
    lines = [
        f"| {' | '.join(title.strip() for title in columns)} |",
        f"|{'|'.join(' ---: ' if title.endswith(' ') else ' --- ' for title in columns)}|",
        *(f"| {' | '.join(escaped(cell) for cell in row)} |" for row in rows[:MOST_ROWS]),
    ]
    left = len(rows) - MOST_ROWS + cut if len(rows) > MOST_ROWS else cut
    more = [f"and {number(left)} more"] if left else []
    return [f"### {title}", "\n".join(lines), *more]


def _tools(report: Report) -> list[str]:
    columns = ["Tool", "Calls ", "Succeeded ", "Refused ", "Failed ", "Typical time ", "Longest ", "Data "]
    rows = [
        [
            tool.tool,
            *(number(count) for count in (tool.calls, tool.ok, tool.refused, tool.failed)),
            duration_or_dash(tool.p50_us),
            duration_or_dash(tool.max_us),
            bytes_or_dash(tool.bytes),
        ]
        for tool in report.tools
    ]
    return _table("Calls by tool", columns, rows)


def _groups(title: str, groups: Sequence[Group]) -> list[str]:
    rows = [
        [group.code, number(group.count), group.rule or DASH, f"{group.tool} {group.example}".strip(), str(group.seq)]
        for group in groups
    ]
    return _table(title, ["What", "Count ", "Rule", "First of them", "Record "], rows)


def _files(report: Report) -> list[str]:
    rows = [
        [f"{change.root}/{change.name}", net_change(change), number(change.changes), change.after.sha256 or DASH]
        for change in report.changes
    ]
    columns = ["File", "In the end", "Changes ", "SHA-256 after the last"]
    return _table("Files changed", columns, rows, report.changes_cut)


def _commands(report: Report) -> list[str]:
    rows = [[each.command, number(each.runs), exits_words(each)] for each in report.commands]
    return _table("Commands", ["Command", "Runs ", "How they ended"], rows)
