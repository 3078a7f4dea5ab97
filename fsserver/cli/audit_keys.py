"""``fsserver audit keygen`` and ``head``: what makes it possible to prove later that a log is the one it was."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fsserver.cli.endings import told
from fsserver.cli.private_directory import make_directory
from fsserver.errors import ConfigError

if TYPE_CHECKING:
    from fsserver.audit.head import Head


@click.command(short_help="Make the key that signs a log.")
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(),
    help="Where the private key goes. Default: fsserver/audit.key in $XDG_CONFIG_HOME, or in ~/.config.",
)
def keygen(out: str | None) -> None:
    """Make an Ed25519 key: FILE for the server, FILE.pub for whoever verifies.

    An existing file is never replaced: what it signed could not be verified any more. Exit code: 0 made; 2 not.
    """
    from fsserver.audit.signing import generate  # noqa: PLC0415  (loads cryptography)

    try:
        private = os.path.abspath(out) if out else _default_key()
        make_directory(os.path.dirname(private))
        public = generate(private, f"{private}.pub").public
    except ConfigError as error:
        click.echo(error.message, err=True)
        sys.exit(2)
    click.echo(
        f"private key  {private}\npublic key   {private}.pub\nkey id       {public.id}\nEd25519      {public.text}\n\n"
        f"Sign the audit log with it, in the policy:\n\n  audit:\n    key: {json.dumps(private)}\n\n"
        "Keep the public key where the log's writer cannot change it, and verify with it:\n\n"
        f"  fsserver audit verify FILE|DIR --public-key {Path(private).name}.pub\n\n"
        "Whoever has the private key can write a log anew. A policy is refused if one of its roots holds it."
    )


def _default_key() -> str:
    """Raises ConfigError: there is no home directory."""
    configuration = os.environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(configuration):
        from fsserver.policy.surroundings import Surroundings  # noqa: PLC0415

        configuration = os.path.join(Surroundings.of_process().home, ".config")
    return os.path.normpath(os.path.join(configuration, "fsserver", "audit.key"))


@click.command(short_help="Print the hash to keep elsewhere.")
@click.argument("path", metavar="[FILE|DIR]", required=False, type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def head(path: str | None, as_json: bool) -> None:
    """Print the head of a log: the hash of its last record, which holds fast all records before it.

    FILE is followed through its rotated files; of DIR the newest run is taken. Default: fsserver's own audit directory.
    Only the ends of the files are read. Exit code: 0; 1 the first or last record of a file does not verify; 2
    unreadable, empty or no audit log; 3 a file that the log names is not there; 4 the last line has no end.
    """
    from fsserver.audit.head import find_head  # noqa: PLC0415

    with told() as ending:
        found = find_head(path or _default_log())
        ending.code = int(found.status)
        _say(found, as_json=as_json)
    sys.exit(ending.code)


def _say(found: Head, *, as_json: bool) -> None:
    from fsserver.cli.audit_verdict import name  # noqa: PLC0415

    if as_json:
        shown = {
            "verdict": found.status.name.lower(),
            "exit": int(found.status),
            "file": found.file,
            "seq": found.position and found.position.seq,
            "head": found.position and found.position.head,
            "ended": found.ended,
            "beingWritten": found.live,
            "reason": found.reason,
        }
        click.echo(json.dumps(shown, indent=2))
        return
    if found.reason is not None:
        click.echo(f"{name(found.file)} {found.reason}.", err=True)
    if found.position is not None:
        last = "run.end" if found.ended else "being written now" if found.live else "not run.end"
        click.echo(f"head {found.position.head}\nrecord {found.position.seq} of {name(found.file)} ({last})")
        click.echo(
            "Keep it where the log's writer cannot change it: `audit verify --expect-head` then finds what was cut or "
            "written anew. Only the ends of the files were read; `fsserver audit verify` checks the rest."
        )


def _default_log() -> str:
    from fsserver.policy.surroundings import Surroundings  # noqa: PLC0415

    try:
        return os.path.join(Surroundings.of_process().state, "audit")
    except ConfigError as error:
        raise click.UsageError(error.message) from None
