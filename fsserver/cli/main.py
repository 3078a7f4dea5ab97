"""The command line's root: one verb a file, loaded only when it is used so that every verb starts fast."""

from __future__ import annotations

import importlib
from typing import ClassVar, cast

import click

from fsserver import __version__

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class LazyGroup(click.Group):
    """A group whose verbs are imported at their first use."""

    verbs: ClassVar[dict[str, str]] = {
        "serve": "fsserver.cli.serve:serve",
        "policy": "fsserver.cli.policy:policy_group",
        "audit": "fsserver.cli.audit:audit_group",
        "doctor": "fsserver.cli.doctor:doctor",
    }

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(self.verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in self.verbs:
            return None
        module, attribute = self.verbs[cmd_name].split(":")
        return cast("click.Command", getattr(importlib.import_module(module), attribute))


@click.command(cls=LazyGroup, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="fsserver")
def main() -> None:
    """A sandboxed filesystem MCP server, governed by one YAML policy."""
