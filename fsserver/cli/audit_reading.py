"""``fsserver audit tail | query | explain``: a log for reading. Loads nothing that a server needs."""

from __future__ import annotations

import os
import shutil
import sys
import time
from contextlib import closing
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING

import click

from fsserver.audit.phrases import DECISIONS, EVENTS
from fsserver.cli.audit_options import Known, Moment
from fsserver.cli.endings import told
from fsserver.policy.toolnames import TOOL_NAMES

if TYPE_CHECKING:
    from fsserver.audit.query import Found
    from fsserver.audit.reading import Entry

POLL_S = 0.25
_NARROW = 80  # columns; below that the date is left out
_UNBOUNDED = 1000  # columns of a line that goes into a file or a pipe
_LEAST = 20  # columns left to the details, however narrow the terminal
_COLOURS = {"refused": "yellow", "failed": "red", "begins": "cyan", "asked": "cyan"}


@click.command(short_help="Find calls in a log.")
@click.argument("path", metavar="FILE|DIR", type=click.Path())
@click.option("--tool", "tools", multiple=True, type=Known("tool", TOOL_NAMES), metavar="TOOL", help="A tool's calls.")
@click.option(
    "--decision",
    "decisions",
    multiple=True,
    type=Known("decision", DECISIONS),
    metavar="ok|failed|refused",
    help="How calls ended.",
)
@click.option("--event", "events", multiple=True, type=Known("event", EVENTS), metavar="EVENT", help="Such records.")
@click.option("--command", "commands", multiple=True, metavar="NAME", help="Runs of a command of the policy.")
@click.option("--path", "glob", metavar="GLOB", help="Calls on such names, as in a policy: '*.py', '/src/**'.")
@click.option("--principal", help="Calls for this principal.")
@click.option("--session", help="Calls of this session.")
@click.option("--since", type=Moment(), metavar="TIME|AGO", help="RFC 3339, or 10m, 2h, 3d ago.")
@click.option("--until", type=Moment(), metavar="TIME|AGO", help="The same.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="No more than the first N.")
@click.option(
    "--format",
    "form",
    type=Known("format", ("table", "json")),
    default="table",
    metavar="table|json",
    show_default=True,
)
def query(
    *,
    path: str,
    tools: tuple[str, ...],
    decisions: tuple[str, ...],
    events: tuple[str, ...],
    commands: tuple[str, ...],
    glob: str | None,
    principal: str | None,
    session: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int | None,
    form: str,
) -> None:
    """Find calls and other records in a log, oldest first.

    Options narrow each other; one that is given several times means any of its values. In the table an intent and its
    outcome are one line. With --format json the records are printed as they are in the log, one a line, each intent
    before its outcome. Nothing is verified here: `fsserver audit verify` does that. Exit code: 0, also if nothing is
    found; 2 if the log cannot be read, or a file of the directory: the others are looked through all the same.
    """
    from fsserver.audit.query import Query, path_pattern, search  # noqa: PLC0415  (loaded when used)
    from fsserver.audit.reading import Reader  # noqa: PLC0415
    from fsserver.policy.globs import GlobError  # noqa: PLC0415

    try:
        pattern = None if glob is None else path_pattern(glob)
    except GlobError as error:
        hint = f" ({error.help})" if error.help else ""
        raise click.BadParameter(f"{error.message}{hint}.", param_hint="--path") from None
    wanted = Query(tools, decisions, events, commands, pattern, principal, session, since, until)
    with told():
        reader = Reader(path)
        table = Table(several=len(reader.chains) > 1)
        for found in islice(search(reader.entries(), wanted), limit):
            if form == "json":
                for entry in found.entries:
                    click.echo(entry.raw.decode("ascii"), nl=False)
            else:
                table.show(found)
    _tell_strange(reader.strange)
    for message in reader.unread:
        click.echo(f"Error: {message}", err=True)
    if reader.unread:
        sys.exit(2)


def _tell_strange(lines: int) -> None:
    if lines:
        said = "One line is no record." if lines == 1 else f"{lines} lines are no records."
        click.echo(f"{said} `fsserver audit verify` says what is wrong.", err=True)


@click.command(short_help="The newest records, and what comes.")
@click.argument("path", metavar="FILE|DIR", type=click.Path())
@click.option("-n", "count", type=click.IntRange(0, 100_000), default=10, show_default=True, help="How many.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written, until Ctrl-C.")
def tail(path: str, count: int, follow: bool) -> None:
    """Show the newest records of the newest run, one a line.

    With -f the file is followed, its rotation, and in a directory each run that begins.
    """
    from fsserver.audit.following import Follower  # noqa: PLC0415  (loaded when used)
    from fsserver.audit.query import Found, Open  # noqa: PLC0415

    with told(), closing(Follower(path)) as follower:
        table = Table(several=os.path.isdir(path))
        begun: dict[str, Open] = {}

        def show(entry: Entry) -> None:
            calls = begun.setdefault(entry.chain, Open())
            event = entry.record["event"]
            if event == "run.start":
                calls.clear()
            table.show(Found(entry, calls.end(entry.record)))
            if event == "call.intent":
                calls.begin(entry)
            if event == "run.end":
                del begun[entry.chain]

        for entry in follower.newest(count):
            show(entry)
        _tell_strange(follower.strange)
        while follow:
            sys.stdout.flush()
            time.sleep(POLL_S)
            for entry in follower.more():
                show(entry)


@click.command(short_help="One record in plain words.")
@click.argument("path", metavar="FILE|DIR", type=click.Path())
@click.argument("seq", type=click.IntRange(1))
def explain(path: str, seq: int) -> None:
    """Say what happened in record SEQ, and why: who, what, which rule, what changed, and what holds it fast."""
    from fsserver.audit.explaining import explain as sections_of  # noqa: PLC0415  (loaded when used)
    from fsserver.audit.explaining import find  # noqa: PLC0415

    with told():
        for title, lines in sections_of(find(path, seq)):
            if title:
                click.echo(click.style(f"\n{title}", bold=True))
            for line in lines:
                click.echo(f"  {line}" if title else line)


class Table:
    """Rows that fit the terminal: number, time, tool or event, result, details."""

    def __init__(self, *, several: bool) -> None:
        self._several = several
        self._chain: str | None = None
        bounded = "COLUMNS" in os.environ or (sys.stdout is not None and sys.stdout.isatty())  # None: it is closed
        self._columns = shutil.get_terminal_size().columns if bounded else _UNBOUNDED

    def show(self, found: Found) -> None:
        """Print one row; above the first of each chain its file, if there may be several."""
        from fsserver.audit.fields import fitted, shown  # noqa: PLC0415  (loaded when used)
        from fsserver.audit.phrases import line, stamp  # noqa: PLC0415

        entry = found.entry
        if self._several and entry.chain != self._chain:
            click.echo(click.style(fitted(shown(entry.chain), self._columns), dim=True))
            self._chain = entry.chain
        record = entry.record
        row = line(record, None if found.intent is None else found.intent.record)
        at = stamp(record.get("time"), date=self._columns >= _NARROW)
        start = f"{shown(record['seq'], 20):>6} {at} {fitted(row.what, 26):<18} "
        result = f"{row.result:<8} "
        left = max(_LEAST, self._columns - len(start) - len(result))
        styled = click.style(result, fg=_COLOURS.get(row.result))
        click.echo(f"{start}{styled}{fitted(row.details, left)}".rstrip())
