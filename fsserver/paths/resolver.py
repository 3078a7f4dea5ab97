"""From a name beneath a root to a descriptor of the object, and from the descriptor back to its true name.

*Trust.* The root's descriptor and its spellings are ours. Hostile are the name, every link, directory and mount on the
way, and other processes that rename any of them while we look. The kernel and its /proc are trusted.

*Invariant.* Every descriptor returned was reached from the root's descriptor downwards: at the moment it was opened its
object lay beneath the root. It was opened with O_PATH, so no FIFO, device or socket was touched and no byte was read.
No step compares path strings and opens afterwards; a link's text is only ever opened beneath the root again.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Protocol

from fsserver.errors import UnstablePath
from fsserver.kernel import constants as c
from fsserver.kernel.syscalls import descriptor_path, file_system, open_how, openat2
from fsserver.paths.names import remainder
from fsserver.paths.root import Root

ATTEMPTS = 32

# The most steps of one walk. Forty links of 4,096 bytes that go down and up again would take minutes.
MAX_STEPS = 100_000

_OBJECT = c.O_PATH | c.O_NOFOLLOW | c.O_CLOEXEC
_BENEATH = c.RESOLVE_BENEATH | c.RESOLVE_NO_MAGICLINKS
_FOLLOW = open_how(c.O_PATH, _BENEATH)
_LAST_LINK_ITSELF = open_how(c.O_PATH | c.O_NOFOLLOW, _BENEATH)

# EXDEV: a `..` or a link leaves the root, or an absolute link points back inside, which openat2 cannot follow.
# ENOSYS, EPERM: there is no openat2, or a seccomp filter forbids it. Asked anew each time: a filter can come later.
_WALK_INSTEAD = frozenset({errno.EXDEV, errno.ENOSYS, errno.EPERM})


class EscapeError(Exception):
    """The name leads out of its root."""


class MovedError(Exception):
    """What was opened has changed its place meanwhile; resolve again."""


class Resolver(Protocol):
    """Opens names beneath a root. Both implementations have the same outcomes."""

    def open(self, root: Root, name: str, *, follow: bool = True) -> int:
        """An O_PATH descriptor of the object called ``name``; the caller closes it.

        Args:
            name: components joined by "/", which may be ".."; "" is the root itself.
            follow: whether a link in the last place is followed. Links before it always are.

        Raises:
            EscapeError: it leads out of the root.
            UnstablePath: concurrent renames did not let it be resolved.
            OSError: ENOENT, ENOTDIR, EACCES, ELOOP, ENAMETOOLONG, as open(2) has them.
        """


class WalkResolver:
    """One component at a time, never letting the kernel follow a link.

    Differs from openat2(2) only in a root inside /proc, where it follows no link at all.
    """

    def open(self, root: Root, name: str, *, follow: bool = True) -> int:
        for _ in range(ATTEMPTS):
            try:
                return _Walk(root, name, follow=follow).run()
            except MovedError:
                continue
        raise UnstablePath("Access denied - the path kept changing while it was resolved.")


class OpenAt2Resolver:
    """The whole name in one system call; `WalkResolver` for what openat2(2) leaves undecided."""

    def __init__(self) -> None:
        self._walk = WalkResolver()

    def open(self, root: Root, name: str, *, follow: bool = True) -> int:
        path = os.fsencode(name) or b"."
        how = _FOLLOW if follow else _LAST_LINK_ITSELF
        for _ in range(ATTEMPTS):
            try:
                return openat2(root.fd, path, how)
            except OSError as error:
                if error.errno in _WALK_INSTEAD:
                    return self._walk.open(root, name, follow=follow)
                if error.errno != errno.EAGAIN:  # EAGAIN: a rename raced with `..`
                    raise
        raise UnstablePath("Access denied - the path kept changing while it was resolved.")


class _Walk:
    """One walk. ``trail`` are the directories passed, none of them a link; ``here`` is the last one's descriptor."""

    def __init__(self, root: Root, name: str, *, follow: bool) -> None:
        self._root = root
        self._pending = name.split("/")[::-1] if name else []
        self._follow = follow
        self._trail: list[str] = []
        self._here = -1
        self._links = 0
        self._steps = 0

    def run(self) -> int:
        self._enter(os.open(".", _OBJECT, dir_fd=self._root.fd))
        try:
            while self._pending:
                self._step(self._pending.pop())
        except BaseException:
            os.close(self._here)
            raise
        return self._here

    def _step(self, part: str) -> None:
        if part == "..":
            self._up()
            return
        found = os.open(part, _OBJECT, dir_fd=self._here)
        if (self._pending or self._follow) and stat.S_ISLNK(os.fstat(found).st_mode):
            try:
                text = os.readlink("", dir_fd=found)
                magic = file_system(found).magic == c.PROC_SUPER_MAGIC
            finally:
                os.close(found)
            self._through(text, magic=magic)
            return
        self._enter(found)
        if part != ".":
            self._trail.append(part)

    def _up(self) -> None:
        """Never opens "..": a directory that was moved away meanwhile has another parent."""
        if not self._trail:
            raise EscapeError
        os.close(os.open(".", _OBJECT, dir_fd=self._here))  # fails as the kernel's own step would
        self._trail.pop()
        self._restart(self._trail)

    def _through(self, text: str, *, magic: bool) -> None:
        """Go on with a link's text. ``magic``: it is in /proc, where links lead elsewhere than their text says."""
        self._links += 1
        if magic or not text or self._links > c.MAXSYMLINKS:
            raise OSError(errno.ELOOP, "link")
        parts = [part for part in text.split("/") if part]
        if text.endswith("/"):
            parts.append(".")
        if text.startswith("/"):
            rests = [rest for prefix in self._root.prefixes if (rest := remainder(parts, prefix)) is not None]
            if not rests:
                raise EscapeError
            parts = list(rests[0])
            self._trail = []
            self._restart([])
        self._pending.extend(reversed(parts))

    def _restart(self, trail: list[str]) -> None:
        """Go down from the root again. A link or a file where a directory was means that somebody moves things."""
        self._enter(os.open(".", _OBJECT, dir_fd=self._root.fd))
        for part in trail:
            try:
                below = os.open(part, _OBJECT | c.O_DIRECTORY, dir_fd=self._here)
            except OSError:
                raise MovedError from None
            self._enter(below)

    def _enter(self, descriptor: int) -> None:
        if self._here >= 0:
            os.close(self._here)
        self._here = descriptor
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise OSError(errno.ELOOP, "steps")


def name_beneath(root: Root, descriptor: int, top: str | None = None) -> str:
    """The name beneath the root by which the kernel knows the opened object now.

    Args:
        top: where the root is, asked a moment ago; None asks.

    Raises:
        MovedError: it does not lie beneath the root (any more), was removed, or has no readable path.
        NotFound: the root itself was removed.
        OSError: ENAMETOOLONG, from 4,096 bytes on the kernel tells no name and so nothing can be decided.
    """
    top = root.path() if top is None else top
    try:
        path = descriptor_path(descriptor)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise
        raise MovedError from None
    if path == top:
        return ""
    if not path.startswith(top + "/"):
        raise MovedError
    name = path[len(top) + 1 :]
    if name.endswith(" (deleted)") and not _is_called(root, name, descriptor):
        raise MovedError
    return name


def _is_called(root: Root, name: str, descriptor: int) -> bool:
    """Whether the object truly has that name; the kernel marks removed names with the same words."""
    try:
        status = os.stat(name, dir_fd=root.fd, follow_symlinks=False)
    except OSError:
        return False
    return same_object(status, os.fstat(descriptor))


def same_object(one: os.stat_result, other: os.stat_result) -> bool:
    """Whether two results of fstat(2) are of one object."""
    return one.st_ino == other.st_ino and one.st_dev == other.st_dev
