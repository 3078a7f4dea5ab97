"""``fsserver audit report``: a log as something to hand over."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from fsserver.cli.audit_options import Known, head, public_keys
from fsserver.cli.endings import told

if TYPE_CHECKING:
    from fsserver.audit.report_data import Report
    from fsserver.audit.signing import PublicKey

_FORMS = {".html": "html", ".htm": "html", ".md": "markdown", ".markdown": "markdown", ".json": "json"}


@click.command(short_help="A log as HTML, Markdown or JSON.")
@click.argument("path", metavar="FILE|DIR", type=click.Path())
@click.option("-o", "--output", type=click.Path(dir_okay=False), metavar="FILE", help="Where to; HTML needs it.")
@click.option("--format", "form", type=Known("format", ("html", "markdown", "json")), metavar="html|markdown|json")
@click.option("--title", default="What was done, and what was refused", show_default=True, help="The heading.")
@public_keys
@click.option("--expect-head", callback=head, metavar="HASH", help="A head noted earlier; it must be in the log.")
def report(
    *,
    path: str,
    output: str | None,
    form: str | None,
    title: str,
    keys: Sequence[PublicKey],
    expect_head: str | None,
) -> None:
    """Verify a log and say what is in it: who did what, what was refused by which rule, which files changed.

    The format is that of the output's name (.html, .md, .json) if --format does not say it. HTML is one file that
    needs no network and runs no script. Exit code: that of `fsserver audit verify`; the report is written all the
    same, from what is sound.
    """
    from fsserver.audit.fields import shown  # noqa: PLC0415  (loaded when used)
    from fsserver.audit.report import make_report  # noqa: PLC0415

    form = form or _form_of(output)
    if form == "html" and output is None:
        raise click.UsageError("HTML goes to a file: -o report.html. Markdown and JSON go to standard output too.")
    if output is not None and _is_of_the_log(output, path):
        raise click.UsageError(f"{output!a} is a file of the log; a report would take its place.")
    with told() as ending:
        with ExitStack() as stack:
            made = make_report(path, expect_head=expect_head, keys=keys, on_bytes=_progress(path, stack))
        ending.code = int(made.verdict.status)
        if made.verdict.status.name == "UNREADABLE" and not made.records:
            problem = made.verdict.message or "no audit log"
            click.echo(f"Error: {path!a}: {problem}.", err=True)
        else:
            _write(_rendered(made, form, shown(title)), output)
    sys.exit(ending.code)


def _is_of_the_log(output: str, path: str) -> bool:
    """The log itself, or what looks like a part of it: a report is never called .jsonl."""
    return output.endswith(".jsonl") or (os.path.realpath(output) == os.path.realpath(path))


def _rendered(made: Report, form: str, title: str) -> str:
    from fsserver.audit import report_html, report_json, report_markdown  # noqa: PLC0415  (loaded when used)

    if form == "html":
        return report_html.render(made, title=title)
    if form == "json":
        return report_json.render(made, title=title)
    return report_markdown.render(made, title=title)


def _form_of(output: str | None) -> str:
    if output is None:
        return "markdown"
    form = _FORMS.get(os.path.splitext(output)[1].lower())
    if form is None:
        raise click.UsageError(f"{output!a} does not say which format: name it .html, .md or .json, or use --format.")
    return form


def _progress(path: str, stack: ExitStack) -> Callable[[int], object] | None:
    """A bar over the bytes of the log, on standard error, if that is a terminal."""
    if sys.stderr is None or not sys.stderr.isatty():  # None: it is closed
        return None
    bar = click.progressbar(length=max(1, _size(path)), label="Reading", file=sys.stderr)
    return stack.enter_context(bar).update


def _size(path: str) -> int:
    """Bytes of the log, roughly: files that a rotation added are known to `verify` only."""
    try:
        if not os.path.isdir(path):
            return os.stat(path).st_size
        return sum(entry.stat().st_size for entry in os.scandir(path) if entry.name.endswith(".jsonl"))
    except OSError:
        return 0


def _write(text: str, output: str | None) -> None:
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        with open(output, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        click.echo(f"Error: {output!a} cannot be written: {error.strerror}.", err=True)
        sys.exit(2)
    click.echo(f"{output}: written.", err=True)
