"""Verbs that change nothing: open, read whole, list, describe. Every `OSError` ends here as an error for clients."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from fsserver.errors import FileTooLarge, SpecialFile
from fsserver.kernel import constants as c
from fsserver.kernel.syscalls import birth_time_ns
from fsserver.paths.entry import Checkpoint, Entry, entries_of, go_on
from fsserver.paths.names import display, sorts_as_bytes
from fsserver.paths.outcomes import is_a_directory, outcome
from fsserver.paths.target import Target
from fsserver.policy.compiled import Action

_CHUNK = 1024 * 1024
_READ = os.O_RDONLY | c.O_NONBLOCK | c.O_NOCTTY | c.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Identity:
    """Which version of which file: unlike after any change that the file system's clock can tell apart."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@dataclass(frozen=True, slots=True)
class FileInfo:
    """What is known about an object without reading it. ``born_ns`` is None where no such time is kept."""

    stat: os.stat_result
    born_ns: int | None


class OpenFile:
    """A regular file, open for reading. A context manager.

    Attributes:
        shown: the absolute path as it was asked for; may hold surrogates, so `display` it.
        stat: from before anything was read; its `Identity` is that of the contents, or of older ones.
    """

    __slots__ = ("_descriptor", "shown", "stat")

    def __init__(self, descriptor: int, status: os.stat_result, shown: str) -> None:
        self._descriptor = descriptor
        self.shown = shown
        self.stat = status

    @property
    def descriptor(self) -> int:
        """Open for reading; ends with this."""
        return self._descriptor

    @property
    def size(self) -> int:
        """The size in bytes that the file claims; files in /proc claim 0, and a file can grow. Never a bound."""
        return self.stat.st_size

    def read_at(self, offset: int, count: int) -> bytes:
        """Up to ``count`` bytes from ``offset`` on; fewer only at the end of the file. Raises `InputOutputError`."""
        chunks: list[bytes] = []
        try:
            while count > 0:
                # All that is claimed at once: pieces would be held twice while they are joined, and leave holes.
                asked = min(count, max(_CHUNK, self.stat.st_size + 1 - offset))
                chunk = os.pread(self._descriptor, asked, offset)
                if not chunk:
                    break
                chunks.append(chunk)
                offset += len(chunk)
                count -= len(chunk)
                if len(chunk) < asked and offset == self.stat.st_size:
                    break  # a short read that ends just there met the end: reading on would only say so again
        except OSError as error:
            raise outcome(error, "read", self.shown) from None
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def stretches(self) -> Iterator[tuple[int, int]]:
        """Where the file holds data, in order, each as (begin, end); between them are holes, which read as zeros.

        Nothing beyond the size that the file had when it was opened. Where the file system knows no holes (SEEK_DATA of
        lseek(2)) it is one stretch. The file can have become shorter than a stretch says. Raises `InputOutputError`.
        """
        offset = 0
        while offset < self.size:
            try:
                begin = os.lseek(self._descriptor, offset, os.SEEK_DATA)
                end = min(os.lseek(self._descriptor, begin, os.SEEK_HOLE), self.size)
            except OSError as error:
                if error.errno == errno.ENXIO:  # what follows is a hole, or is gone
                    return
                if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                    raise outcome(error, "read", self.shown) from None
                begin, end = offset, self.size
            if begin >= end:
                return
            yield begin, end
            offset = end

    def identity_now(self) -> Identity:
        """Which version it is now; of what was read in between, if it is still that of `stat`."""
        return Identity.of(os.fstat(self._descriptor))

    def size_now(self) -> int:
        """The size in bytes that it claims now, which may be another one than `size`."""
        return os.fstat(self._descriptor).st_size

    def close(self) -> None:
        """Twice is harmless."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_file(target: Target) -> OpenFile:
    """Open the target's object for reading.

    Raises:
        IsADirectory, SpecialFile: not a regular file; nothing else is ever opened, since that alone can block or act.
        HardLinkDenied, ProtectedName: another name of it may not be read, or a name that it got meanwhile.
        PermissionDenied, InputOutputError.
    """
    decided = target.stat
    assert decided is not None
    if stat.S_ISDIR(decided.st_mode):
        raise is_a_directory()
    if not stat.S_ISREG(decided.st_mode):
        raise SpecialFile(f"Access denied - not a regular file: {display(target.shown)}")
    try:
        # The very object of the handle: /proc/self/fd leads to it without looking at any name again.
        descriptor = os.open(f"/proc/self/fd/{target.handle}", _READ)
    except OSError as error:
        raise outcome(error, "open", target.shown) from None
    try:
        status = os.fstat(descriptor)
        if status.st_nlink > 1 and decided.st_nlink < 2:
            target.ruling.require_links(target.name, status, target.action, target.shown)
        if status.st_nlink > 1 and target.action is not Action.READ:
            # Decided was a change, which may need no reading: a plain overwrite takes nothing from the old contents.
            target.ruling.require_links(target.name, status, Action.READ, target.shown)
    except BaseException:
        os.close(descriptor)
        raise
    return OpenFile(descriptor, status, target.shown)


def read_all(target: Target, max_bytes: int, *, allowed_instead: str | None = None) -> tuple[bytes, os.stat_result]:
    """The whole contents and the stat from before they were read. Other errors as `open_file`.

    Args:
        allowed_instead: what may be done with a file that is too large.

    Raises:
        FileTooLarge: more than ``max_bytes``, or than the root's ``max_file``; counted in bytes that were read.
    """
    limit = target.root.rules.max_file
    allowed = max_bytes if limit is None else min(max_bytes, limit)
    with open_file(target) as file:
        data = file.read_at(0, allowed + 1) if file.size <= allowed else None
        if data is None or len(data) > allowed:
            raise too_large(target, allowed, allowed_instead=allowed_instead)
        return data, file.stat


def too_large(
    target: Target, allowed: int, *, would_be: bool = False, allowed_instead: str | None = None
) -> FileTooLarge:
    """The error for a file over the limit that holds here.

    Args:
        would_be: it is not so large, but what is to be written there is.
    """
    rules = target.root.rules
    of_root = rules.max_file is not None and rules.max_file <= allowed
    return FileTooLarge(
        f"The file {'would be' if would_be else 'is'} larger than the {allowed} bytes that are allowed: "
        f"{display(target.shown)}",
        rule=str(rules.origin) if of_root else None,
        allowed_instead=allowed_instead,
    )


def list_names(target: Target) -> tuple[list[str], set[str]]:
    """What the directory holds and no more: all names sorted by bytes, and which of them are directories.

    Denied names are there. Raises as `list_entries`.
    """
    names: list[str] = []
    directories: set[str] = set()
    with _listable(target) as descriptor, os.scandir(descriptor) as found:
        for entry in found:
            name = entry.name
            names.append(name)
            if entry.is_dir(follow_symlinks=False):
                directories.add(name)
    names.sort(key=None if sorts_as_bytes(names) else os.fsencode)
    return names, directories


def list_entries(target: Target, checkpoint: Checkpoint = go_on) -> Iterator[Entry]:
    """What the directory holds, sorted by bytes. Denied names are there, marked ``protected``.

    Asking an entry more is cheapest while the target is open. ``checkpoint`` is called every few entries.

    Raises:
        NotADirectory, PermissionDenied, InputOutputError.
    """
    with _listable(target) as descriptor:
        return iter(entries_of(descriptor, target.as_directory(), depth=1, checkpoint=checkpoint))


@contextmanager
def _listable(target: Target) -> Iterator[int]:
    """The directory open for listing; an `OSError` meanwhile becomes an error for clients."""
    try:
        descriptor = os.open(f"/proc/self/fd/{target.handle}", os.O_RDONLY | c.O_DIRECTORY | c.O_CLOEXEC)
        try:
            yield descriptor
        finally:
            os.close(descriptor)
    except OSError as error:
        raise outcome(error, "scandir", target.shown) from None


def file_info(target: Target) -> FileInfo:
    """Stat and birth time of the object, from its handle."""
    assert target.stat is not None
    return FileInfo(target.stat, birth_time_ns(target.handle))
