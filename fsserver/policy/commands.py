"""From the checked ``commands`` of a merged tree to what may be run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from fsserver.policy.argument_rules import Context, compile_arguments, effect_of, is_launcher, reason_of
from fsserver.policy.compiled import (
    AnyArguments,
    Command,
    CommandLimits,
    Effect,
    Home,
    Limits,
    Mode,
    Network,
    PinnedProgram,
    RootRules,
    SoughtProgram,
)
from fsserver.policy.environment import check_passed, check_set
from fsserver.policy.examples import check_command_examples
from fsserver.policy.problems import Code, LanguageError, Place, Problem, did_you_mean
from fsserver.policy.programs import Grounds, check_sought, pin, runtime_directory
from fsserver.policy.rules import Origin
from fsserver.policy.tree import Entry, Node

# In the place of a program that was refused, so that the rest of its command is looked at too.
_NO_PROGRAM = PinnedProgram("/", 0, 0, None, 0, None)


@dataclass(frozen=True, slots=True)
class _Compiler:
    """What commands narrow, and where their mistakes go."""

    tree: Node
    roots: Mapping[str, RootRules]
    grounds: Grounds
    limits: Limits
    origin_of: Callable[[Place], Origin]
    problems: list[Problem]

    def tell(self, error: LanguageError, place: Place) -> None:
        self.problems.append(Problem(error.code, place, error.message, error.help))


def compile_commands(
    tree: Node,
    roots: Mapping[str, RootRules],
    grounds: Grounds,
    *,
    limits: Limits,
    origin_of: Callable[[Place], Origin],
    problems: list[Problem],
) -> dict[str, Command]:
    """Every command, appending whatever is wrong to ``problems``."""
    compiler = _Compiler(tree, roots, grounds, limits, origin_of, problems)
    return {name: _command(name, entry, compiler) for name, entry in tree.entries_at("commands").items()}


def _command(name: str, entry: Entry, compiler: _Compiler) -> Command:
    node = entry.node
    roots = _roots(node, compiler)
    program, beside = _program(name, entry, roots, compiler)
    known = not (node.incomplete or (compiler.tree.get("roots") or compiler.tree).incomplete)
    arguments = compile_arguments(node, Context(roots, known, compiler.origin_of, compiler.problems))
    effect = effect_of(node)
    if isinstance(arguments, AnyArguments) and effect is Effect.ALLOW:
        _refuse_launcher(node, program, compiler.problems)
    passed, environment = _environment(node, compiler)
    command = Command(
        name=name,
        origin=compiler.origin_of(entry.key),
        program=program,
        prepend=tuple(item.text for item in node.items_at("prepend")),
        roots=MappingProxyType(roots),
        arguments=arguments,
        effect=effect,
        reason=reason_of(node),
        passed=passed,
        environment=MappingProxyType(environment),
        network=Network(_text(node, "network") or Network.NONE),
        unix_sockets=_flag(node, "unix_sockets"),
        background=_flag(node, "background"),
        home=Home(_text(node, "home") or Home.PRIVATE),
        runtime=tuple(dict.fromkeys((*beside, *_runtime(node, compiler)))),
        limits=_limits(node, compiler),
    )
    if roots:
        spellings = {root: (rules.path,) for root, rules in compiler.roots.items()}
        check_command_examples(command, node, compiler.tree.place.source, spellings, compiler.problems)
    return command


def _roots(node: Node, compiler: _Compiler) -> dict[str, Mode]:
    """The roots that the command sees, in the policy's order."""
    written = node.get("roots")
    if written is None:
        seen = {name: rules.mode for name, rules in compiler.roots.items() if rules.each is None}
        if compiler.roots and not seen:
            message = "each root here is another directory for each principal, so no command can run in one"
            compiler.problems.append(Problem(Code.CONFLICT, node.place, message, "add a root without variables"))
        return seen
    if not written.entries and not written.incomplete:
        message = "a command that sees no root has no directory to run in"
        compiler.problems.append(Problem(Code.MISSING, written.place, message, "name one, or take the key out for all"))
    granted: dict[str, Mode] = {}
    for name, entry in written.entries.items():
        rules = compiler.roots.get(name)
        mode = Mode(entry.node.text)
        if rules is None:
            if not (compiler.tree.get("roots") or compiler.tree).incomplete:
                help_text = did_you_mean(name, compiler.roots)
                problem = Problem(Code.UNKNOWN_ROOT, entry.key, f'there is no root "{name}"', help_text)
                compiler.problems.append(problem)
            continue
        if mode is Mode.RW and rules.mode is Mode.RO:
            message = f'the root "{name}" is read-only ({rules.origin}); a command can only narrow it'
            compiler.problems.append(Problem(Code.WIDENS, entry.node.place, message, 'write "ro"'))
        if rules.each is not None:
            message = f'the root "{name}" is another directory for each principal; no command can run there'
            compiler.problems.append(Problem(Code.CONFLICT, entry.key, message, "name a root without variables"))
            continue
        granted[name] = mode
    return {name: granted[name] for name in compiler.roots if name in granted}


def _program(
    name: str, entry: Entry, roots: Mapping[str, Mode], compiler: _Compiler
) -> tuple[PinnedProgram | SoughtProgram, tuple[str, ...]]:
    node, sha256 = entry.node.get("exec"), entry.node.get("sha256")
    if node is None:
        if not entry.node.incomplete:
            message = f'the command "{name}" has no exec'
            help_text = "write exec: and the program's absolute path"
            compiler.problems.append(Problem(Code.MISSING, entry.key, message, help_text))
        return _NO_PROGRAM, ()
    if node.entries:
        _refuse_sum_of_content(sha256, compiler.problems)
        return _sought(node, roots, compiler), ()
    try:
        found = pin(node.text, sha256.text if sha256 else None, compiler.grounds)
    except LanguageError as error:
        compiler.tell(error, node.place)
        return _NO_PROGRAM, ()
    return found.program, found.beside


def _sought(node: Node, roots: Mapping[str, Mode], compiler: _Compiler) -> SoughtProgram:
    root, find = node.entries["in"].node, node.entries["find"].node
    if roots and root.text not in roots and not (compiler.tree.get("roots") or compiler.tree).incomplete:
        message = f'the command has no root "{root.text}"'
        problem = Problem(Code.UNKNOWN_ROOT, root.place, message, did_you_mean(root.text, roots))
        compiler.problems.append(problem)
    try:
        check_sought(find.text)
    except LanguageError as error:
        compiler.tell(error, find.place)
    return SoughtProgram(root.text, find.text)


def _refuse_sum_of_content(sha256: Node | None, problems: list[Problem]) -> None:
    if sha256 is not None:
        message = "what a root holds may change, so it has no sha256"
        problems.append(Problem(Code.CONFLICT, sha256.place, message, "take it out, or name an absolute path"))


def _refuse_launcher(node: Node, program: PinnedProgram | SoughtProgram, problems: list[Problem]) -> None:
    """Report ``args: any`` of a program that runs whatever its arguments say."""
    args = node.get("args")
    assert args is not None
    paths = [program.name] if isinstance(program, SoughtProgram) else [os.path.realpath(program.path), program.path]
    launcher = is_launcher(*(os.path.basename(path) for path in paths))
    if launcher is not None:
        message = f"{launcher} runs whatever its arguments say, so args: any would allow every program"
        help_text = "list the arguments, or write decision: ask"
        problems.append(Problem(Code.ARGUMENTS, args.place, message, help_text))


def _environment(node: Node, compiler: _Compiler) -> tuple[tuple[str, ...], dict[str, str]]:
    passed = node.items_at("env", "pass")
    values = node.entries_at("env", "set")
    for item in passed:
        try:
            check_passed(item.text)
        except LanguageError as error:
            compiler.tell(error, item.place)
        if item.text in values:
            message = f"{item.text} is set and passed: one of the two has no effect"
            compiler.problems.append(Problem(Code.CONFLICT, item.place, message, "take one out"))
    for variable, entry in values.items():
        try:
            check_set(variable)
        except LanguageError as error:
            compiler.tell(error, entry.key)
    names = tuple(dict.fromkeys(item.text for item in passed))
    return names, {variable: entry.node.text for variable, entry in values.items()}


def _runtime(node: Node, compiler: _Compiler) -> list[str]:
    directories = []
    for item in node.items_at("runtime"):
        try:
            directories.append(runtime_directory(item.text, compiler.grounds))
        except LanguageError as error:
            compiler.tell(error, item.place)
    return directories


def _limits(node: Node, compiler: _Compiler) -> CommandLimits:
    """The command's own limits; what it does not write is the policy's, or the default."""
    written = {key: entry.node for key, entry in node.entries_at("limits").items()}
    for key in ("time", "memory", "output"):
        whole = compiler.tree.get("limits", key)
        if whole is not None and key in written and written[key].number > whole.number:
            message = (
                f"this is more than limits.{key} ({compiler.origin_of(whole.place)}); a command can only have less"
            )
            compiler.problems.append(Problem(Code.WIDENS, written[key].place, message))
    limits = CommandLimits(
        time_s=compiler.limits.time_s,
        memory_bytes=compiler.limits.memory_bytes,
        output_bytes=compiler.limits.output_bytes,
    )

    def number(key: str, default: int) -> int:
        return int(written[key].number) if key in written else default

    return replace(
        limits,
        time_s=float(written["time"].number) if "time" in written else limits.time_s,
        cpu_s=float(written["cpu"].number) if "cpu" in written else None,
        memory_bytes=number("memory", limits.memory_bytes),
        processes=number("processes", limits.processes),
        output_bytes=number("output", limits.output_bytes),
        file_bytes=int(written["file_size"].number) if "file_size" in written else None,
        open_files=number("open_files", limits.open_files),
    )


def _text(node: Node, key: str) -> str | None:
    found = node.get(key)
    return found.text if found else None


def _flag(node: Node, key: str) -> bool:
    found = node.get(key)
    return found is not None and found.value is True
