"""Going down a directory tree by descriptors: never through a link, never back up to another place than we came from.

Each directory is opened in the one above it with O_NOFOLLOW. At most `HELD` descriptors are kept however deep the tree
is; a directory above whose descriptor was given back is found again through ``..`` and recognised by its identity.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from fsserver.errors import UnstablePath
from fsserver.kernel import constants as c
from fsserver.kernel.syscalls import descriptor_path
from fsserver.paths.entry import Checkpoint, Directory, Entry, entries_of, go_on, paced
from fsserver.paths.names import display, join
from fsserver.paths.outcomes import outcome
from fsserver.paths.resolver import EscapeError
from fsserver.paths.ruling import shown_path

HELD = 32

_NOTHING_LEFT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})

_OPEN = os.O_RDONLY | c.O_DIRECTORY | c.O_NOFOLLOW | c.O_CLOEXEC


class Frame:
    """One directory on the way: its entries still to come, and how to know it again."""

    __slots__ = ("directory", "entries", "entry", "identity")

    def __init__(self, directory: Directory, entry: Entry | None, entries: Iterator[Entry]) -> None:
        status = os.fstat(directory.descriptor)
        self.directory = directory
        self.entry = entry
        self.entries = entries
        self.identity = (status.st_dev, status.st_ino)


class Descent:
    """The directories from the first one down to where we are. A context manager.

    Args:
        start: the first one; its descriptor stays the caller's.
        checkpoint: called every few names, when a directory is listed and when its entries are taken.

    Attributes:
        frames: the last one is where we are.
    """

    def __init__(self, start: Directory, checkpoint: Checkpoint = go_on) -> None:
        self._start = start
        self._checkpoint = checkpoint
        self._root = start.ruling.root
        self._top = self._root.path()
        self.frames: list[Frame] = []

    def begin(self) -> None:
        """List the first directory. Raises ``OSError``."""
        descriptor = os.open(f"/proc/self/fd/{self._start.descriptor}", os.O_RDONLY | c.O_DIRECTORY | c.O_CLOEXEC)
        self._push(descriptor, self._start.name, None)

    def enter(self, entry: Entry) -> bool:
        """Go into a directory of the last frame; False if it is not there any more.

        Raises:
            UnstablePath: the first directory was moved, so that none of the names is right any more.
            OSError
        """
        try:
            descriptor = os.open(entry.name, _OPEN, dir_fd=self.frames[-1].directory.descriptor)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return False
            raise
        name = join(self.frames[-1].directory.name, entry.name)
        try:
            stays = self._stays(descriptor, name)
        except BaseException:
            os.close(descriptor)
            raise
        if not stays:
            os.close(descriptor)
            return False
        self._push(descriptor, name, entry)
        if len(self.frames) > HELD:
            self._release(self.frames[-HELD - 1])
        return True

    def leave(self) -> Frame:
        """Back to the directory above; returns the frame that was left, its descriptor closed.

        Raises:
            InputOutputError: there is no descriptor or memory left to open the directory above once more.
        """
        left = self.frames.pop()
        try:
            if self.frames and self.frames[-1].directory.descriptor < 0:
                self._find_again(self.frames[-1], left.directory.descriptor)
        finally:
            self._release(left)
        return left

    def _push(self, descriptor: int, name: str, entry: Entry | None) -> None:
        directory = Directory(self._start.ruling, self._start.resolver, name, descriptor)
        try:
            entries = entries_of(descriptor, directory, len(self.frames) + 1, self._checkpoint)
            self.frames.append(Frame(directory, entry, paced(entries, self._checkpoint)))
        except BaseException:
            os.close(descriptor)
            raise

    def _stays(self, descriptor: int, name: str) -> bool:
        """Whether the directory is where its name says; raises `UnstablePath` if the first one is not either."""
        if self._is_at(descriptor, name):
            return True
        if self._is_at(self._start.descriptor, self._start.name):
            return False
        raise UnstablePath(
            f"The directory was moved while it was gone through: {display(shown_path(self._root, name))}"
        )

    def _is_at(self, descriptor: int, name: str) -> bool:
        """Whether the directory still lies where its name says. From 4,096 bytes on the kernel does not tell."""
        try:
            path = descriptor_path(descriptor)
            if path != join(self._top, name):
                self._top = self._root.path()
            return path == join(self._top, name)
        except OSError as error:
            return error.errno == errno.ENAMETOOLONG

    def _find_again(self, frame: Frame, below: int) -> None:
        """Open the frame's directory once more. If it was moved meanwhile, nothing in it is visited any more."""
        for name in ("..", frame.directory.name):
            try:
                descriptor = os.open(name, _OPEN, dir_fd=below) if name == ".." else self._open_by_name(name)
            except OSError as error:
                if error.errno in _NOTHING_LEFT:  # then what is still to come there is not gone
                    raise outcome(error, "scandir", shown_path(self._root, frame.directory.name)) from None
                continue
            except (EscapeError, UnstablePath):
                continue
            status = os.fstat(descriptor)
            if (status.st_dev, status.st_ino) == frame.identity:
                frame.directory.descriptor = descriptor
                return
            os.close(descriptor)
        frame.entries = iter(())

    def _open_by_name(self, name: str) -> int:
        return self._start.resolver.open(self._root, name, follow=False)

    @staticmethod
    def _release(frame: Frame) -> None:
        descriptor, frame.directory.descriptor = frame.directory.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for frame in self.frames:
            self._release(frame)
