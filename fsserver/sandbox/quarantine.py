"""What a command made under protected names goes out of the root, to a directory that no client reaches.

Mounts protect names that exist. A name that a command makes itself cannot be kept from it, so it is taken away when the
command has ended: nothing that the command wrote is then read, run or obeyed under a protected name.

Taken are the names that are in the index after the command and were not before, and links with such names that are
other objects now: not every mount keeps a link from being replaced. Only names that a rule covers: a further hard link
of a protected file is free again when that file is gone. A directory that the command closed, so that nobody can look
into it, stays where it is, for it may have been somebody's before; it is told, and later commands find it denied whole.

What remains: the names are there while the command runs; and who made a name is not known, so one that somebody else
made meanwhile is taken as well. An object that cannot be moved loses its permissions, stays, and is told.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from enum import Enum, auto

from fsserver.errors import SandboxSetupError
from fsserver.kernel import constants as c
from fsserver.kernel.syscalls import open_how, openat2
from fsserver.policy.compiled import Action, Mode
from fsserver.policy.decision import protection
from fsserver.sandbox.protected import Kind, ProtectedIndex, ProtectedName
from fsserver.sandbox.relocation import Budget, disable, relocate, remove

# Others may make names meanwhile; after this many rounds what is left is told.
_ROUNDS = 3

MAX_MOVED = 10_000
# Only what must be copied, to another file system, counts. A second's work or two.
MAX_COPIED_BYTES = 256 * 1024**2
MAX_COPIED_ENTRIES = 20_000

_DIRECTORY = os.O_RDONLY | c.O_DIRECTORY | c.O_NOFOLLOW | c.O_CLOEXEC
_BENEATH = open_how(c.O_PATH | c.O_DIRECTORY, c.RESOLVE_BENEATH | c.RESOLVE_NO_SYMLINKS)
_NOTE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | c.O_NOFOLLOW | c.O_CLOEXEC
_PLAIN = re.compile(r"[^A-Za-z0-9._-]")


@dataclass(frozen=True, slots=True)
class Taken:
    """Names as ``root/name``; bytes that are not UTF-8 as lone surrogates.

    Attributes:
        moved: these are in quarantine.
        failed: these are still in the root: they could not be moved, or not be looked into.
    """

    moved: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


class Quarantine:
    """The directory ``quarantine`` in the state directory. For one thread."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def open(cls, state: str) -> Quarantine:
        """Make it if it is not there, for this user only.

        Raises:
            SandboxSetupError: it cannot be made, is no directory, or another user's.
        """
        path = f"{state}/quarantine"
        try:
            with suppress(FileExistsError):
                os.mkdir(path, 0o700)
            descriptor = os.open(path, _DIRECTORY)
        except OSError as error:
            raise SandboxSetupError(f"The quarantine directory cannot be made: {path}.") from error
        if os.fstat(descriptor).st_uid != os.geteuid():
            os.close(descriptor)
            raise SandboxSetupError(f"The quarantine directory belongs to another user: {path}.")
        os.fchmod(descriptor, 0o700)
        return cls(descriptor)

    def take(self, index: ProtectedIndex, before: Iterable[ProtectedName], *, run_id: str, command: str) -> Taken:
        """Refresh the index and take away what is new, until nothing more can be.

        Each goes to ``<run id>/<number>-<last component>``, with a note ``<number>.json`` of where it was.

        Args:
            index: of the root. In a read-only root a command makes nothing: nothing is looked for.
            before: its names when the command began.
            run_id: letters, digits, "-" and "_"; may be given more than once.

        Raises:
            SandboxSetupError: as `ProtectedIndex.refresh`; the root may hold new names then.
        """
        if index.rules.mode is Mode.RO:
            return Taken()
        known = tuple(before)
        moved: dict[str, None] = {}
        failed: dict[str, None] = {}
        with ExitStack() as stack:
            room = _Room(self._descriptor, run_id, stack)
            for _ in range(_ROUNDS):
                index.refresh()
                new = [name for name in appeared(known, index.names) if name.name not in failed]
                for name in new:
                    if _is_covered(index, name):
                        outcome = room.move(index, name, command)
                        if outcome is Outcome.MOVED:
                            moved[name.name] = None
                        elif outcome is Outcome.FAILED:
                            failed[name.name] = None
                    elif name.kind is Kind.DIRECTORY:
                        failed[name.name] = None
                if not new:
                    break
            else:
                index.refresh()
                left = (name for name in appeared(known, index.names) if _is_covered(index, name))
                failed.update(dict.fromkeys(name.name for name in left))
        prefix = f"{index.rules.name}/"
        return Taken(tuple(prefix + name for name in moved), tuple(prefix + name for name in failed))

    def close(self) -> None:
        os.close(self._descriptor)


class Outcome(Enum):
    MOVED = auto()
    GONE = auto()
    FAILED = auto()


class _Room:
    """The directory of one run, made when the first object goes there. ``stack`` closes it."""

    def __init__(self, quarantine: int, run_id: str, stack: ExitStack) -> None:
        self._quarantine = quarantine
        self._run_id = run_id
        self._stack = stack
        self._descriptor = -1
        self._number = 0
        self._moved = 0
        self._budget = Budget(MAX_COPIED_BYTES, MAX_COPIED_ENTRIES)

    def move(self, index: ProtectedIndex, name: ProtectedName, command: str) -> Outcome:
        directory, _, leaf = name.name.rpartition("/")
        try:
            parent = openat2(index.descriptor, os.fsencode(directory or "."), _BENEATH)
        except FileNotFoundError:
            return Outcome.GONE
        except OSError:
            return Outcome.FAILED
        try:
            status = os.stat(leaf, dir_fd=parent, follow_symlinks=False)
            if (status.st_dev, status.st_ino) != name.identity[:2]:
                return Outcome.GONE  # what has this name now is found by the next refresh
            self._move(parent, leaf, _note(index, name, command, status))
        except FileNotFoundError:
            return Outcome.GONE
        except OSError:
            disable(parent, leaf)
            return Outcome.FAILED
        finally:
            os.close(parent)
        return Outcome.MOVED

    def _move(self, parent: int, leaf: str, note: str) -> None:
        if self._moved >= MAX_MOVED:
            raise OSError(errno.EDQUOT, "too many")
        if self._descriptor < 0:
            self._open()
        number, self._number = self._number, self._number + 1
        descriptor = os.open(f"{number}.json", _NOTE, 0o600, dir_fd=self._descriptor)
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(note)
        try:
            relocate(parent, leaf, self._descriptor, f"{number}-{_escaped(leaf)}", self._budget)
        except OSError:
            remove(self._descriptor, f"{number}.json")
            raise
        self._moved += 1

    def _open(self) -> None:
        with suppress(FileExistsError):
            os.mkdir(self._run_id, 0o700, dir_fd=self._quarantine)
        self._descriptor = os.open(self._run_id, _DIRECTORY, dir_fd=self._quarantine)
        self._stack.callback(os.close, self._descriptor)
        numbers = [int(name.partition("-")[0].partition(".")[0]) for name in os.listdir(self._descriptor)]
        self._number = max(numbers, default=0) + 1


def appeared(before: Iterable[ProtectedName], after: Iterable[ProtectedName]) -> list[ProtectedName]:
    """The new names of ``after``, which is sorted; nothing below one that is in the list. Pure."""
    known = {each.name: each for each in before}
    new: dict[str, ProtectedName] = {}
    for name in after:
        old = known.get(name.name)
        if old is not None and (old.kind is not Kind.LINK or old.identity == name.identity):
            continue
        if new.keys().isdisjoint(_above(name.name)):
            new[name.name] = name
    return list(new.values())


def _above(name: str) -> Iterator[str]:
    """The directories above a name, without the root."""
    while name := name.rpartition("/")[0]:
        yield name


def _is_covered(index: ProtectedIndex, name: ProtectedName) -> bool:
    """Whether a rule covers the name, rather than the file's other name or that nobody can look into it."""
    return protection(index.rules, name.name, Action.OVERWRITE, folds=index.folds) is not None


def _note(index: ProtectedIndex, name: ProtectedName, command: str, status: os.stat_result) -> str:
    fields = {
        "root": index.rules.name,
        "name": name.name,
        "protection": name.protection,
        "kind": name.kind,
        "mode": f"{stat.S_IMODE(status.st_mode):04o}",
        "uid": status.st_uid,
        "gid": status.st_gid,
        "command": command,
        "time": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
    }
    import json  # noqa: PLC0415 - rare, and each cell would carry it

    return json.dumps(fields) + "\n"


def _escaped(leaf: str) -> str:
    """A name that no terminal and no glob takes for anything else, of at most 100 characters."""
    return _PLAIN.sub(lambda found: "".join(f"%{byte:02X}" for byte in os.fsencode(found[0])), leaf)[:100]
