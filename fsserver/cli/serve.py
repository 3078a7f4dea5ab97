"""``fsserver serve``: load a policy, or make one from ``--root``, and serve it over stdio."""

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
from fsserver.errors import AuditError, ConfigError, FsserverError, KernelUnsupported, SandboxSetupError
from fsserver.policy.compiled import Policy

EXIT_CONFIG = 2
EXIT_KERNEL = 3

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@click.command()
@click.option("--policy", "policy_file", type=click.Path(path_type=Path), help="The YAML policy to serve.")
@click.option("--root", "roots", multiple=True, metavar="DIR", help="Serve this directory, read-only. Repeatable.")
@click.option("--write", is_flag=True, help="With --root: the directories may be written to.")
@click.option("--profile", metavar="NAME", help="With --policy: serve one profile of it.")
@click.option("--strict", is_flag=True, help="Exit 3 rather than serve with less confinement than the policy requires.")
def serve(policy_file: Path | None, roots: tuple[str, ...], write: bool, profile: str | None, strict: bool) -> None:
    """Serve file tools to one MCP client over standard input and output."""
    _end_in_order()
    gc.disable()  # nearly all that is made until the first message stays; the transport turns collection on again
    try:
        policy = _load(policy_file, roots, write, profile)
        if sys.stdin.isatty():
            click.echo(_introduction(policy, roots, write), err=True)
        from fsserver.app import serve_stdio  # noqa: PLC0415  (opens roots and confines itself before it loads the SDK)

        serve_stdio(policy, strict=strict)
    except (ConfigError, AuditError) as error:
        _fail(error, EXIT_CONFIG)
    except (KernelUnsupported, SandboxSetupError) as error:
        _fail(error, EXIT_KERNEL)


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


def _load(policy_file: Path | None, roots: tuple[str, ...], write: bool, profile: str | None) -> Policy:
    if (policy_file is None) == (not roots):
        raise click.UsageError("Say what to serve: either --policy FILE or --root DIR (repeatable).")
    if policy_file is None:
        if profile:
            raise click.UsageError("--profile needs --policy: profiles are written in a policy file.")
        from fsserver.policy.loader import policy_from_roots  # noqa: PLC0415

        return policy_from_roots(roots, write=write)
    if write:
        raise click.UsageError("--write goes with --root; in a policy file, write `mode: rw` at the root.")
    from fsserver.policy.decision import narrow  # noqa: PLC0415
    from fsserver.policy.loader import load_policy  # noqa: PLC0415

    policy = load_policy(policy_file)
    return narrow(policy, profile) if profile else policy


def _introduction(policy: Policy, roots: tuple[str, ...], write: bool) -> str:
    """What a person sees who starts the server by hand: what it is and how a client starts it."""
    program, *arguments = _own_command()
    arguments.append("serve")
    if policy.source:
        arguments += ["--policy", policy.source]
    for root in roots:
        arguments += ["--root", str(Path(root).expanduser().absolute())]
    if write:
        arguments.append("--write")
    entry = json.dumps({"mcpServers": {"fsserver": {"command": program, "args": arguments}}}, indent=2)
    granted = "\n".join(f"  {root.mode}  {root.path}" for root in policy.roots)
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
