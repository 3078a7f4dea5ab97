"""``fsserver token``: the static tokens with which clients prove who they are over HTTP."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import click

from fsserver.cli.private_directory import make_directory
from fsserver.errors import ConfigError
from fsserver.transport.auth.token_file import (
    StoredToken,
    add_token,
    check_name,
    read_tokens,
    remove_token,
    written_time,
)

_APPLY = "A running server takes this over at SIGHUP."
_LAST = 250_000_000_000.0  # the year 9892: later ones have no four digits

_file = click.option("--file", "path", metavar="FILE", required=True, type=click.Path(), help="The file of tokens.")
_json = click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")


@click.group(short_help="Make, list and revoke static tokens.")
def token_group() -> None:
    """Work with the file that `server: {auth: {tokens: FILE}}` names. It holds hashes, never a token."""


@token_group.command(short_help="Make a token and print it once.")
@click.argument("name")
@_file
@click.option("--expires", metavar="TIME", help="How long it holds, such as 90d or 12h. Default: until it is revoked.")
@_json
def new(name: str, path: str, expires: str | None, as_json: bool) -> None:
    """Make a token called NAME and add its hash to FILE, which is made if it is not there, with its directory.

    Standard output gets the token and nothing else. It is written nowhere: who loses it makes another one. NAME is who
    the principal is, `token:NAME`. Exit code: 0 made; 2 not.
    """
    lifetime_s = None if expires is None else _duration(expires)
    with _told():
        check_name(name)
        make_directory(os.path.dirname(os.path.abspath(path)))
        token, stored = add_token(os.path.abspath(path), name, lifetime_s)
    shown = (
        json.dumps({**_plain(stored), "token": token, "file": os.path.abspath(path)}, indent=2) if as_json else token
    )
    try:
        click.echo(shown)
    except OSError:  # nobody has it, and its name would be taken
        with suppress(ConfigError):
            remove_token(os.path.abspath(path), name)
        raise
    if as_json:
        return
    until = "never expires" if stored.expires is None else f"expires {written_time(stored.expires)}"
    click.echo(f"Token {name} {until}. It is shown this once. {_APPLY}", err=True)


@token_group.command("list", short_help="List the names of the tokens.")
@_file
@_json
def list_tokens(path: str, as_json: bool) -> None:
    """List the tokens of FILE, each with the time at which it expires. Exit code: 0; 2 FILE cannot be used."""
    with _told():
        tokens = read_tokens(os.path.abspath(path), foreign=True)
    if as_json:
        click.echo(json.dumps({"tokens": [_plain(each) for each in tokens]}, indent=2))
        return
    width = max((len(each.name) for each in tokens), default=0)
    for each in tokens:
        until = "never expires" if each.expires is None else written_time(each.expires)
        click.echo(f"{each.name:{width}}  {until}" + ("  expired" if each.expired(time.time()) else ""))


@token_group.command(short_help="Remove a token.")
@click.argument("name")
@_file
@_json
def revoke(name: str, path: str, as_json: bool) -> None:
    """Remove the token NAME from FILE. Exit code: 0 removed; 2 there is none, or FILE cannot be changed."""
    with _told():
        remove_token(os.path.abspath(path), name)
    if as_json:
        click.echo(json.dumps({"name": name, "revoked": True, "file": os.path.abspath(path)}, indent=2))
        return
    click.echo(f"Token {name} is revoked. {_APPLY}", err=True)


def _plain(token: StoredToken) -> dict[str, object]:
    expires = None if token.expires is None else written_time(token.expires)
    return {"name": token.name, "expires": expires, "expired": token.expired(time.time())}


def _duration(text: str) -> float:
    from fsserver.policy.problems import LanguageError  # noqa: PLC0415 - few tokens are made with a time
    from fsserver.policy.units import duration_s  # noqa: PLC0415

    try:
        lifetime_s = duration_s(text)
    except LanguageError as error:
        raise click.BadParameter(str(error), param_hint="--expires") from None
    if time.time() + lifetime_s > _LAST:
        raise click.BadParameter("that is later than any calendar; leave it out.", param_hint="--expires")
    return lifetime_s


@contextmanager
def _told() -> Iterator[None]:
    """What goes wrong is one line and exit code 2."""
    try:
        yield
    except ConfigError as error:
        click.echo(error.message, err=True)
        sys.exit(2)
