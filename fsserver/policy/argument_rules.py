"""Rules on arguments: from checked nodes to what `policy.arguments` asks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from fsserver.policy.compiled import (
    AnyArguments,
    ArgumentForm,
    ArgumentRules,
    Effect,
    Flag,
    IntegerValue,
    MatchValue,
    Mode,
    PathAccess,
    PathValue,
    Positional,
    Subcommand,
    Subcommands,
    TextValue,
    UrlValue,
    Value,
    WordValue,
)
from fsserver.policy.problems import Code, Place, Problem, did_you_mean
from fsserver.policy.rules import Origin
from fsserver.policy.tree import Node

# Programs that start what their arguments name, or run code that stands in them. A version is cut off before.
LAUNCHERS: Final = frozenset(
    {
        *("sh", "ash", "bash", "rbash", "dash", "ksh", "mksh", "zsh", "fish", "csh", "tcsh", "busybox", "toybox"),
        *(
            "env",
            "xargs",
            "parallel",
            "find",
            "sudo",
            "doas",
            "su",
            "runuser",
            "pkexec",
            "setpriv",
            "setarch",
            "chroot",
        ),
        *(
            "nice",
            "nohup",
            "timeout",
            "time",
            "stdbuf",
            "setsid",
            "ionice",
            "taskset",
            "chrt",
            "flock",
            "watch",
            "script",
        ),
        *(
            "unshare",
            "nsenter",
            "bwrap",
            "firejail",
            "systemd-run",
            "strace",
            "ltrace",
            "gdb",
            "expect",
            "start-stop-daemon",
        ),
        *("ssh", "scp", "sftp", "rsync", "socat", "nc", "ncat", "ld.so", "ld-linux-x86-64.so", "ld-linux-aarch64.so"),
        *("python", "pypy", "node", "nodejs", "npx", "npx-cli.js", "deno", "bun", "perl", "ruby", "irb", "php", "lua"),
        *("luajit", "tclsh", "wish", "guile", "gawk", "mawk", "awk", "original-awk", "sed", "ed", "vi", "vim", "emacs"),
        *("docker", "podman", "kubectl", "at", "batch", "crontab", "git"),
    }
)

_VERSION = re.compile(r"[-.]?[0-9][0-9.]*(?:t|-config)?$")


@dataclass(frozen=True, slots=True)
class Context:
    """What rules on arguments refer to.

    Attributes:
        roots: the command's, each at its mode there.
        written_roots: False if a root may be missing because it was wrong: then an unknown one is no news.
        origin_of: where a place is, as rules carry it.
    """

    roots: Mapping[str, Mode]
    written_roots: bool
    origin_of: Callable[[Place], Origin]
    problems: list[Problem]


def compile_arguments(command: Node, context: Context) -> ArgumentRules:
    """``args`` or ``subcommands`` of a command; without both, no arguments."""
    args, subcommands = command.get("args"), command.get("subcommands")
    if subcommands is not None:
        if args is not None:
            message = "a command has args or subcommands, not both"
            context.problems.append(Problem(Code.CONFLICT, args.place, message))
        by_name = {name: _subcommand(entry.key, entry.node, context) for name, entry in subcommands.entries.items()}
        return Subcommands(MappingProxyType(by_name))
    if args is not None and args.value == "any":
        return AnyArguments()
    return _form(args or Node(command.place, {}), context)


def is_launcher(*names: str) -> str | None:
    """The first of a program's names that is a launcher's, whatever its version."""
    return next((name for name in names if name in LAUNCHERS or _VERSION.sub("", name) in LAUNCHERS), None)


def effect_of(node: Node) -> Effect:
    """``decision`` of a command or subcommand."""
    decision = node.get("decision")
    return Effect(decision.text) if decision else Effect.ALLOW


def reason_of(node: Node) -> str | None:
    reason = node.get("reason")
    return reason.text if reason else None


def _subcommand(key: Place, node: Node, context: Context) -> Subcommand:
    return Subcommand(_form(node, context), effect_of(node), reason_of(node), context.origin_of(key))


def _form(node: Node, context: Context) -> ArgumentForm:
    flags: dict[str, Flag] = {}
    for name, entry in node.entries_at("flags").items():
        value = None if entry.node.value == "flag" else _value(entry.node, context)
        flags[name] = Flag(value, context.origin_of(entry.key))
    for name, entry in node.entries_at("flags").items():
        _refuse_ambiguous(name, entry.key, flags, context.problems)
    return ArgumentForm(
        MappingProxyType(flags), tuple(_positional(item, context) for item in node.items_at("positionals"))
    )


def _refuse_ambiguous(name: str, place: Place, flags: Mapping[str, Flag], problems: list[Problem]) -> None:
    """Report -abc where it can also be read as -a -b -c, or as -a with the value bc."""
    if name.startswith("--") or len(name) == 2:
        return
    first = flags.get(name[:2])
    if first is not None and first.value is not None:
        message = f"{name} can be read as {name[:2]} with the value {name[2:]}"
    elif all(f"-{letter}" in flags for letter in name[1:]):
        message = f"{name} can be read as {' '.join(f'-{letter}' for letter in name[1:])}"
    else:
        return
    problems.append(Problem(Code.ARGUMENTS, place, message, "list the one or the other"))


def _positional(node: Node, context: Context) -> Positional:
    value = node.get("value")
    assert value is not None
    repeat = node.get("repeat")
    least, _, most = repeat.text.partition("..") if repeat else ("1", "", "")
    return Positional(_value(value, context), int(least), int(most or least))


def _value(node: Node, context: Context) -> Value:
    if not node.entries:
        return TextValue()
    ((kind, entry),) = node.entries.items()
    inner = entry.node
    if kind == "int":
        return _integer(inner, context)
    if kind == "enum":
        return WordValue(tuple(_words(inner, context)))
    if kind == "match":
        return MatchValue(inner.text)
    if kind == "path":
        return _path(inner, context)
    return UrlValue(tuple(_listed(inner, "schemes", context)), tuple(_listed(inner, "hosts", context)))


def _integer(node: Node, context: Context) -> IntegerValue:
    low, high = (int(found.number) if (found := node.get(key)) else None for key in ("min", "max"))
    if low is not None and high is not None and low > high:
        context.problems.append(Problem(Code.NUMBER, node.place, f"from {low} to {high} there is no number"))
    return IntegerValue(low, high)


def _words(node: Node, context: Context) -> list[str]:
    for item in node.items:
        if not item.text or not item.text.isprintable():
            message = "a word is empty or holds what cannot be printed"
            context.problems.append(Problem(Code.ARGUMENTS, item.place, message))
    return [item.text for item in node.items]


_URL_PARTS: Final = {
    "schemes": r"[a-z][a-z0-9+.-]*",
    "hosts": r"[a-z0-9.-]+(:[0-9]{1,5})?|\[[0-9a-f:.]+\](:[0-9]{1,5})?",
}


def _listed(node: Node, key: str, context: Context) -> list[str]:
    for item in node.items_at(key):
        if not re.fullmatch(_URL_PARTS[key], item.text):
            help_text = "write it in lower case, as in https and example.com:8443"
            context.problems.append(Problem(Code.ARGUMENTS, item.place, f'"{item.text}" is none of {key}', help_text))
    return [item.text for item in node.items_at(key)]


def _path(node: Node, context: Context) -> PathValue:
    root, access, must_exist = node.get("root"), node.get("access"), node.get("must_exist")
    name = root.text if root else None
    wanted = PathAccess(access.text) if access else PathAccess.READ
    if root is not None and root.text not in context.roots:
        if context.written_roots:
            message = f'the command has no root "{root.text}"'
            help_text = did_you_mean(root.text, context.roots)
            context.problems.append(Problem(Code.UNKNOWN_ROOT, root.place, message, help_text))
    elif root is not None and wanted is PathAccess.WRITE and context.roots[root.text] is Mode.RO:
        message = f'the root "{root.text}" is read-only for this command'
        context.problems.append(Problem(Code.WIDENS, (access or root).place, message, "write access: read"))
    return PathValue(name, wanted, must_exist is not None and must_exist.value is True)
