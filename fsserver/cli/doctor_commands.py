"""What ``fsserver doctor`` says of commands: how they are confined here, who they are, what they find and leave."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from typing import Final

from fsserver.app.parts import start_launcher
from fsserver.cli.checks import EXIT_KERNEL, Check, Verdict, launchers_words
from fsserver.errors import FsserverError, SandboxSetupError
from fsserver.paths.root import Root
from fsserver.policy.compiled import Command, Home, Layer, PinnedProgram, Policy, SoughtProgram
from fsserver.sandbox.cgroup import Groups
from fsserver.sandbox.host import Host, look_around
from fsserver.sandbox.launching import LauncherRunner
from fsserver.sandbox.trial import Attempt, try_commands
from fsserver.sandbox.users import NOBODY_ELSE, Maps, choose
from fsserver.tools.text.sizes import format_size

GROUP: Final = "commands"
MOST_COUNTED: Final = 100_000
"""Entries of a directory of the state that are counted; more are said to be more."""


def command_checks(policy: Policy | None) -> Iterator[Check]:
    """What this machine gives commands; with a policy, what it gives that policy's. Starts threads."""
    if policy is not None and not policy.commands:
        yield Check(GROUP, "commands", "note", "the policy has none")
        return
    yield _groups_check()
    with launchers_words() as said:
        yield from _trial_checks(said, required=policy is not None)
    if policy is not None:
        with launchers_words() as said:
            yield from _policy_checks(policy, said)


def _groups_check() -> Check:
    """Which control groups a launcher of this user could make; it makes them, and removes them."""
    groups = Groups.open(f"doctor-{secrets.token_hex(4)}", {os.getppid()})
    if groups is None:
        text = "none that this user may make: memory and processes of commands are sampled"
        return Check(GROUP, "own control groups", "note", text)
    try:
        return Check(GROUP, "own control groups", "ok", f"v{groups.version} ({', '.join(sorted(groups.controllers))})")
    finally:
        groups.close()


def _trial_checks(said: list[str], *, required: bool) -> Iterator[Check]:
    try:
        trial = try_commands()
    except (SandboxSetupError, OSError) as error:
        text = "\n".join((str(error), *said))
        yield Check(GROUP, "self-test", "error" if required else "warning", text, EXIT_KERNEL if required else 0)
        return
    yield Check(GROUP, "layer here", *_layer_line(trial.layer, said, trial.gaps))
    for attempt in trial.attempts:
        yield _attempt_check(attempt)


def _layer_line(layer: Layer, said: Sequence[str], gaps: Sequence[str]) -> tuple[Verdict, str]:
    lines = [str(layer), *said, *(f"not enforced: {gap}" for gap in gaps)]
    return "ok" if layer is Layer.FULL and not gaps else "warning", "\n".join(lines)


def _attempt_check(attempt: Attempt) -> Check:
    went_through = attempt.error is None
    detail = "" if went_through else f" ({attempt.error})"
    if attempt.promised is None:
        verdict: Verdict = "ok" if went_through else "error"
        text = ("works" if went_through else "fails") + detail
    else:
        verdict = "ok" if not went_through else "error" if attempt.promised else "warning"
        text = ("open" if went_through else "stopped") + detail
    return Check(GROUP, attempt.attempt, verdict, text, EXIT_KERNEL if verdict == "error" else 0)


def _policy_checks(policy: Policy, said: list[str]) -> Iterator[Check]:
    """The policy's own commands, as `serve` would start them."""
    left = list(_left_checks(policy))  # before a launcher adds to it
    with ExitStack() as held:
        try:
            roots = [held.enter_context(closing(Root.open(rules))) for rules in policy.roots]
            runner = start_launcher(policy, roots, f"doctor-{secrets.token_hex(4)}")
        except FsserverError as error:
            yield Check(GROUP, "launcher", "error", error.message, EXIT_KERNEL)
            return
        if runner is None:
            yield Check(GROUP, "launcher", "error", "commands need Linux", EXIT_KERNEL)
            return
        held.enter_context(closing(runner))
        runner.listen()
        yield _launcher_check(runner, said)
        yield _user_check(policy, roots, runner.layer)
    host = look_around(os.path.expanduser("~"))
    paths = {rules.name: os.path.realpath(rules.path) for rules in policy.roots}
    for command in policy.commands.values():
        yield _program_check(command, host, paths)
    yield from left


def _left_checks(policy: Policy) -> Iterator[Check]:
    """What earlier runs have left."""
    for command in policy.commands.values():
        if command.home is Home.KEPT:
            place = policy.kept_home(command.name)
            yield Check(GROUP, f"home of {command.name}", "note", f"{place}: {_amount(place)}")
    place = f"{policy.state}/quarantine"
    yield Check(GROUP, "quarantine", "note", f"{place}: {_amount(place)}")


def _launcher_check(runner: LauncherRunner, said: list[str]) -> Check:
    if runner.unavailable is not None:
        lines = (runner.unavailable, *said, "file tools are served all the same, and not with --strict")
        return Check(GROUP, "layer of the policy", "error", "\n".join(lines), EXIT_KERNEL)
    return Check(GROUP, "layer of the policy", *_layer_line(runner.layer, said, runner.gaps))


def _user_check(policy: Policy, roots: list[Root], layer: Layer) -> Check:
    """Who the commands are for the rest of the host."""
    ids = (os.geteuid(), os.getegid())
    if ids[0] != 0:
        return Check(GROUP, "run as", "ok", f"user {ids[0]}, as the server")
    places = {root.rules.name: (root.shown, _owner(root.shown)) for root in roots}
    maps = Maps((NOBODY_ELSE, NOBODY_ELSE))
    said: dict[str, None] = {}
    for command in policy.commands.values():
        own = [places[name] for name in command.roots]
        mapped = layer is Layer.FULL and all(maps.can_map(*place) for place in own)
        try:
            user = choose(ids, [owner for _, owner in own], mapped=mapped, accept_uid0=policy.sandbox.accept_uid0)
        except SandboxSetupError as error:
            return Check(GROUP, "run as", "error", error.message, EXIT_KERNEL)
        assert user is not None, "root never stays root unseen"
        if mapped:
            said[f"user {user.outside[0]}, that nobody has, shown the roots as its own"] = None
        else:
            said[f"user {user.outside[0]}"] = None
    risky = "user 0" in said
    return Check(GROUP, "run as", "warning" if risky else "ok", "; ".join(said))


def _owner(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_uid, status.st_gid


def _program_check(command: Command, host: Host, roots: dict[str, str]) -> Check:
    """Where the program is, and whether a script's interpreter is among what the command sees."""
    name = f"command {command.name}"
    program = command.program
    if isinstance(program, PinnedProgram):
        path, prefix = program.path, program.prefix
    else:
        assert isinstance(program, SoughtProgram), "a policy's command has no other"
        path, prefix = f"{roots[program.root]}/{program.name}", None
        if not os.access(path, os.X_OK):
            text = f"{program.name} is not in {program.root} now; it is looked for at each call, from where it runs"
            return Check(GROUP, name, "note", text)
    seen = [
        *host.directories,
        *(link for link, _ in host.links),
        *command.runtime,
        *(roots[each] for each in command.roots),
    ]
    seen += [prefix] if prefix is not None else []
    interpreter = _interpreter(path)
    needed = dict.fromkeys((interpreter, os.path.realpath(interpreter)) if interpreter is not None else ())
    unseen = [place for place in needed if not any(place == each or place.startswith(f"{each}/") for each in seen)]
    if unseen:
        runtime = ", ".join(dict.fromkeys(os.path.dirname(os.path.dirname(place)) for place in unseen))
        text = f"{path}: it does not see {unseen[0]}, which runs it; give the command runtime: [{runtime}]"
        return Check(GROUP, name, "warning", text)
    return Check(GROUP, name, "ok", path)


def _interpreter(path: str) -> str | None:
    """What execve(2) starts for a script; None for a program that is none."""
    try:
        with open(path, "rb") as stream:
            line = stream.readline(256)
    except OSError:
        return None
    words = line[2:].split() if line.startswith(b"#!") else []
    return os.fsdecode(words[0]) if words else None


def _amount(directory: str) -> str:
    """How much is in it."""
    size = count = 0
    for place, _, files in os.walk(directory):
        for name in files:
            count += 1
            if count > MOST_COUNTED:
                return f"more than {MOST_COUNTED} files, {format_size(size)} and more"
            try:
                size += os.lstat(os.path.join(place, name)).st_size
            except OSError:
                continue
    return f"{count} file{'s' if count > 1 else ''}, {format_size(size)}" if count else "nothing"
