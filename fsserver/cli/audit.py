"""``fsserver audit``: what a person or a build does with an audit log. Loads nothing that a server needs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from fsserver.cli import audit_options, audit_reading, audit_report
from fsserver.cli.audit_keys import head, keygen
from fsserver.cli.endings import told

if TYPE_CHECKING:
    from fsserver.audit.signing import PublicKey


@click.group(short_help="Read, verify and sign the audit log.")
def audit_group() -> None:
    """Work with the audit log."""


for _verb in (keygen, head, audit_reading.tail, audit_reading.query, audit_reading.explain, audit_report.report):
    audit_group.add_command(_verb)


@audit_group.command(short_help="Check that nobody changed a log.")
@click.argument("path", metavar="FILE|DIR", type=click.Path())
@click.option(
    "--expect-head", callback=audit_options.head, metavar="HASH", help="A head noted earlier; it must be in the log."
)
@audit_options.public_keys
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def verify(path: str, expect_head: str | None, keys: Sequence[PublicKey], as_json: bool) -> None:
    """Check that no record of a log was changed, removed, added or moved, and that its signatures hold.

    Exit code: 0 whole; 1 tampered; 2 unreadable, empty or no audit log; 3 cut: the expected head, a signature by the
    expected key, or a file that the log names, is not there; 4 torn: the last line has no end, as after a crash. A cut
    tail shows only with --expect-head; a log written anew also with --public-key.
    """
    from fsserver.audit.verify import verify as verify_log  # noqa: PLC0415  (loaded when used)
    from fsserver.cli.audit_verdict import plain, text  # noqa: PLC0415

    with told() as ending:
        verdict = verify_log(path, expect_head, keys)
        ending.code = int(verdict.status)
        if as_json:
            click.echo(json.dumps(plain(verdict), indent=2))
        else:
            click.echo(text(verdict))
    sys.exit(ending.code)
