"""The command line's root: one verb a file, loaded only when it is used so that every verb starts fast."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from io import TextIOWrapper
from typing import Any, ClassVar, Final, cast

import click

from fsserver import __version__

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

_UNWRITABLE: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class LazyGroup(click.Group):
    """A group whose verbs are imported at their first use."""

    verbs: ClassVar[dict[str, str]] = {
        "serve": "fsserver.cli.serve:serve",
        "policy": "fsserver.cli.policy:policy_group",
        "audit": "fsserver.cli.audit:audit_group",
        "token": "fsserver.cli.token:token_group",
        "state": "fsserver.cli.state:state_group",
        "doctor": "fsserver.cli.doctor:doctor",
    }

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(self.verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in self.verbs:
            return None
        module, attribute = self.verbs[cmd_name].split(":")
        return cast("click.Command", getattr(importlib.import_module(module), attribute))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click has it, with the nearest verb in the error: click looks for it among verbs that are loaded."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib  # noqa: PLC0415 - only after a mistake

            near = self._groups_of(ctx, args[0]) or difflib.get_close_matches(args[0].lower(), self.verbs, n=1)
            if "/" in args[0] and "serve" in self.verbs:  # as the reference server takes its directories
                near = [f"serve --root {args[0]}"]
            if args[0].startswith("-") or not near:
                raise
            raise click.UsageError(f"{error.message} Did you mean {' or '.join(map(repr, near))}?", ctx) from None

    def _groups_of(self, ctx: click.Context, verb: str) -> list[str]:
        """Where a verb is that was typed without its group."""
        groups = {name: self.get_command(ctx, name) for name in self.verbs}
        return [
            f"{name} {verb}" for name, each in groups.items() if isinstance(each, click.Group) and verb in each.commands
        ]

    def invoke(self, ctx: click.Context) -> Any:
        """As click has it, but never with a trace and code 1 for what cannot be said: some verbs have an answer of 1.

        What a stream's encoding cannot write is escaped, and an output that has no room is told, with code 2. Where
        NO_COLOR is set, no verb colours anything.
        """
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper) and stream.errors == "strict":
                stream.reconfigure(errors="backslashreplace")
        if os.environ.get("NO_COLOR"):
            ctx.color = False
        try:
            return super().invoke(ctx)
        except OSError as error:  # a verb tells of its files itself
            if ctx.invoked_subcommand == "serve":
                raise
            if isinstance(error, FileNotFoundError) and _is_nowhere():
                message = "The current directory was removed; give an absolute path, or go to another."
                raise click.UsageError(message, ctx) from None
            if error.errno not in _UNWRITABLE:
                raise
            from fsserver.cli.endings import leave_unwritten  # noqa: PLC0415 - only where that happens

            leave_unwritten(error)


def _is_nowhere() -> bool:
    """Whether the current directory was removed."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


@click.command(cls=LazyGroup, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="fsserver")
def main() -> None:
    """A sandboxed filesystem MCP server, governed by one YAML policy."""
