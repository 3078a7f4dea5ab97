"""``fsserver state``: what several servers have in common."""

from __future__ import annotations

import json
import os
import secrets
import sys

import click

from fsserver.cli.private_directory import make_directory
from fsserver.errors import ConfigError

KEY_BYTES = 32


@click.group(short_help="Make the key that replicas share.")
def state_group() -> None:
    """Work with what replicas of a server share."""


@state_group.command(short_help="Make the key that seals sessions.")
@click.option("--out", metavar="FILE", required=True, type=click.Path(), help="Where the key goes.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def keygen(out: str, as_json: bool) -> None:
    """Make the key that seals sessions and questions, so that each replica takes what another one sealed.

    256 random bits in hexadecimal, for this user alone. An existing file is never replaced: what it sealed would not be
    taken any more. Exit code: 0 made; 2 not.
    """
    path = os.path.abspath(out)
    try:
        make_directory(os.path.dirname(path))
        _write(path, f"{secrets.token_hex(KEY_BYTES)}\n")
    except ConfigError as error:
        click.echo(error.message, err=True)
        sys.exit(2)
    except OSError as error:
        click.echo(f"{path} cannot be written: {error.strerror}.", err=True)
        sys.exit(2)
    if as_json:
        click.echo(json.dumps({"key": path}, indent=2))
        return
    click.echo(
        f"key  {path}\n\nShare it between the replicas of one server, in the policy:\n\n  state:\n"
        f"    key: {json.dumps(path)}\n\nWhoever has it can make sessions and consents of any caller. A policy is "
        "refused if one of its roots holds it."
    )


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        os.unlink(path)
        raise
