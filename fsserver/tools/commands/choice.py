"""Which command a call means, where it runs, and whether the policy lets it. Starts nothing and changes nothing."""

from __future__ import annotations

import difflib
import shlex
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from fsserver.errors import CommandDenied, Denied, FsserverError, NotADirectory, NotFound, ResourceError, TimeLimit
from fsserver.paths.names import display, join
from fsserver.paths.root import Root
from fsserver.paths.target import Target
from fsserver.paths.workspace import Access, ClientPath
from fsserver.policy.arguments import MAX_BYTES, Judgement, PathOperand, judge
from fsserver.policy.compiled import Command, Effect, PathAccess, PinnedProgram, SoughtProgram
from fsserver.sandbox.runner import Request
from fsserver.tools.approval import Question
from fsserver.tools.call import Call
from fsserver.tools.text.hostile import neutralised

MAX_PATHS: Final = 1024  # among the arguments of one call; each is decided, and in the audit record
SHOWN_ARGUMENTS: Final = 200  # characters of them in a refusal
SHOWN_NAMES: Final = 50  # commands in a refusal


@dataclass(frozen=True, slots=True)
class Chosen:
    """One run that the policy allows, or asks a person about.

    Attributes:
        directory: beneath ``root``, the real one, without links.
        decision: what the rules say of the arguments: ALLOW or ASK.
        found: where a person is asked about a program that is content of a root, the file that is found now.
        versions: of every file that may be found as that program.
    """

    command: Command
    arguments: tuple[str, ...]
    root: str
    directory: str
    decision: Judgement
    found: str | None = None
    versions: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Where it runs, as clients may write it; may hold surrogates."""
        return join(self.root, self.directory)

    @property
    def argv(self) -> tuple[str, ...]:
        """What the program is started with, itself first, as far as the policy says it."""
        program = self.command.program
        name = program.path if isinstance(program, PinnedProgram) else program.name
        return (name, *self.command.prepend, *self.arguments)

    def request(self, timeout_s: float | None) -> Request:
        return Request(self.command.name, self.arguments, self.root, self.directory, timeout_s)

    def record(self) -> dict[str, Any]:
        """For the audit log: everything that was decided about, whole."""
        return {
            "command": self.command.name,
            "argv": list(self.argv),
            "root": self.root,
            "directory": self.directory,
            "paths": len(self.decision.paths),
        }


def choose(
    call: Call[Any],
    commands: Mapping[str, Command],
    name: str,
    arguments: Sequence[str],
    cwd: str | None,
) -> Chosen:
    """Decide one run of the command ``name``, and name it for the intent record.

    Raises:
        CommandDenied: there is no such command, or its rules do not allow this; other kinds of Denied: a path among
            the arguments, or ``cwd``, is refused by the rules of its root.
        NotFound, NotADirectory and other kinds of ResourceError: ``cwd`` or a path that must exist.
    """
    command = commands.get(name)
    if command is None:
        raise _unknown(name, commands)
    _require_whole_roots(call, command)
    where = _directory(call, command, cwd)
    root = where.root.rules.name
    decision = judge(
        command,
        arguments,
        directory=(root, where.name),
        spellings={each.rules.name: each.spellings for each in call.workspace.roots},
    )
    if decision.effect is Effect.DENY:
        shown = cut_line(" ".join((name, *arguments)), SHOWN_ARGUMENTS)
        raise CommandDenied(
            f"Access denied - {shown}: {decision.reason}",
            rule=None if decision.rule is None else str(decision.rule),
            allowed_instead=decision.allowed_instead,
        )
    chosen = Chosen(command, tuple(arguments), root, where.name, decision)
    _require_recordable(call, chosen)
    call.commands.append(chosen.record())
    for operand in decision.paths:
        _decide_operand(call, operand)
    if (decision.effect is Effect.ASK or call.questions) and isinstance(command.program, SoughtProgram):
        return _with_program(call, chosen, where.root, command.program.name)
    return chosen


def time_limit(stages: Sequence[Chosen], wanted_s: float | None) -> float:
    """The seconds that the run may take.

    Raises:
        TimeLimit: the client wants more than the policy allows.
    """
    strictest = min((stage.command for stage in stages), key=lambda command: command.limits.time_s)
    most = strictest.limits.time_s
    if wanted_s is None:
        return most
    if wanted_s > most:
        raise TimeLimit(
            f"Access denied - {strictest.name} may take {most:g} seconds, and timeout asks for {wanted_s:g}.",
            rule=str(strictest.origin),
            allowed_instead=f"timeout up to {most:g}",
        )
    return wanted_s


def ask(call: Call[Any], stages: Sequence[Chosen], stdin: str | None) -> None:
    """If the rules of one stage ask, or those of a path that it would write, have a person asked about all of it."""
    asking = [stage.decision for stage in stages if stage.decision.effect is Effect.ASK]
    if not asking and not call.questions:
        return
    what = "run: " + " |\n     ".join(shown_command(stage) for stage in stages)
    what += "".join(f"\nprogram: {display(stage.found)}" for stage in stages if stage.found is not None)
    what += f"\nin: {display(stages[0].place)}"
    if stdin:
        what += f"\nwith this standard input:\n{quoted(stdin)}"
    reasons = dict.fromkeys(decision.reason for decision in asking if decision.reason)
    rule = str(asking[0].rule) if asking else call.questions[0].rule
    versions = tuple(version for stage in stages for version in stage.versions)
    call.questions.insert(0, Question(what, rule, "; ".join(reasons) or None, versions))


def shown_command(chosen: Chosen) -> str:
    """The argument vector on one line, as a shell would read it."""
    return " ".join(display(shlex.quote(word)) for word in chosen.argv)


def quoted(text: str) -> str:
    """A client's text for a question, so that none of its lines reads like one of ours."""
    return "\n".join(f"> {line}" for line in neutralised(text.encode()).removesuffix("\n").split("\n"))


def cut_line(text: str, most: int) -> str:
    """``text`` on one line, with nothing that acts on a terminal, and not long."""
    line = display(text[: most + 1])
    return line if len(line) <= most else line[: most - 3] + "..."


def _unknown(name: str, commands: Mapping[str, Command]) -> CommandDenied:
    near = difflib.get_close_matches(name[:100], commands, n=1)
    meant = f" Did you mean {near[0]}?" if near else ""
    return CommandDenied(
        f"Access denied - the policy has no command {cut_line(name, 60)}; a command is a name in the policy, never a "
        f"path.{meant}",
        allowed_instead=", ".join(list(commands)[:SHOWN_NAMES]) or None,
    )


def _require_whole_roots(call: Call[Any], command: Command) -> None:
    """A command sees each of its roots as a whole, so a client that was left a part of one cannot run it."""
    for name in command.roots:
        if not call.workspace.holds_whole(name):
            raise CommandDenied(
                f"Access denied - {command.name} sees the whole root {name}, and the client's roots leave less of it",
                rule=str(command.origin),
                allowed_instead="offer the whole root as a client root, or set client_roots: ignore in the policy",
            )


def _directory(call: Call[Any], command: Command, cwd: str | None) -> Target:
    """The directory to run in: opened, decided, and in a root of the command."""
    failure: FsserverError | None = None
    for candidate in _candidates(call, command, cwd):
        try:
            target = call.decide("cwd", ClientPath(candidate), Access.LIST)
        except NotFound as missing:
            failure = failure or missing
            continue
        if target.root.rules.name not in command.roots:
            raise _elsewhere(command, target.root.rules.name)
        if target.stat is None or not stat.S_ISDIR(target.stat.st_mode):
            raise NotADirectory(f"The command cannot run in {display(target.shown)}: it is not a directory.")
        return target
    assert failure is not None, "a command has at least one root"
    raise failure


def _candidates(call: Call[Any], command: Command, cwd: str | None) -> list[str]:
    """The paths that ``cwd`` may mean: absolute, or a root's name and a path beneath it, or relative to a root."""
    by_name = {root.rules.name: root for root in call.workspace.roots}
    roots = [by_name[name] for name in command.roots]
    if isinstance(command.program, SoughtProgram):
        only = command.program.root  # the program is found nowhere else
        roots.sort(key=lambda root: root.rules.name != only)
    if not cwd:
        return [display(roots[0].shown)]
    if cwd.startswith(("/", "~")):
        return [cwd]
    first, _, rest = cwd.partition("/")
    if first in by_name:
        if first not in command.roots:
            raise _elsewhere(command, first)
        return [_beneath(by_name[first], rest)]
    return [_beneath(root, cwd) for root in roots]


def _beneath(root: Root, path: str) -> str:
    return f"{display(root.shown)}/{path}"


def _elsewhere(command: Command, root: str) -> CommandDenied:
    return CommandDenied(
        f"Access denied - {command.name} does not run in the root {root}",
        rule=str(command.origin),
        allowed_instead=f"cwd in {', '.join(command.roots)}",
    )


def _require_recordable(call: Call[Any], chosen: Chosen) -> None:
    """The intent record holds every argument and every path of all stages, and a record has a bound of its own."""
    earlier = call.commands
    size = sum(len(word.encode("utf-8", "surrogatepass")) + 1 for stage in earlier for word in stage["argv"])
    size += sum(len(word.encode("utf-8", "surrogatepass")) + 1 for word in chosen.arguments)
    paths = sum(stage["paths"] for stage in earlier) + len(chosen.decision.paths)
    if size > MAX_BYTES or paths > MAX_PATHS:
        what = f"{MAX_BYTES // 1024} KiB of arguments" if size > MAX_BYTES else f"{MAX_PATHS} paths"
        raise CommandDenied(f"Access denied - a call takes at most {what}", allowed_instead="several calls")


def _with_program(call: Call[Any], chosen: Chosen, root: Root, name: str) -> Chosen:
    """With the program that the sandbox would find now, and what tells whether it is still that one later.

    The sandbox looks again, from the directory up to the root. All that it may find is compared, in its order.
    """
    parts = [part for part in chosen.directory.split("/") if part]
    found: str | None = None
    versions: list[str] = []
    for depth in range(len(parts), -1, -1):
        path = ClientPath(display("/".join((root.shown, *parts[:depth], name))))
        try:
            target = call.decide("program", path, Access.STAT)
        except (Denied, ResourceError) as error:  # not there, or the sandbox's to judge, as a link out of the root is
            versions.append(error.code)
            continue
        status = target.stat
        assert status is not None, "what can be looked at is there"
        versions.append(f"{status.st_dev}:{status.st_ino}:{status.st_mode:o}:{status.st_size}:{status.st_ctime_ns}")
        if found is None and stat.S_ISREG(status.st_mode) and status.st_mode & 0o111:
            found = target.resolved
        target.close()
    return replace(chosen, found=found, versions=tuple(versions))


def _decide_operand(call: Call[Any], operand: PathOperand) -> None:
    """Refuse an argument that names what the rules of its root protect, wherever its links lead."""
    root = next(root for root in call.workspace.roots if root.rules.name == operand.root)
    # Shown and read back, the name is the argument's own, byte by byte: an escape in it is not taken for one.
    path = ClientPath(display(f"{root.shown}/{operand.name}"))
    parameter = f"args[{operand.index}]"
    try:
        found: Target | None = call.decide(parameter, path, Access.STAT)
    except NotFound:
        if operand.must_exist:
            raise
        found = None
    if found is not None:
        found.close()  # thousands may follow
    if operand.access is PathAccess.READ:
        return
    # A directory is written to by what is made in it, and a command makes the directories that are missing.
    is_file = found is not None and found.stat is not None and not stat.S_ISDIR(found.stat.st_mode)
    written = call.decide(parameter, path, Access.WRITE if is_file else Access.MAKE_DIRECTORY)
    written.close()
    if written.decision.effect is Effect.ASK:
        rule = written.decision.rule
        # Not the action: whoever may write a name may also remove it, and a directory is not only created.
        what = f"let it write to:\n{display(written.resolved)}"
        call.questions.append(Question(what, None if rule is None else str(rule), written.decision.reason))
