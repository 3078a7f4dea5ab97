"""``fsserver serve``: load a policy, or make one from ``--root``, and serve it, over stdio or HTTP as it says."""

from __future__ import annotations

import gc
import json
import shlex
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Final

import click

from fsserver import __version__
from fsserver.cli.selection import Selection, refuse_what_is_no_option
from fsserver.errors import AuditError, ConfigError, FsserverError, KernelUnsupported, SandboxSetupError
from fsserver.policy.compiled import Policy
from fsserver.policy.service import Transport

EXIT_CONFIG = 2
EXIT_KERNEL = 3

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@click.command(short_help="Serve files and commands to MCP clients.", context_settings={"allow_extra_args": True})
@click.option("--policy", "policy_file", type=click.Path(path_type=Path), help="The YAML policy to serve.")
@click.option("--root", "roots", multiple=True, metavar="DIR", help="Serve this directory, read-only. Repeatable.")
@click.option("--write", is_flag=True, help="With --root: the directories may be written to.")
@click.option("--profile", metavar="NAME", help="With --policy: serve one profile of it.")
@click.option(
    "--strict",
    is_flag=True,
    help="Exit 3 rather than serve with less confinement than the policy requires, of the server or of its commands. "
    "Otherwise file tools are served without it, and no commands.",
)
@click.pass_context
def serve(
    context: click.Context,
    /,
    *,
    policy_file: Path | None,
    roots: tuple[str, ...],
    write: bool,
    profile: str | None,
    strict: bool,
) -> None:
    """Serve the files and commands of a policy: to one MCP client over standard input and output, or to many over HTTP
    where the policy says `server: {transport: http}`.
    """
    refuse_what_is_no_option(context.args)
    selection = Selection(policy_file, roots, write, profile)
    selection.check(needed=True)
    _end_in_order()
    gc.disable()  # nearly all that is made until the first message stays; the transport turns collection on again
    try:
        policy = selection.load()
        by_hand = policy.server.transport is Transport.STDIO and _by_hand()
        introduction = _introduction(policy, selection, strict=strict) if by_hand else None

        def introduce() -> None:
            if introduction is not None:
                click.echo(introduction, err=True)

        if policy.server.transport is Transport.HTTP:
            from fsserver.app.http import serve_http  # noqa: PLC0415  (as below)

            serve_http(policy)
        else:
            from fsserver.app.stdio import serve_stdio  # noqa: PLC0415  (confines itself before it loads the SDK)

            serve_stdio(policy, strict=strict, confined=introduce)
    except (ConfigError, AuditError) as error:
        _fail(error, EXIT_CONFIG)
    except (KernelUnsupported, SandboxSetupError) as error:
        _fail(error, EXIT_KERNEL)


def _by_hand() -> bool:
    """Whether a person started this on a terminal. A closed standard input is none: Python has no `sys.stdin` then."""
    return sys.stdin is not None and sys.stdin.isatty()


def _end_in_order() -> None:
    """From now on a signal unwinds what is open, so that the audit log gets its last record. The transport takes the
    signals over when it serves.
    """

    def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_IGN)  # the end is not to be cut off
        sys.exit(0)

    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup(1)
            signal.signal(number, end)


def _introduction(policy: Policy, selection: Selection, *, strict: bool) -> str:
    """What a person sees who starts the server by hand: what it is and how a client starts it."""
    program, *arguments = _own_command()
    arguments += ["serve", *selection.arguments(policy)]
    if strict:
        arguments.append("--strict")
    entry = json.dumps({"mcpServers": {"fsserver": {"command": program, "args": arguments}}}, indent=2)
    granted = "\n".join(f"  {root.mode}  {root.path}" for root in policy.roots)
    granted += "".join(f"\n  run {name}" for name in policy.commands)
    return (
        f"fsserver {__version__} is an MCP server: a client starts it and talks to it over stdin and stdout.\n\n"
        f"It grants:\n{granted}\n\n"
        f"Claude Desktop and Cursor take this in their configuration:\n{entry}\n\n"
        f"Claude Code:\n  claude mcp add fsserver -- {shlex.join([program, *arguments])}\n\n"
        "Now waiting for a client on this terminal. Ctrl-D or Ctrl-C ends the server."
    )


def _own_command() -> list[str]:
    """How a client starts this program: the installed script, or Python with the module."""
    started = Path(sys.argv[0]).absolute()
    return [sys.executable, "-m", "fsserver"] if started.name == "__main__.py" else [str(started)]


def _fail(error: FsserverError, status: int) -> None:
    click.echo(error.message, err=True)
    sys.exit(status)
