"""``fsserver policy``: look at a policy without serving it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

EXIT_CONFIG = 2


@click.group(short_help="Check a policy, or print the language's schema.")
def policy_group() -> None:
    """Check policies, and print what the policy language consists of."""


@policy_group.command(short_help="Load a policy; print what it grants or what is wrong.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(file: Path, as_json: bool) -> None:
    """Load FILE as the server would; print what it grants, or everything that is wrong with it (exit code 2)."""
    from fsserver.errors import ConfigError  # noqa: PLC0415 - `--help` needs none of it
    from fsserver.policy.loader import load_policy  # noqa: PLC0415
    from fsserver.policy.problems import PolicyErrors  # noqa: PLC0415

    try:
        policy = load_policy(file)
    except ConfigError as error:
        if as_json:
            from fsserver.policy.report import as_json as to_json  # noqa: PLC0415

            problems = to_json(error.problems) if isinstance(error, PolicyErrors) else []
            click.echo(json.dumps({"ok": False, "message": error.message, "problems": problems}, indent=2))
        else:
            click.echo(error.message, err=True)
        sys.exit(EXIT_CONFIG)
    if as_json:
        roots = [{"name": root.name, "path": root.path, "mode": root.mode.value} for root in policy.roots]
        profiles = sorted(policy.profiles)
        summary = {"ok": True, "name": policy.name, "digest": policy.digest, "roots": roots, "profiles": profiles}
        click.echo(json.dumps(summary, indent=2))
        return
    click.echo(f'{file}: ok, policy "{policy.name}"')
    for root in policy.roots:
        rules = f"{len(root.deny)} deny, {len(root.read_only)} read_only"
        click.echo(f"  {root.mode}  {root.name}  {root.path}  ({rules})")


@policy_group.command(short_help="Print the policy language as JSON Schema.")
def schema() -> None:
    """Print the policy language as JSON Schema, for editors."""
    from fsserver.policy.model import json_schema  # noqa: PLC0415

    click.echo(json.dumps(json_schema(), indent=2))
