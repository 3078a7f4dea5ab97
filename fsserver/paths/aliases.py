"""Which inodes have a protected name: so that a protected file is not reached through another hard link.

A file with one name needs none of this. For one with more, the names in the root that are protected are listed, with
the inode of each. The list is kept per directory and a directory is read again only when its ctime changed: adding or
renaming a hard link changes the ctime of the directory it happens in.

What remains open: within `FRESH_NS` after a sweep, a directory renamed so that its files become protected is not seen
for files whose own ctime is older than the sweep; and file systems whose times are coarser than `GRANULARITY_NS`.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from dataclasses import dataclass, field
from typing import TypeAlias

from fsserver.errors import HardLinkDenied
from fsserver.kernel import constants as c
from fsserver.kernel.syscalls import descriptor_path
from fsserver.policy.compiled import Action, RootRules
from fsserver.policy.decision import may_contain_protected, protection

MAX_DIRECTORIES = 200_000
MAX_ENTRIES = 2_000_000
FRESH_NS = 1_000_000_000
GRANULARITY_NS = 50_000_000

_Inode: TypeAlias = tuple[int, int]  # device and number

_OPEN = os.O_RDONLY | c.O_DIRECTORY | c.O_NOFOLLOW | c.O_CLOEXEC


@dataclass(slots=True)
class _Directory:
    """One directory as it was listed: when, how much is in it, and its protected files as inode → strictest name."""

    ctime_ns: int
    listed_ns: int
    identity: tuple[int, int]
    entries: int = 0
    children: list[str] = field(default_factory=list)
    protected: dict[_Inode, str] = field(default_factory=dict)


class Aliases:
    """The index of one root. Thread-safe; built at the first question."""

    def __init__(self, fd: int, rules: RootRules, *, folds: bool) -> None:
        self._fd = fd
        self._rules = rules
        self._folds = folds
        self._lock = threading.Lock()
        self._directories: dict[str, _Directory] = {}
        self._inodes: dict[_Inode, str] = {}
        self._swept_ns = 0

    def protected_name(self, status: os.stat_result) -> str | None:
        """The most strictly protected name in this root of the file that ``status`` describes, if it has one.

        Raises:
            HardLinkDenied: the root cannot be listed wholly, so nobody can tell.
        """
        if not may_contain_protected(self._rules):
            return None
        with self._lock:
            now = time.time_ns()
            settled = status.st_ctime_ns + GRANULARITY_NS < self._swept_ns
            if not (settled and 0 <= now - self._swept_ns < FRESH_NS):
                self._sweep(now)
            return self._inodes.get((status.st_dev, status.st_ino))

    def forget(self) -> None:
        """The next question sweeps: something in the root was moved."""
        with self._lock:
            self._swept_ns = 0

    def _sweep(self, now: int) -> None:
        known, self._directories, self._inodes = self._directories, {}, {}
        self._swept_ns = 0
        pending = [""]
        entries = 0
        while pending:
            name = pending.pop()
            found = self._look(name, known.get(name), now)
            if found is None:
                continue
            entries += found.entries
            if len(self._directories) >= MAX_DIRECTORIES or entries > MAX_ENTRIES:
                raise HardLinkDenied(
                    f"The file has several names, and the root {self._rules.name} holds too much to check whether one "
                    "of them is protected."
                )
            self._directories[name] = found
            for inode, protected in found.protected.items():
                self._keep_strictest(self._inodes, inode, protected)
            pending.extend(f"{name}/{child}" if name else child for child in found.children)
        self._swept_ns = now

    def _look(self, name: str, known: _Directory | None, now: int) -> _Directory | None:
        """The directory's listing, read again if it may have changed; None if it is gone."""
        try:
            status = os.stat(name or ".", dir_fd=self._fd, follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode):
                return None
            identity = (status.st_dev, status.st_ino)
            if (
                known is not None
                and known.identity == identity
                and known.ctime_ns == status.st_ctime_ns
                and known.ctime_ns + GRANULARITY_NS < known.listed_ns
            ):
                return known
            return self._list(name, now)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError:
            raise HardLinkDenied(
                f"The file has several names, and a directory in the root {self._rules.name} cannot be listed to check "
                "whether one of them is protected."
            ) from None

    def _list(self, name: str, now: int) -> _Directory:
        descriptor = os.open(name or ".", _OPEN, dir_fd=self._fd)
        try:
            if descriptor_path(descriptor) != descriptor_path(self._fd) + (f"/{name}" if name else ""):
                raise OSError("a link took the place of a directory on the way")
            status = os.fstat(descriptor)
            listing = _Directory(status.st_ctime_ns, now, (status.st_dev, status.st_ino))
            prefix = f"{name}/" if name else ""
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    listing.entries += 1
                    if entry.is_dir(follow_symlinks=False):
                        listing.children.append(entry.name)
                    elif not entry.is_symlink() and self._is_protected(prefix + entry.name):
                        inode = _inode(entry)
                        if inode is not None:
                            self._keep_strictest(listing.protected, inode, prefix + entry.name)
            return listing
        finally:
            os.close(descriptor)

    def _is_protected(self, name: str) -> bool:
        return protection(self._rules, name, Action.OVERWRITE, folds=self._folds) is not None

    def _keep_strictest(self, names: dict[_Inode, str], inode: _Inode, name: str) -> None:
        """A denied name stands for more than one that is only read-only, whichever was found first."""
        if inode not in names or protection(self._rules, name, Action.READ, folds=self._folds) is not None:
            names[inode] = name


def _inode(entry: os.DirEntry[str]) -> _Inode | None:
    """The entry's device and inode; None if it was removed meanwhile."""
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
