"""``fsserver policy``: look at a policy without serving it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from fsserver.policy.compiled import AnyArguments, BuiltinProgram, Command, Policy, SoughtProgram, Subcommands
from fsserver.policy.service import Transport

EXIT_REFUSED = 1
EXIT_CONFIG = 2

T = TypeVar("T")


@click.group(short_help="Check, explain and show policies.")
def policy_group() -> None:
    """Check policies, and print what the policy language consists of."""


@policy_group.command(short_help="Load a policy; print what it grants or what is wrong.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(file: Path, as_json: bool) -> None:
    """Load FILE as the server would; print what it grants, or everything that is wrong with it (exit code 2)."""
    from fsserver.policy.advice import warnings  # noqa: PLC0415 - `--help` needs none of it
    from fsserver.policy.loader import load_policy  # noqa: PLC0415

    policy = _or_exit(lambda: load_policy(file), as_json)
    if as_json:
        roots = [{"name": root.name, "path": root.written, "mode": root.mode.value} for root in policy.roots]
        summary = {
            "ok": True,
            "name": policy.name,
            "digest": policy.digest,
            "roots": roots,
            "commands": [_summary(command) for command in policy.commands.values()],
            "profiles": sorted(policy.profiles),
            "server": _served(policy),
            "warnings": list(warnings(policy)),
        }
        click.echo(json.dumps(summary, indent=2))
        return
    click.echo(f'{file}: ok, policy "{policy.name}"')
    for root in policy.roots:
        rules = f"{len(root.deny)} deny, {len(root.read_only)} read_only"
        click.echo(f"  {root.mode}  {root.name}  {root.written}  ({rules})")
    if policy.server.transport is Transport.HTTP:
        served = _served(policy)
        click.echo(
            f"  http  {served['listen']}  (auth: {', '.join(served['auth'])}; {served['principals']} principals)"
        )
    for command in policy.commands.values():
        facts = _summary(command)
        roots_seen = " ".join(f"{name}:{mode}" for name, mode in facts["roots"].items())
        click.echo(f"  run  {command.name}  {facts['program']}  ({facts['arguments']}; {roots_seen})")
    for warning in warnings(policy):
        click.echo(warning, err=True)


@policy_group.command(short_help="Say what would become of one call.")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("words", nargs=-1)
@click.option("--tool", help="Explain this file tool instead; WORDS are its paths, as in path=src/main.py.")
@click.option("--in", "directory", help="Where the command runs: ROOT or ROOT/DIRECTORY.")
@click.option("--profile", help="As this profile sees the policy.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def explain(
    file: Path, words: tuple[str, ...], *, tool: str | None, directory: str | None, profile: str | None, as_json: bool
) -> None:
    """Say what the policy would do with a call of a command, and why; nothing is run. Exit code 1: it is refused.

    \b
    fsserver policy explain policy.yaml -- git push origin
    fsserver policy explain policy.yaml --tool write_file path=src/main.py
    """
    from fsserver.cli.explain import explain_command, explain_tool, render  # noqa: PLC0415
    from fsserver.policy.decision import narrow  # noqa: PLC0415
    from fsserver.policy.loader import load_policy  # noqa: PLC0415

    if not words:
        raise click.UsageError("Say what to explain: -- COMMAND ARGS, or --tool TOOL path=PATH.")

    def load() -> Policy:
        policy = load_policy(file)
        return narrow(policy, profile) if profile else policy

    policy = _or_exit(load, as_json)
    if tool is None:
        answer = explain_command(policy, words[0], words[1:], directory)
    else:
        pairs = [word.partition("=") for word in words]
        answer = explain_tool(policy, tool, {name: value for name, _, value in pairs})
    click.echo(json.dumps(answer, indent=2) if as_json else render(answer))
    if answer["decision"] == "deny":
        sys.exit(EXIT_REFUSED)


@policy_group.command(short_help="Print a policy, also with all that it extends.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--resolved", is_flag=True, help="Together with the files and presets that it extends.")
@click.option("--origin", is_flag=True, help="Each value with the file and line that it comes from; resolved.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; sizes in bytes, durations in seconds.")
def show(file: Path, resolved: bool, origin: bool, as_json: bool) -> None:
    """Print FILE if it is a policy that can be served; else everything that is wrong with it (exit code 2)."""
    from fsserver.policy.loader import load_resolved  # noqa: PLC0415
    from fsserver.policy.show import as_yaml  # noqa: PLC0415

    _, tree = _or_exit(lambda: load_resolved(file), as_json)
    if as_json:
        click.echo(json.dumps(tree.plain(), indent=2))
    elif resolved or origin:
        click.echo(as_yaml(tree, origins=origin), nl=False)
    else:
        click.echo("\n".join(tree.place.source.lines), nl=False)


@policy_group.command(short_help="Print a preset.")
@click.argument("name")
def preset(name: str) -> None:
    """Print the preset that a policy extends as preset:NAME."""
    from fsserver.policy.presets import NAMES, PREFIX, read_preset  # noqa: PLC0415

    if name.removeprefix(PREFIX) not in NAMES:
        raise click.UsageError(f"There is no preset {name}; there are {', '.join(NAMES)}.")
    click.echo(read_preset(name.removeprefix(PREFIX)).decode(), nl=False)


@policy_group.command(short_help="Print the policy language as JSON Schema.")
def schema() -> None:
    """Print the policy language as JSON Schema, for editors."""
    from fsserver.policy.model import json_schema  # noqa: PLC0415

    click.echo(json.dumps(json_schema(), indent=2))


def _or_exit(load: Callable[[], T], as_json: bool) -> T:
    """What ``load`` returns; if the policy is wrong, print why and end with exit code 2."""
    from fsserver.errors import ConfigError  # noqa: PLC0415

    try:
        return load()
    except ConfigError as error:
        if as_json:
            from fsserver.policy.problems import PolicyErrors  # noqa: PLC0415
            from fsserver.policy.report import as_json as to_json  # noqa: PLC0415

            problems = to_json(error.problems) if isinstance(error, PolicyErrors) else []
            click.echo(json.dumps({"ok": False, "message": error.message, "problems": problems}, indent=2))
        else:
            click.echo(error.message, err=True)
        sys.exit(EXIT_CONFIG)


def _served(policy: Policy) -> dict[str, Any]:
    """How clients connect. ``principals``: how many entries say who is served."""
    server = policy.server
    if server.transport is Transport.STDIO:
        return {"transport": server.transport.value}
    ways = {"none": server.auth.off, "oauth": bool(server.auth.oauth), "tokens": server.auth.tokens is not None}
    return {
        "transport": server.transport.value,
        "listen": str(server.listen),
        "tls": server.tls is not None,
        "auth": [way for way, offered in ways.items() if offered],
        "principals": len(policy.principals),
        "ops": str(server.ops) if server.ops else None,
    }


def _summary(command: Command) -> dict[str, Any]:
    program, rules = command.program, command.arguments
    assert not isinstance(program, BuiltinProgram), "a policy's command has none"
    if isinstance(rules, Subcommands):
        arguments = f"{len(rules.by_name)} subcommands"
    else:
        arguments = "any arguments" if isinstance(rules, AnyArguments) else "listed arguments"
    return {
        "name": command.name,
        "program": f"{program.name} in {program.root}" if isinstance(program, SoughtProgram) else program.path,
        "arguments": arguments,
        "decision": command.effect.value,
        "network": command.network.value,
        "roots": {name: mode.value for name, mode in command.roots.items()},
    }
