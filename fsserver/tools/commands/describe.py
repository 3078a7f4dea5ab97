"""describe_policy: what this principal may do, in few words, so that a model plans instead of probing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from fsserver.paths.names import display
from fsserver.policy.arguments import strictest, usage
from fsserver.policy.compiled import Action, Command, Effect, Limits, Mode, Network, PathRule, RootRules, Subcommands
from fsserver.policy.service import Budget, CallClass
from fsserver.tools.arguments import Arguments
from fsserver.tools.budgets import per
from fsserver.tools.call import Call
from fsserver.tools.commands.choice import cut_line
from fsserver.tools.commands.host import CommandHost
from fsserver.tools.registry import READS, Tool
from fsserver.tools.result import ToolResult, text_result
from fsserver.tools.text.cutting import cut
from fsserver.tools.text.sizes import format_size

MOST: Final = 1_500
"""Characters, as far as roots and commands have short enough names. It is read often, and every time by a model."""

CUT_NOTE: Final = "\n[cut; a refusal names its rule and what is possible instead]"


@dataclass(frozen=True, slots=True)
class Detail:
    """How much is said of each thing: globs of a rule, and characters of a command's usage."""

    globs: int
    usage: int


DETAILS: Final = (Detail(12, 300), Detail(8, 160), Detail(4, 100), Detail(2, 60), Detail(1, 0))


class NoArguments(Arguments):
    pass


def describe_tool(host: CommandHost) -> Tool[Any]:
    """The tool, for one server."""

    def body(call: Call[NoArguments]) -> ToolResult:
        return text_result(description(host, [root.rules for root in call.workspace.roots], call))

    return Tool(
        name="describe_policy",
        title="Describe Policy",
        description="What may be done here: directories, commands and their arguments, limits, what is unavailable.",
        arguments=NoArguments,
        annotations=READS,
        call_class=CallClass.READ,
        needs=frozenset(),
        body=body,
    )


def description(host: CommandHost, roots: Sequence[RootRules], call: Call[Any]) -> str:
    """In as much detail as fits `MOST` characters."""
    for detail in DETAILS:
        lines = [f"Policy {display(host.policy.name)}. What it does not list is refused."]
        for root in roots:
            lines += _root(root, detail, whole=call.workspace.holds_whole(root.name))
        lines += _commands(host, detail)
        lines += _budgets(host.policy.limits)
        lines += _unavailable(host, call)
        text = "\n".join(lines)
        if len(text) <= MOST:
            return text
    return cut(text, MOST, CUT_NOTE)


def _root(root: RootRules, detail: Detail, *, whole: bool) -> list[str]:
    """A root's mode, what else is refused there, and its protected names in brief."""
    words = "read only" if root.mode is Mode.RO else "read and write"
    for effect, saying in ((Effect.ASK, "a person is asked before"), (Effect.DENY, "never")):
        actions = [action for action, (written, _) in root.operations.items() if written is effect and action.changes]
        if actions and root.mode is Mode.RW:
            words += f"; {saying} {', '.join(action for action in Action if action in actions)}"
    if not whole:
        words += "; only what the client offers as its roots, and no command"
    lines = [f"Root {root.name}: {display(root.path)}, {words}"]
    if root.deny:
        lines.append(f"  protected, not even read: {_globs(root.deny, detail)}")
    if root.read_only and root.mode is Mode.RW:
        lines.append(f"  never changed: {_globs(root.read_only, detail)}")
    return lines


def _globs(rules: Sequence[PathRule], detail: Detail) -> str:
    shown = ", ".join(display(rule.glob) for rule in rules[: detail.globs])
    return shown if len(rules) <= detail.globs else f"{shown} and {len(rules) - detail.globs} more"


def _commands(host: CommandHost, detail: Detail) -> list[str]:
    layer = host.layer()
    limits = host.policy.limits
    said = f"Limits: {limits.time_s:g} s a call, {format_size(limits.result_bytes)} a result"
    if layer is None:
        return [said]
    if host.background:
        said += f", {limits.background} background processes"
    lines = [f"Commands, sandbox layer {layer[0]}, without network unless said:"]
    lines += [_command(command, detail) for command in host.commands.values()]
    lines += [f"Not enforced: {cut_line(gap, 120)}" for gap in layer[1]]
    return [*lines, said]


def _budgets(limits: Limits) -> list[str]:
    """What this principal may use in a time, if the policy bounds it."""
    said = [f"{name}: {words}" for name, budget in limits.budgets.items() if (words := _budget(budget))]
    if words := _budget(limits.budget):
        said.insert(0, words)
    return [f"Calls that you may make: {'; '.join(said)}"] if said else []


def _budget(budget: Budget) -> str:
    words = [] if budget.rate is None else [f"{budget.rate.amount} {per(budget.rate)}"]
    if budget.concurrency is not None:
        words.append(f"{budget.concurrency} at a time")
    if budget.output is not None:
        words.append(f"{format_size(budget.output.amount)} of results {per(budget.output)}")
    return ", ".join(words)


def _command(command: Command, detail: Detail) -> str:
    shown = (
        cut_line(usage(command).removesuffix(" (asks a person first)"), detail.usage) if detail.usage else command.name
    )
    notes = [f"{command.limits.time_s:g} s"]
    if isinstance(command.arguments, Subcommands):
        asking = [
            name
            for name, each in command.arguments.by_name.items()
            if strictest(command.effect, each.effect) is Effect.ASK
        ]
        if asking:
            notes.insert(0, f"a person is asked before {', '.join(asking)}")
    elif command.effect is Effect.ASK:
        notes.insert(0, "a person is asked first")
    if command.network is not Network.NONE:
        notes.append(f"network {command.network}")
    if command.background:
        notes.append("background too")
    if detail.usage:
        notes.append("in " + ", ".join(f"{name} ({mode})" for name, mode in command.roots.items()))
    return f"- {shown}; {', '.join(notes)}"


def _unavailable(host: CommandHost, call: Call[Any]) -> list[str]:
    lines = [f"Changed since start: {notice}" for notice in host.notices()]
    why = host.no_commands()
    if why is not None:
        lines.append(f"No commands: {why.removesuffix('.')}.")
    if not call.can_ask and _asks(host, call):
        lines.append("This client cannot ask a person: what needs that is refused.")
    return lines


def _asks(host: CommandHost, call: Call[Any]) -> bool:
    effects = [effect for root in call.workspace.roots for effect, _ in root.rules.operations.values()]
    for command in host.commands.values():
        effects.append(command.effect)
        if isinstance(command.arguments, Subcommands):
            effects += [each.effect for each in command.arguments.by_name.values()]
    return Effect.ASK in effects
