"""One name in a listing, cheap to make: what it costs more to know is asked only when somebody wants it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from operator import attrgetter
from typing import Final, Literal, TypeAlias

from fsserver.errors import FsserverError, NotFound, ProtectedName
from fsserver.paths.names import display, sorts_as_bytes
from fsserver.paths.outcomes import outcome
from fsserver.paths.resolver import EscapeError, MovedError, Resolver, name_beneath
from fsserver.paths.ruling import Ruling, shown_path
from fsserver.policy.compiled import Action

Kind = Literal["file", "directory", "link", "other"]

Checkpoint: TypeAlias = Callable[[], None]
"""What a long loop calls often. It raises to end the loop, and lets briefer work go first."""

ENTRIES_PER_CHECKPOINT: Final = 16


def go_on() -> None:
    """The checkpoint of who has none."""


class Directory:
    """The directory that entries are in.

    Attributes:
        name: beneath the root.
        descriptor: -1 once it was closed; its entries can still be asked about, through the root.
    """

    __slots__ = ("descriptor", "name", "resolver", "ruling")

    def __init__(self, ruling: Ruling, resolver: Resolver, name: str, descriptor: int) -> None:
        self.ruling = ruling
        self.resolver = resolver
        self.name = name
        self.descriptor = descriptor


class Entry:
    """A name in a directory.

    Attributes:
        name: the last component, as `os.fsdecode` has it; `display` it for clients.
        kind: a link is a link, whatever it leads to; "other" is a FIFO, socket or device.
        depth: 1 for what is directly in the directory that was listed or walked.
    """

    __slots__ = ("_directory", "depth", "kind", "name")

    def __init__(self, name: str, kind: Kind, directory: Directory, depth: int) -> None:
        self.name = name
        self.kind = kind
        self.depth = depth
        self._directory = directory

    @property
    def path(self) -> str:
        """The name beneath the root."""
        above = self._directory.name
        return f"{above}/{self.name}" if above else self.name

    @property
    def shown(self) -> str:
        """The absolute path; `display` it for clients."""
        return shown_path(self._directory.ruling.root, self.path)

    @property
    def protected(self) -> bool:
        """Whether a deny rule matches: then clients see the name and nothing else."""
        ruling = self._directory.ruling
        return ruling.may_protect and ruling.protected(self.path)

    def stat(self) -> os.stat_result:
        """Of the name itself: a link's own size, never that of what it leads to.

        Raises:
            ProtectedName, HardLinkDenied: nothing is told about what may not be read.
            NotFound, PermissionDenied, InputOutputError, ...
        """
        if self.protected:
            raise ProtectedName(f"Access denied - the name is protected: {display(self.shown)}")
        status = self.recorded()
        # Nor is anything told about a protected file under another of its names.
        self._directory.ruling.require_links(self.path, status, Action.READ, self.shown)
        return status

    def recorded(self) -> os.stat_result:
        """As `stat`, for the server's own records: nobody is asked whether clients may be told. Raises as `stat`."""
        directory = self._directory
        try:
            if directory.descriptor >= 0:
                return os.stat(self.name, dir_fd=directory.descriptor, follow_symlinks=False)
            handle = directory.resolver.open(directory.ruling.root, self.path, follow=False)
            try:
                return os.fstat(handle)
            finally:
                os.close(handle)
        except EscapeError:
            raise NotFound(f"ENOENT: no such file or directory, stat '{display(self.shown)}'") from None
        except OSError as error:
            raise outcome(error, "stat", self.shown) from None

    def leads_to(self) -> Kind | None:
        """What kind of object is behind the name, links followed; None if a link leaves the root, leads to nothing,
        or leads to a protected name.
        """
        if self.kind != "link":
            return self.kind
        directory = self._directory
        try:
            handle = directory.resolver.open(directory.ruling.root, self.path)
        except (OSError, EscapeError, FsserverError):
            return None
        try:
            if directory.ruling.protected(name_beneath(directory.ruling.root, handle)):
                return None
            return kind_of(os.fstat(handle).st_mode)
        except (OSError, MovedError, FsserverError):
            return None
        finally:
            os.close(handle)


def entries_of(descriptor: int, directory: Directory, depth: int, checkpoint: Checkpoint = go_on) -> list[Entry]:
    """What the open directory holds, sorted by bytes as libuv sorts. Raises ``OSError``, and what a checkpoint does."""
    entries: list[Entry] = []
    with os.scandir(descriptor) as found:
        while some := [
            Entry(entry.name, _kind(entry), directory, depth) for entry in islice(found, ENTRIES_PER_CHECKPOINT)
        ]:
            entries += some
            checkpoint()
    entries.sort(key=attrgetter("name") if sorts_as_bytes(entry.name for entry in entries) else _by_bytes)
    return entries


def paced(entries: Sequence[Entry], checkpoint: Checkpoint) -> Iterator[Entry]:
    """The entries, with a checkpoint before the first and then every few."""
    for start in range(0, len(entries), ENTRIES_PER_CHECKPOINT):
        checkpoint()
        yield from entries[start : start + ENTRIES_PER_CHECKPOINT]


def kind_of(mode: int) -> Kind:
    """The kind that ``st_mode`` says."""
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "directory"
    return "link" if stat.S_ISLNK(mode) else "other"


def _kind(entry: os.DirEntry[str]) -> Kind:
    if entry.is_file(follow_symlinks=False):
        return "file"
    if entry.is_dir(follow_symlinks=False):
        return "directory"
    return "link" if entry.is_symlink() else "other"


def _by_bytes(entry: Entry) -> bytes:
    return os.fsencode(entry.name)
