"""``fsserver policy explain``: what the policy would do with one call, without doing it."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import click

from fsserver.policy.arguments import PathOperand, judge_call, strictest
from fsserver.policy.compiled import (
    Action,
    Command,
    Effect,
    PathAccess,
    PinnedProgram,
    Policy,
    RootRules,
    SoughtProgram,
)
from fsserver.policy.decision import decide
from fsserver.policy.variables import VALUE, VARIABLE

# What every command has: the sandbox's own, and who and where it is.
ENVIRONMENT = ("PATH", "HOME", "TMPDIR", "USER", "LOGNAME", "LANG")

# What a tool's access to a path is decided as. A write creates what is absent and overwrites what is there.
ACTIONS: Mapping[str, tuple[Action, ...]] = {
    "read": (Action.READ,),
    "stat": (Action.READ,),
    "list": (Action.LIST,),
    "write": (Action.CREATE, Action.OVERWRITE),
    "create": (Action.CREATE,),
    "edit": (Action.EDIT,),
    "make_directory": (Action.CREATE,),
    "move_from": (Action.MOVE,),
    "move_to": (Action.MOVE,),
    "delete": (Action.DELETE,),
}


def explain_command(policy: Policy, name: str, arguments: Sequence[str], directory: str | None) -> dict[str, Any]:
    """What a call of `run_command` would come to.

    Raises:
        click.UsageError: ``directory`` is in no root.
    """
    command = policy.commands.get(name)
    root, beneath = _directory(policy, command, directory)
    judgement = judge_call(
        policy.commands, name, arguments, directory=(root, beneath), spellings=_spellings(policy.roots)
    )
    effect, rule, reason = judgement.effect, judgement.rule, judgement.reason
    paths = [_explain_path(policy, operand) for operand in judgement.paths]
    for path in paths:
        decided = strictest(effect, Effect(path["decision"]))
        if decided is not effect:
            effect, rule, reason = decided, path["rule"], path["reason"]
    answer: dict[str, Any] = {
        "decision": effect.value,
        "rule": str(rule) if rule else None,
        "reason": reason,
        "allowedInstead": judgement.allowed_instead,
    }
    if command is None:
        return answer
    return answer | {
        "argv": [_program(command, policy), *command.prepend, *arguments],
        "directory": f"{root}/{beneath}".rstrip("/"),
        "environment": [*ENVIRONMENT, *command.environment, *command.passed],
        "roots": {each: {"mode": mode.value, "path": _path(policy, each)} for each, mode in command.roots.items()},
        "runtime": _runtime(command),
        "home": command.home.value,
        "network": command.network.value,
        "unixSockets": command.unix_sockets,
        "background": command.background,
        "limits": _limits(command),
        "layer": policy.sandbox.require.value,
        "paths": paths,
    }


def explain_tool(policy: Policy, tool: str, arguments: Mapping[str, str]) -> dict[str, Any]:
    """What the rules say about the paths of a call of a file tool, by their text: links are not followed.

    Raises:
        click.UsageError: no such tool, or an argument that is no path of it.
    """
    from fsserver.tools.catalog import file_tools  # noqa: PLC0415 - costs more than all else here

    found = file_tools().get(tool)
    if found is None:
        raise click.UsageError(f"There is no file tool {tool}. To explain a command, write: -- COMMAND ARGS")
    if not found.paths:
        raise click.UsageError(f"{tool} takes no single path, so there is nothing to decide.")
    if set(arguments) != set(found.paths):
        raise click.UsageError(f"Say each path of {tool}: {' '.join(f'{name}=PATH' for name in found.paths)}")
    if policy.tools is not None and tool not in policy.tools:
        return {"decision": "deny", "rule": None, "reason": "the policy does not list the tool", "paths": []}
    paths: list[dict[str, Any]] = []
    for name, text in arguments.items():
        root, beneath = _place(policy, text)
        actions = ACTIONS[found.paths[name].value]
        paths += [{"argument": name} | _decided(root, beneath, action) for action in actions]
    effect = Effect.ALLOW
    for path in paths:
        effect = strictest(effect, Effect(path["decision"]))
    deciding = next(path for path in paths if path["decision"] == effect)
    return {"decision": effect.value, "rule": deciding["rule"], "reason": deciding["reason"], "paths": paths}


def render(answer: Mapping[str, Any]) -> str:
    """An explanation for people: one line a fact."""
    lines = []
    for key, value in answer.items():
        if value is None or value == []:
            continue
        lines += [f"{key:<15}{shown}" for shown in _shown(key, value)]
    return "\n".join(lines)


def _shown(key: str, value: Any) -> list[str]:
    if key == "argv":
        return [shlex.join(value)]
    if key == "roots":
        return [f"{name} {root['mode']} {root['path']}" for name, root in value.items()]
    if key == "paths":
        return [_shown_path(path) for path in value]
    if isinstance(value, dict):
        return [", ".join(f"{name} {each}" for name, each in value.items() if each is not None)]
    if isinstance(value, list):
        return [" ".join(value)]
    return [("yes" if value else "no") if isinstance(value, bool) else str(value)]


def _shown_path(path: Mapping[str, Any]) -> str:
    rule = f" by {path['rule']}: {path['reason']}" if path["rule"] else ""
    return f"{path['action']} {path['root']}/{path['name']}: {path['decision']}{rule}"


def _directory(policy: Policy, command: Command | None, text: str | None) -> tuple[str, str]:
    """The root and the directory beneath it in which the command runs, the first that it sees by default."""
    if text is None:
        if command is None:
            return "", ""
        program = command.program
        return (program.root if isinstance(program, SoughtProgram) else next(iter(command.roots))), ""
    root, _, beneath = text.partition("/")
    if root not in {rules.name for rules in policy.roots}:
        raise click.UsageError(f"--in is the name of a root, or ROOT/DIRECTORY; there is no root {root}")
    return root, beneath


def _explain_path(policy: Policy, operand: PathOperand) -> dict[str, Any]:
    rules = next(rules for rules in policy.roots if rules.name == operand.root)
    action = Action.EDIT if operand.access is PathAccess.WRITE else Action.READ
    return _decided(rules, os.path.normpath(operand.name) if operand.name else "", action)


def _decided(rules: RootRules, name: str, action: Action) -> dict[str, Any]:
    decision = decide(rules, "" if name == "." else name, action)
    return {
        "action": action.value,
        "root": rules.name,
        "name": name,
        "decision": decision.effect.value,
        "rule": str(decision.rule) if decision.rule else None,
        "reason": decision.reason or None,
    }


def _place(policy: Policy, text: str) -> tuple[RootRules, str]:
    """The root that a path begins in, and the name beneath it; a relative path is in the first root.

    Of a root with a directory for each principal, any directory that can be one's.
    """
    path = os.path.normpath(os.path.join(policy.roots[0].written, os.path.expanduser(text)))
    begins = [(rules, _beginning(rules).match(f"{path}/")) for rules in policy.roots]
    inside = [(found.end(), rules) for rules, found in begins if found is not None]
    if not inside:
        raise click.UsageError(f"{text} begins in no root, so every tool refuses it.")
    end, rules = max(inside, key=lambda each: each[0])
    return rules, path[end:].strip("/")


def _beginning(rules: RootRules) -> re.Pattern[str]:
    """How a path in the root begins, with its variables or with what may stand for them."""
    written = re.escape(VARIABLE.sub("\0", rules.written))
    return re.compile(written.replace(re.escape("\0"), f"(?:{VARIABLE.pattern}|{VALUE.pattern})") + "/")


def _spellings(roots: Sequence[RootRules]) -> dict[str, tuple[str, ...]]:
    return {rules.name: tuple(dict.fromkeys((rules.path, os.path.realpath(rules.path)))) for rules in roots}


def _path(policy: Policy, root: str) -> str:
    return next(rules.path for rules in policy.roots if rules.name == root)


def _program(command: Command, policy: Policy) -> str:
    program = command.program
    if isinstance(program, SoughtProgram):
        return f"{_path(policy, program.root)}/{program.name}"
    assert isinstance(program, PinnedProgram), "a policy's command has no other"
    return program.path


def _runtime(command: Command) -> list[str]:
    prefix = command.program.prefix if isinstance(command.program, PinnedProgram) else None
    return [each for each in (prefix, *command.runtime) if each is not None]


def _limits(command: Command) -> dict[str, Any]:
    limits = command.limits
    return {
        "timeS": limits.time_s,
        "cpuS": limits.cpu_s,
        "memoryBytes": limits.memory_bytes,
        "processes": limits.processes,
        "outputBytes": limits.output_bytes,
        "fileBytes": limits.file_bytes,
        "openFiles": limits.open_files,
    }
