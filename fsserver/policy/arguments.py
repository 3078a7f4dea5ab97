"""What a command's rules say about the arguments of one call. Pure: no file is touched here. Standard library only.

*Trust.* The rules come from `policy.compile` and are ours. The arguments are hostile: a client chose every byte.

*Invariant.* A call is allowed only if each argument is a listed flag, the value of one, or the operand that the rules
have in that place; whoever reads the arguments as getopt(3) does finds the same flags and values in them. What is not
listed is refused however it is spelt. Paths begin in a root of the command and do not leave it by their text; what
links make of them is `paths`' and the sandbox's to decide.

The server's gate and the launcher both ask here, so that neither relies on the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fsserver.policy.compiled import (
    AnyArguments,
    ArgumentForm,
    Command,
    Effect,
    Flag,
    IntegerValue,
    MatchValue,
    Mode,
    PathAccess,
    PathValue,
    Positional,
    SoughtProgram,
    Subcommands,
    TextValue,
    UrlValue,
    Value,
    WordValue,
)
from fsserver.policy.rules import Origin

MAX_ARGUMENTS = 4096
MAX_BYTES = 128 * 1024
"""Of all arguments together, each with the NUL that ends it; as much as Linux takes for a single one (execve(2))."""

MAX_MATCHED = 1024
"""Characters of a value that a regular expression of the policy is matched against."""

MAX_USAGE = 300

_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_URL = re.compile(r"([a-z][a-z0-9+.-]*)://([A-Za-z0-9.:\[\]-]+)(?:[/?#][!-\[\]-~]*)?")


@dataclass(frozen=True, slots=True)
class PathOperand:
    """A path among the arguments: to be decided by the rules of its root.

    Attributes:
        index: of the client's argument that holds it, from 0.
        name: beneath the root, components joined by "/", ".." kept as it is written: what it means depends on links.
    """

    index: int
    root: str
    name: str
    access: PathAccess
    must_exist: bool


@dataclass(frozen=True, slots=True)
class Judgement:
    """The answer and why.

    Attributes:
        rule: where the deciding rule is written; None for a command that the policy does not have.
        reason: DENY: why, for the client. ASK: what the policy's author wrote for the person, if anything.
        allowed_instead: DENY: what the command may be called with.
        paths: the paths among the arguments; empty if the call is refused.
    """

    effect: Effect
    rule: Origin | None
    reason: str | None
    allowed_instead: str | None
    paths: tuple[PathOperand, ...] = ()


class _Refused(Exception):  # noqa: N818 - control flow inside this module
    def __init__(self, reason: str, rule: Origin | None = None, instead: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.rule = rule
        self.instead = instead


class _Place(NamedTuple):
    """Where a command runs, and how its roots are spelt."""

    command: Command
    root: str
    directory: tuple[str, ...]
    spellings: Mapping[str, Sequence[str]]


class _Given(NamedTuple):
    """One value of a flag."""

    name: str
    flag: Flag
    at: int
    text: str


def judge_call(
    commands: Mapping[str, Command],
    name: str,
    arguments: Sequence[str],
    *,
    directory: tuple[str, str],
    spellings: Mapping[str, Sequence[str]],
) -> Judgement:
    """`judge` of the command that clients call ``name``; one that the policy does not have is refused."""
    command = commands.get(name)
    if command is None:
        return Judgement(Effect.DENY, None, f'the policy has no command "{_shown(name)}"', ", ".join(commands) or None)
    return judge(command, arguments, directory=directory, spellings=spellings)


def judge(
    command: Command, arguments: Sequence[str], *, directory: tuple[str, str], spellings: Mapping[str, Sequence[str]]
) -> Judgement:
    """Whether ``command`` may be run with ``arguments``.

    Args:
        arguments: the client's, without what the policy prepends.
        directory: where it runs: the name of a root, and a path beneath it, components joined by "/".
        spellings: absolute paths by which clients know each root, without a slash at the end.
    """
    try:
        _refuse_what_no_program_takes(arguments)
        place = _place(command, directory, spellings)
        rules = command.arguments
        if isinstance(rules, AnyArguments):
            return _answer(command, command.effect, command.origin, command.reason, ())
        if isinstance(rules, ArgumentForm):
            paths = _judge_form(rules, arguments, place, first=0, rule=command.origin, instead=usage(command))
            return _answer(command, command.effect, command.origin, command.reason, paths)
        return _judge_subcommand(rules, arguments, place)
    except _Refused as refused:
        return Judgement(Effect.DENY, refused.rule or command.origin, refused.reason, refused.instead)


def usage(command: Command, subcommand: str | None = None) -> str:
    """How the command, or one of its subcommands, may be called: one line, not long."""
    rules = command.arguments
    if isinstance(rules, Subcommands):
        if subcommand is not None:
            chosen = rules.by_name[subcommand]
            return _usage(f"{command.name} {subcommand}", chosen.form, strictest(command.effect, chosen.effect))
        listed = (name for name, each in rules.by_name.items() if each.effect is not Effect.DENY)
        return _cut(f"{command.name} {'|'.join(listed)}")
    if isinstance(rules, AnyArguments):
        return f"{command.name} with any arguments{_ASKS if command.effect is Effect.ASK else ''}"
    return _usage(command.name, rules, command.effect)


def strictest(one: Effect, other: Effect) -> Effect:
    """deny beats ask beats allow."""
    return max(one, other, key=(Effect.ALLOW, Effect.ASK, Effect.DENY).index)


def _answer(
    command: Command, effect: Effect, rule: Origin, reason: str | None, paths: tuple[PathOperand, ...]
) -> Judgement:
    if effect is Effect.DENY:
        return Judgement(effect, rule, reason or f'the policy denies "{command.name}"', None)
    return Judgement(effect, rule, reason if effect is Effect.ASK else None, None, paths)


def _refuse_what_no_program_takes(arguments: Sequence[str]) -> None:
    if len(arguments) > MAX_ARGUMENTS:
        raise _Refused(f"more than {MAX_ARGUMENTS} arguments")
    total = 0
    for argument in arguments:
        if "\0" in argument:
            raise _Refused("an argument holds a NUL character")
        try:
            total += len(argument.encode("utf-8", "surrogateescape")) + 1
        except UnicodeEncodeError:
            raise _Refused("an argument holds half of a surrogate pair") from None
    if total > MAX_BYTES:
        raise _Refused(f"the arguments are larger than {MAX_BYTES // 1024} KiB together")


def _place(command: Command, directory: tuple[str, str], spellings: Mapping[str, Sequence[str]]) -> _Place:
    root, beneath = directory
    roots = ", ".join(command.roots)
    if root not in command.roots:
        raise _Refused(f'{command.name} does not run in the root "{_shown(root)}"', instead=f"roots: {roots}")
    program = command.program
    if isinstance(program, SoughtProgram) and program.root != root:
        reason = f'the program of {command.name} is in the root "{program.root}", so it runs there only'
        raise _Refused(reason, instead=f"root: {program.root}")
    parts = _parts(beneath)
    if beneath.startswith("/") or ".." in parts:
        raise _Refused("the directory to run in is not a path beneath its root")
    return _Place(command, root, parts, spellings)


def _judge_subcommand(rules: Subcommands, arguments: Sequence[str], place: _Place) -> Judgement:
    command = place.command
    if not arguments:
        raise _Refused(f"{command.name} needs a subcommand first", instead=usage(command))
    word = arguments[0]
    chosen = rules.by_name.get(word)
    if chosen is None:
        kind = "a flag before the subcommand" if word.startswith("-") else "a subcommand that is not listed"
        raise _Refused(f"{_shown(word)} is {kind}", instead=usage(command))
    effect = strictest(command.effect, chosen.effect)
    if effect is Effect.DENY:
        denied, why = (chosen.origin, chosen.reason) if chosen.effect is effect else (command.origin, command.reason)
        reason = f"{command.name} {word} is denied{f': {why}' if why else ''}"
        raise _Refused(reason, denied, usage(command) if chosen.effect is effect else None)
    paths = _judge_form(chosen.form, arguments, place, first=1, rule=chosen.origin, instead=usage(command, word))
    if chosen.effect is effect:
        return _answer(command, effect, chosen.origin, chosen.reason or command.reason, paths)
    return _answer(command, effect, command.origin, command.reason, paths)


def _judge_form(
    form: ArgumentForm, arguments: Sequence[str], place: _Place, *, first: int, rule: Origin, instead: str
) -> tuple[PathOperand, ...]:
    """The paths among ``arguments`` from ``first`` on.

    Raises:
        _Refused: with ``rule`` where no single flag refuses, and with ``instead``.
    """
    try:
        values, operands = _split(form, arguments, first)
        paths = []
        for name, flag, at, text in values:
            assert flag.value is not None
            try:
                paths += _admit(flag.value, text, at, place)
            except _Refused as refused:
                raise _Refused(f"the value of {name}: {refused.reason}", flag.origin) from None
        paths += _assign(form.positionals, operands, place)
    except _Refused as refused:
        raise _Refused(refused.reason, refused.rule or rule, instead) from None
    return tuple(paths)


def _split(form: ArgumentForm, arguments: Sequence[str], first: int) -> tuple[list[_Given], list[tuple[int, str]]]:
    """Values of flags, and operands, each with its index. Raises `_Refused`."""
    values: list[_Given] = []
    operands: list[tuple[int, str]] = []
    rest = iter(range(first, len(arguments)))
    for index in rest:
        argument = arguments[index]
        if argument == "--":
            if not form.positionals:
                raise _Refused("-- stands before operands, and it takes none")
            operands += [(each, arguments[each]) for each in rest]
        elif not argument.startswith("-"):
            operands.append((index, argument))
        elif (flag := form.flags.get(argument)) is not None:
            if flag.value is not None:
                following = next(rest, None)
                if following is None:
                    raise _Refused(f"the flag {argument} needs a value", flag.origin)
                values.append(_Given(argument, flag, following, arguments[following]))
        else:
            values += _glued(form, argument, index)
    return values, operands


def _glued(form: ArgumentForm, argument: str, index: int) -> Iterator[_Given]:
    """The value in an argument that holds a flag and its value; none for several bare flags in one argument.

    Raises:
        _Refused: it is neither of listed flags.
    """
    name, equals, value = argument.partition("=")
    flag = form.flags.get(name)
    if equals and len(name) > 2 and (flag is not None or name.startswith("--")):
        if flag is None:
            raise _Refused(f"the flag {_shown(name)} is not listed")
        if flag.value is None:
            raise _Refused(f"the flag {name} takes no value", flag.origin)
        yield _Given(name, flag, index, value)
        return
    short = form.flags.get(argument[:2])
    if argument.startswith("--") or short is None:
        raise _Refused(f"the flag {_shown(argument)} is not listed")
    if short.value is not None:
        value = argument[2:]
        if value.startswith("="):
            # getopt(3) takes the sign for a part of the value, other parsers do not.
            raise _Refused(f"{argument[:2]}= is read in two ways; write {argument[:2]} and the value", short.origin)
        yield _Given(argument[:2], short, index, value)
        return
    for letter in argument[2:]:
        each = form.flags.get(f"-{letter}")
        if each is None:
            raise _Refused(f"the flag {_shown(f'-{letter}')} in {_shown(argument)} is not listed")
        if each.value is not None:
            raise _Refused(
                f"the flag -{letter} takes a value and stands alone: write it apart from {argument[:2]}", each.origin
            )


def _assign(positionals: Sequence[Positional], operands: Sequence[tuple[int, str]], place: _Place) -> list[PathOperand]:
    """The paths among the operands. Each positional takes as many as it may and as fit, but leaves to those after it
    what they need at least. Raises `_Refused`.
    """
    paths: list[PathOperand] = []
    taken = 0
    unfit: _Refused | None = None
    needed_after = sum(positional.least for positional in positionals)
    if len(operands) < needed_after:
        raise _Refused(f"it needs at least {needed_after} operands, and {len(operands)} are given")
    for positional in positionals:
        needed_after -= positional.least
        most = min(positional.most, len(operands) - taken - needed_after)
        count = 0
        while count < most:
            index, text = operands[taken]
            try:
                paths += _admit(positional.value, text, index, place)
            except _Refused as refused:
                unfit = refused
                break
            unfit = None
            taken += 1
            count += 1
        if count < positional.least:
            assert unfit is not None, "there are enough operands, so one did not fit"
            raise unfit
    if taken < len(operands):
        index, text = operands[taken]
        raise unfit or _Refused(f"{_shown(text)} is one operand too many")
    return paths


def _admit(value: Value, text: str, index: int, place: _Place) -> list[PathOperand]:
    """The path in ``text`` if ``value`` is one. Raises `_Refused` if the text is not such a value."""
    if isinstance(value, WordValue):
        if text not in value.words:
            raise _Refused(f"{_shown(text)} is not one of {_cut(', '.join(value.words))}")
        return []
    if isinstance(value, IntegerValue):
        _require_integer(value, text)
        return []
    if text.startswith("-"):
        # Also after "--", which not every program takes for the end of its flags.
        raise _Refused(f"{_shown(text)} looks like a flag{_DOT_SLASH if isinstance(value, PathValue) else ''}")
    if isinstance(value, TextValue):
        return []
    if "\n" in text:
        raise _Refused(f"{_shown(text)} holds a line break")
    if isinstance(value, PathValue):
        return [_locate(value, text, index, place)]
    if isinstance(value, UrlValue):
        _require_url(value, text)
    else:
        _require_match(value, text)
    return []


def _require_url(value: UrlValue, text: str) -> None:
    found = _URL.fullmatch(text)
    if found is None or found[1] not in value.schemes or found[2].lower() not in value.hosts:
        allowed = f"{' or '.join(value.schemes)} at {', '.join(value.hosts)}"
        raise _Refused(f"{_shown(text)} is not an address of {_cut(allowed)}")


def _require_match(value: MatchValue, text: str) -> None:
    if len(text) > MAX_MATCHED or re.fullmatch(value.pattern, text) is None:
        raise _Refused(f"{_shown(text)} does not match {_cut(value.pattern)}")


_DOT_SLASH = "; write ./ before the name of a file"


def _require_integer(value: IntegerValue, text: str) -> None:
    if not _INTEGER.fullmatch(text):
        raise _Refused(f"{_shown(text)} is not a whole number")
    number = int(text)
    if value.low is not None and number < value.low:
        raise _Refused(f"{text} is less than {value.low}")
    if value.high is not None and number > value.high:
        raise _Refused(f"{text} is more than {value.high}")


def _locate(value: PathValue, text: str, index: int, place: _Place) -> PathOperand:
    """The root that ``text`` begins in, and the name beneath it. Raises `_Refused`."""
    if not text:
        raise _Refused("a path is empty")
    if text.startswith("/"):
        root, parts = _of_absolute(value, text, place)
    else:
        root, parts = place.root, (*place.directory, *_parts(text))
        if value.root not in (None, root):
            reason = f'{_shown(text)} begins in the root "{root}", where the command runs'
            raise _Refused(f'{reason}; write the absolute path of a file in the root "{value.root}"')
    depth = 0
    for part in parts:
        depth += -1 if part == ".." else 1
        if depth < 0:
            raise _Refused(f'{_shown(text)} leads out of the root "{root}"')
    mode = place.command.roots.get(root)
    if mode is None:
        raise _Refused(f'{place.command.name} does not see the root "{root}"')
    if value.access is PathAccess.WRITE and mode is Mode.RO:
        raise _Refused(f'{_shown(text)} would be written, and the root "{root}" is read-only for {place.command.name}')
    return PathOperand(index, root, "/".join(parts), value.access, value.must_exist)


def _of_absolute(value: PathValue, text: str, place: _Place) -> tuple[str, tuple[str, ...]]:
    """The innermost root that an absolute path begins in, and the components beneath it. Raises `_Refused`."""
    parts = _parts(text)
    best: tuple[int, str] | None = None
    for root in (value.root,) if value.root is not None else tuple(place.command.roots):
        for spelling in place.spellings.get(root, ()):
            above = _parts(spelling)
            if parts[: len(above)] == above and (best is None or len(above) > best[0]):
                best = (len(above), root)
    if best is None:
        which = f'the root "{value.root}"' if value.root is not None else f"the roots of {place.command.name}"
        raise _Refused(f"{_shown(text)} is outside {which}")
    return best[1], parts[best[0] :]


def _parts(path: str) -> tuple[str, ...]:
    return tuple(part for part in path.split("/") if part not in ("", "."))


_ASKS = " (asks a person first)"


def _usage(start: str, form: ArgumentForm, effect: Effect) -> str:
    words = [start]
    for name, flag in form.flags.items():
        words.append(f"[{name}]" if flag.value is None else f"[{name} {_named(flag.value)}]")
    for positional in form.positionals:
        word = _named(positional.value)
        if positional.most > 1:
            word += "..."
        words.append(word if positional.least else f"[{word}]")
    return _cut(" ".join(words)) + (_ASKS if effect is Effect.ASK else "")


def _named(value: Value) -> str:
    if isinstance(value, WordValue):
        return _cut("|".join(value.words))
    if isinstance(value, MatchValue):
        return "WORD"
    names = ((IntegerValue, "NUMBER"), (PathValue, "PATH"), (UrlValue, "URL"))
    return next((name for kind, name in names if isinstance(value, kind)), "TEXT")


def _cut(text: str) -> str:
    return text if len(text) <= MAX_USAGE else text[: MAX_USAGE - 3] + "..."


def _shown(text: str) -> str:
    """An argument for a message: one line, not long, nothing that moves the cursor."""
    cut = text if len(text) <= 60 else text[:57] + "..."
    return "".join(character if character.isprintable() else "\ufffd" for character in cut)
