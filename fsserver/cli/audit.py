"""``fsserver audit``: what a person or a build does with an audit log. Loads nothing that a server needs."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from fsserver.audit.verify import Chain, Verdict

_WORDS = {"WHOLE": ("whole", "green"), "TAMPERED": ("TAMPERED", "red"), "UNREADABLE": ("unreadable", "red")}
_WORDS |= {"CUT": ("CUT", "red"), "TORN": ("torn", "yellow")}


def _head(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """A SHA-256 in hexadecimal."""
    text = None if value is None else value.strip().lower()
    if text is not None and (len(text) != 64 or not set(text) <= set("0123456789abcdef")):
        raise click.BadParameter(
            "a head is 64 hexadecimal digits, as `fsserver audit verify` prints it.", context, parameter
        )
    return text


@click.group(short_help="Verify the audit log.")
def audit_group() -> None:
    """Work with the audit log."""


@audit_group.command(short_help="Check that nobody changed a log.")
@click.argument("path", metavar="FILE|DIR", type=click.Path())
@click.option("--expect-head", callback=_head, metavar="HASH", help="A head noted earlier; it must be in the log.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def verify(path: str, expect_head: str | None, as_json: bool) -> None:
    """Check that no record of a log was changed, removed, added or moved.

    Exit code: 0 whole; 1 tampered; 2 unreadable, empty or no audit log; 3 cut: the expected head, or a file that the
    log names, is not there; 4 torn: the last line has no end, as after a crash. A cut tail shows only with
    --expect-head.
    """
    from fsserver.audit.verify import verify as verify_log  # noqa: PLC0415  (loaded when used)

    verdict = verify_log(path, expect_head)
    if as_json:
        click.echo(json.dumps(_plain(verdict), indent=2))
    else:
        click.echo(_text(verdict), color=False if os.environ.get("NO_COLOR") else None)
    sys.exit(int(verdict.status))


def _plain(verdict: Verdict) -> dict[str, Any]:
    return {
        "path": verdict.path,
        "verdict": verdict.status.name.lower(),
        "exit": int(verdict.status),
        "message": verdict.message,
        "expectedHead": verdict.expect_head,
        "expectedHeadFound": None if verdict.expect_head is None else any(c.expected for c in verdict.chains),
        "otherEntries": verdict.skipped,
        "chains": [
            {
                "files": chain.files,
                "verdict": chain.status.name.lower(),
                "firstSeq": chain.first,
                "lastSeq": chain.last.seq,
                "head": chain.last.head,
                "runs": chain.runs,
                "healed": chain.healed,
                "ended": chain.ended,
                "beingWritten": chain.live,
                "expectedHeadSeq": chain.expected,
                "problem": chain.problem
                and {
                    "file": chain.problem.file,
                    "line": chain.problem.line,
                    "seq": chain.problem.seq,
                    "reason": chain.problem.reason,
                },
            }
            for chain in verdict.chains
        ],
    }


def _text(verdict: Verdict) -> str:
    lines = [line for chain in verdict.chains for line in _chain_lines(chain)]
    if verdict.message:
        lines.append(f"{_status(verdict.status.name)} {_name(verdict.path)}: {verdict.message}")
    if verdict.skipped:
        lines.append(f"Not looked at: {_times(verdict.skipped, 'other entry', 'other entries')}, no .jsonl.")
    whole = verdict.status.name == "WHOLE"
    if verdict.chains and (whole or verdict.expect_head is not None):
        lines.append(_about_head(verdict))
    return "\n".join(lines)


def _chain_lines(chain: Chain) -> list[str]:
    """One chain: the verdict and the files, then what is wrong, then what is in it."""
    records = chain.first and chain.last.seq >= chain.first
    lines = [f"{_status(chain.status.name)} {' → '.join(_name(file) for file in chain.files)}"]
    if chain.problem is not None:
        problem = chain.problem
        line = f", line {problem.line}" if problem.line else ""
        lines.append(f"  {_name(problem.file)}{line}: record {problem.seq} {problem.reason}.")
    if records:
        healed = f", healed {_times(chain.healed, 'time')}" if chain.healed else ""
        lines.append(f"  sound records {chain.first} to {chain.last.seq}, {_times(chain.runs, 'run')}{healed}")
        lines.append(f"  head {chain.last.head}")
    if chain.first > 1:
        lines.append("  begins in the middle: the files before it were not looked at")
    if chain.live:
        lines.append("  is being written now: verified up to what was there when it was read")
    elif records and not chain.ended and not chain.problem:
        lines.append("  does not end with run.end: the server was killed, or the tail was cut")
    return lines


def _about_head(verdict: Verdict) -> str:
    if verdict.expect_head is None:
        return (
            "Verified within itself. A tail that was cut off, or a log written anew, shows only against a head kept "
            "elsewhere: --expect-head."
        )
    for chain in verdict.chains:
        if chain.expected is not None:
            return (
                f"The expected head is record {chain.expected}; {chain.last.seq - chain.expected} sound records follow."
            )
    return "The expected head is not there: records were cut off, or the log was written anew."


def _times(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _status(name: str) -> str:
    word, colour = _WORDS[name]
    return click.style(f"{word:<10}", fg=colour, bold=True)


def _name(name: str) -> str:
    """A file name that cannot act on the terminal."""
    return name if name.isprintable() and name.isascii() else ascii(name)
