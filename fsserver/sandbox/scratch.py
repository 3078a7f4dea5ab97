"""Directories of one run: those of single commands, where there is no mount namespace to make them in, and skeletons of
cells. For the launcher's one thread.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from fsserver.kernel import constants as c
from fsserver.kernel import process
from fsserver.sandbox.cell_profile import Ids
from fsserver.sandbox.relocation import remove

REMOVED_AT_ONCE: Final = 1000
"""Entries of a directory that a command used; about 10 ms."""

# Of root's commands, which are other users: its own state is closed to them.
_OPEN: Final = "/tmp"  # noqa: S108 - the name below it is this run's, which nobody else knows
_ATTEMPTS: Final = 10
_RUN: Final = re.compile(r"(?:fsserver-)?[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Scratch:
    """One command's own directories; absolute."""

    home: str
    temporary: str


class ScratchSpace:
    """The directory of one run, which holds a lock (flock(2)) on it, so that a later run knows whether it lives."""

    def __init__(self, state: str, run_id: str, *, root: bool) -> None:
        """Nothing is made before `make`; what ended runs have left is removed.

        Args:
            state: fsserver's own directory, for whoever is not root.
            run_id: 16 hexadecimal digits; no other run has it.
        """
        self._parent = _OPEN if root else f"{state}/cells"
        self._base = f"{self._parent}/{'fsserver-' if root else ''}{run_id}"
        self._numbers = itertools.count(1)
        self._lock: int | None = None
        self._sweep()

    def make(self, owner: Ids | None) -> Scratch:
        """New directories, which belong to ``owner``; None is this process's own user. Raises ``OSError``."""
        base = self.directory()
        made = Scratch(os.path.join(base, "home"), os.path.join(base, "tmp"))
        for path in (made.home, made.temporary):
            os.mkdir(path, 0o700)
            if owner is not None:
                os.chown(path, *owner)
        if owner is not None:
            for path in (self._base, base):
                os.chmod(path, 0o711)  # noqa: S103 - the command only passes through
        return made

    def directory(self) -> str:
        """A new directory that only this process's own user may enter; no link is in its path. Raises ``OSError``."""
        if self._lock is None:
            self._lock = _make_locked(self._base)
        base = f"{os.path.realpath(self._base)}/{next(self._numbers)}"
        os.mkdir(base, 0o700)
        return base

    def remove(self, scratch: Scratch) -> None:
        """Remove one command's directories, with whatever it left in them."""
        _discard(os.path.dirname(scratch.home))

    def close(self) -> None:
        """Remove all of it."""
        if self._lock is not None:
            _discard(self._base)
            os.close(self._lock)
            self._lock = None

    def _sweep(self) -> None:
        try:
            left = [name for name in os.listdir(self._parent) if _RUN.fullmatch(name)]
        except OSError:
            return
        for name in left:
            path = f"{self._parent}/{name}"
            with suppress(OSError):  # somebody else's, or of a run that lives
                lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    if os.fstat(lock).st_uid == os.geteuid():
                        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        _discard(path)
                finally:
                    os.close(lock)


def _make_locked(path: str) -> int:
    """Make a run's directory and hold a lock on it. Without one it is a dead run's: another run that starts at the same
    moment may remove it, and then it is made again. Raises ``OSError``.
    """
    for _ in range(_ATTEMPTS):
        os.makedirs(path, 0o700)
        with suppress(FileNotFoundError):
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            fcntl.flock(lock, fcntl.LOCK_SH)
            if os.path.isdir(path):  # and the same one: nobody else makes it
                return lock
            os.close(lock)
    raise OSError(errno.EBUSY, "it is removed again and again", path)


def _discard(path: str) -> None:
    """Remove a directory that commands wrote to: at once if there is little in it, else by a process of its own, since
    the launcher does nothing else meanwhile.
    """
    with suppress(OSError):
        parent = os.open(os.path.dirname(path), c.O_PATH | c.O_DIRECTORY | c.O_CLOEXEC)
        try:
            if not remove(parent, os.path.basename(path), most=REMOVED_AT_ONCE):
                _leave_to_another(lambda: remove(parent, os.path.basename(path)), parent)
        finally:
            os.close(parent)


def _leave_to_another(work: Callable[[], object], descriptor: int) -> None:
    """Do it in a process that is nobody's child, and that holds nothing of this one but ``descriptor``."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        if os.fork() == 0:
            process.close_all_but((descriptor,))
            work()
    finally:
        os._exit(0)
