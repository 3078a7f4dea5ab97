"""Moving what a command made to another directory, also to one on another file system.

*Trust.* What is moved is hostile, and others may change it meanwhile. The directory that it goes to is ours alone.

*Invariant.* No link is followed: each object is reached through the descriptor of the directory that it is in. What
was copied is removed only when the whole copy is there. A copy has no set-id bits and belongs to this user.
"""

from __future__ import annotations

import errno
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TypeAlias

from fsserver.kernel import constants as c

_HANDLE = c.O_PATH | c.O_NOFOLLOW | c.O_CLOEXEC
_READ = os.O_RDONLY | c.O_NONBLOCK | c.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | c.O_NOFOLLOW | c.O_CLOEXEC
_CHUNK = 1024**2

Inode: TypeAlias = tuple[int, int]  # device and number

# Each level of a tree that is copied holds four descriptors.
MAX_DEPTH = 64


@dataclass(slots=True)
class Budget:
    """What may still be copied: the launcher does nothing else meanwhile. Spending more is `OSError` EFBIG."""

    bytes: int
    entries: int

    def spend(self, *, size: int = 0, entries: int = 0) -> None:
        self.bytes -= size
        self.entries -= entries
        if self.bytes < 0 or self.entries < 0:
            raise OSError(errno.EFBIG, "too much to copy")


def relocate(parent: int, name: str, target: int, new_name: str, budget: Budget) -> None:
    """Move ``name`` in the directory ``parent`` to ``new_name``, which does not exist, in the directory ``target``.

    A directory that its owner closed to himself is opened for that. What is no file, directory or link holds nothing
    and is only removed where it would have to be copied.

    Raises:
        OSError: it was not moved; EFBIG if it is more than ``budget``, ENOENT if it is not there any more.
    """
    with _opened_up(parent), _handle(parent, name) as handle, _opened_up(handle):
        try:
            os.rename(name, new_name, src_dir_fd=parent, dst_dir_fd=target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
        else:
            return
    with _opened_up(parent):
        try:
            _copy(parent, name, target, new_name, budget)
        except OSError:
            remove(target, new_name)
            raise
        remove(parent, name)
        if _exists(parent, name):
            raise OSError(errno.EBUSY, "the copied object could not be removed")


def remove(parent: int, name: str, *, most: float = math.inf) -> bool:
    """Remove ``name`` with all that is in it, as far as that is possible. No link is followed.

    However deep it is: two descriptors are held, and no call is within another.

    Returns: False if more than ``most`` entries would have to go; some are gone then.
    """
    with suppress(OSError):
        if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=parent)
        elif _empty(_enter(parent, name), most):
            os.rmdir(name, dir_fd=parent)
        else:
            return False
    return True


def _empty(directory: int, most: float) -> bool:
    """Remove what is in the directory, whose descriptor is closed here. False: as `remove`.

    Raises `OSError`: a directory was moved while this was in it, and the way back is lost.
    """
    current = directory
    above: list[tuple[Inode, list[str]]] = []
    try:
        inner, most = _unlink_all(current, most)
        while most >= 0:
            if inner:
                try:
                    entered = _enter(current, inner[-1])
                except OSError:
                    inner.pop()
                    continue
                above.append((_inode(current), inner))
                os.close(current)
                current = entered
                inner, most = _unlink_all(current, most)
            elif above:
                inode, inner = above.pop()
                outer = os.open("..", _HANDLE | c.O_DIRECTORY, dir_fd=current)
                os.close(current)
                current = outer
                if _inode(current) != inode:
                    raise OSError(errno.ESTALE, "a directory was moved while it was removed")
                with suppress(OSError):
                    os.rmdir(inner.pop(), dir_fd=current)
            else:
                return True
        return False
    finally:
        os.close(current)


def _enter(parent: int, name: str) -> int:
    """A descriptor to read the directory, which its owner may use from now on."""
    with _handle(parent, name) as handle:
        _open_up(handle)
        return os.open(f"/proc/self/fd/{handle}", _READ | c.O_DIRECTORY)


def _inode(descriptor: int) -> Inode:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def _unlink_all(directory: int, most: float) -> tuple[list[str], float]:
    """Remove what is no directory. Returns the names of those that are, and what is left of ``most``, below zero if it
    is used up.
    """
    inner = []
    with os.scandir(directory) as entries:
        for entry in entries:
            most -= 1
            if most < 0:
                break
            if entry.is_dir(follow_symlinks=False):
                inner.append(entry.name)
            else:
                with suppress(OSError):
                    os.unlink(entry.name, dir_fd=directory)
    return inner, most


def disable(parent: int, name: str) -> None:
    """Take every permission from the object, so that nobody reads, enters or executes it by mistake.

    A link has none of its own. A file with other names keeps them: these may be somebody's.
    """
    with suppress(OSError), _handle(parent, name) as handle:
        status = os.fstat(handle)
        if stat.S_ISDIR(status.st_mode) or (stat.S_ISREG(status.st_mode) and status.st_nlink == 1):
            os.chmod(f"/proc/self/fd/{handle}", 0)


def _exists(parent: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _copy(parent: int, name: str, target: int, new_name: str, budget: Budget, *, depth: int = MAX_DEPTH) -> None:
    if depth == 0:
        raise OSError(errno.EFBIG, "too deep to copy")
    budget.spend(entries=1)
    with _handle(parent, name) as handle:
        mode = os.fstat(handle).st_mode
        if stat.S_ISLNK(mode):
            os.symlink(os.readlink(name, dir_fd=parent), new_name, dir_fd=target)
        elif stat.S_ISDIR(mode):
            _open_up(handle)
            os.mkdir(new_name, 0o700, dir_fd=target)
            with _handle(target, new_name) as into:
                for child in _names(handle):
                    _copy(handle, child, into, child, budget, depth=depth - 1)
        elif stat.S_ISREG(mode):
            with _opened_up(handle):
                _copy_file(handle, target, new_name, budget)


def _copy_file(handle: int, target: int, new_name: str, budget: Budget) -> None:
    source = os.open(f"/proc/self/fd/{handle}", _READ)
    try:
        left = os.fstat(source).st_size
        budget.spend(size=left)  # first of all: a sparse file may say that it holds terabytes
        copy = os.open(new_name, _CREATE, 0o600, dir_fd=target)
        try:
            while left > 0 and (chunk := os.read(source, min(left, _CHUNK))):
                left -= len(chunk)
                view = memoryview(chunk)
                while view:
                    view = view[os.write(copy, view) :]
        finally:
            os.close(copy)
    finally:
        os.close(source)


def _names(handle: int) -> list[str]:
    descriptor = os.open(f"/proc/self/fd/{handle}", _READ | c.O_DIRECTORY)
    try:
        return os.listdir(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _handle(parent: int, name: str) -> Iterator[int]:
    handle = os.open(name, _HANDLE, dir_fd=parent)
    try:
        yield handle
    finally:
        os.close(handle)


@contextmanager
def _opened_up(handle: int) -> Iterator[None]:
    """The owner may use the object for a while; its permissions are then what they were."""
    before = _open_up(handle)
    try:
        yield
    finally:
        if before is not None:
            with suppress(OSError):
                os.chmod(f"/proc/self/fd/{handle}", before)


def _open_up(handle: int) -> int | None:
    """Give the owner every permission on a directory, or reading on a file; returns the mode from before if it was
    changed. A file with other names is left alone. By /proc, since O_PATH is all that can be had of it.
    """
    status = os.fstat(handle)
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISDIR(status.st_mode):
        wanted = mode | 0o700
    elif stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
        wanted = mode | 0o400
    else:
        return None
    if wanted == mode or status.st_uid != os.geteuid():
        return None
    with suppress(OSError):
        os.chmod(f"/proc/self/fd/{handle}", wanted)
        return mode
    return None
