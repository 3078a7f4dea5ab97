"""What a call changed on disk, noted by the verb that changed it: names, and what the files held before and after.

*Where the facts are from.* A verb notes an effect after the system call that made it, so what is noted has happened,
also where the call fails later. Old contents are read through a descriptor of the very object that was replaced or
removed, opened before and read after the effect: nothing that was written to it meanwhile is missed, and no name is
looked up for it. New contents are the bytes that were written, summed by whoever wrote them.

*Bounds.* Reading never fails the call, and is bounded for a file and for all files of a call. The list is bounded in
entries and in characters; what does not fit is counted.
"""

from __future__ import annotations

import os
from contextlib import suppress
from hashlib import sha256
from types import TracebackType
from typing import Any, Final, Literal, NamedTuple, Self, TypeAlias

from fsserver.kernel import constants as c
from fsserver.paths.entry import Kind, kind_of

MAX_FILE: Final = 64 * 1024**2  # bytes of a file that are read for its hash; a larger one has its size only
MAX_READ: Final = 256 * 1024**2  # the same of all files of a call together
MAX_LISTED: Final = 1_000
MAX_NAMES: Final = 128 * 1024  # characters of all names; in a record an escaped one takes up to six times as much

_CHUNK: Final = 1024 * 1024
_READ: Final = os.O_RDONLY | c.O_NONBLOCK | c.O_NOCTTY | c.O_CLOEXEC

Happened: TypeAlias = Literal["created", "changed", "deleted", "moved"]


class Content(NamedTuple):
    """What a file held.

    Attributes:
        size: in bytes.
        sha256: hex; None where the contents were not read: too large, not readable, or not looked at in time.
    """

    size: int
    sha256: str | None

    def record(self) -> dict[str, Any]:
        return {"bytes": self.size, **({"cut": True} if self.sha256 is None else {"sha256": self.sha256})}


def content_of(data: bytes) -> Content:
    """Of bytes in memory."""
    return Content(len(data), sha256(data).hexdigest())


class Change(NamedTuple):
    """One name and what happened to it.

    Attributes:
        root: the root's name.
        name: beneath the root.
        before, after: None where there was, or is, no file; and for what has no contents.
        came_from: root and name before a move.
    """

    root: str
    name: str
    happened: Happened
    kind: Kind
    before: Content | None = None
    after: Content | None = None
    came_from: tuple[str, str] | None = None

    def record(self) -> dict[str, Any]:
        """As an audit record shows it."""
        fields: dict[str, Any] = {"root": self.root, "name": self.name, "change": self.happened}
        if self.kind != "file":
            fields["kind"] = self.kind
        if self.came_from is not None:
            root, fields["from"] = self.came_from
            if root != self.root:
                fields["from_root"] = root
        fields["before"] = None if self.before is None else self.before.record()
        fields["after"] = None if self.after is None else self.after.record()
        return fields


class Held:
    """An object whose name is about to go, held so that its contents can be read afterwards. A context manager."""

    __slots__ = ("_reader", "kind", "size")

    def __init__(self, handle: int) -> None:
        """Args:
        handle: a descriptor of the object, O_PATH will do. It stays the caller's.
        """
        status = os.fstat(handle)
        self.kind = kind_of(status.st_mode)
        self.size = status.st_size
        self._reader = -1
        if self.kind == "file":  # nothing else is ever opened, since that alone can block or act
            with suppress(OSError):  # this user may change it and not read it
                self._reader = os.open(f"/proc/self/fd/{handle}", _READ)

    @property
    def reader(self) -> int:
        """A descriptor to read from; -1 where there is none."""
        return self._reader

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reader >= 0:
            os.close(self._reader)
            self._reader = -1


class Changes:
    """What one call changed. For one thread at a time.

    Attributes:
        watched: whether what the call changes is noted at all; the record says nothing of changes where it is not.
        listed: the first of the changes, in the order in which they happened.
    """

    def __init__(self) -> None:
        self.watched = False
        self.listed: list[Change] = []
        self._more = 0
        self._incomplete: list[str] = []
        self._bytes_left = MAX_READ
        self._names_left = MAX_NAMES

    @property
    def full(self) -> bool:
        """Whether whatever comes now is only counted."""
        return self._more > 0 or len(self.listed) >= MAX_LISTED

    def note(self, change: Change) -> None:
        self._names_left -= len(change.name) + (0 if change.came_from is None else len(change.came_from[1]))
        if self.full or self._names_left < 0:
            self._more += 1
        else:
            self.listed.append(change)

    def incomplete(self, why: str) -> None:
        """Something may have changed that is not listed; ``why`` is a clause for the record."""
        if why not in self._incomplete:
            self._incomplete.append(why)

    def read(self, descriptor: int, size: int) -> Content:
        """What the open regular file holds now, within the bounds. Raises nothing.

        Args:
            descriptor: open for reading; -1 if it could not be opened.
            size: what the file claims, in bytes.
        """
        unread = Content(size, None)
        allowed = min(MAX_FILE, self._bytes_left)
        if descriptor < 0 or self.full or size > allowed:
            return unread
        digest, count = sha256(), 0
        try:
            while chunk := os.pread(descriptor, _CHUNK, count):
                count += len(chunk)
                if count > allowed:  # it claims less than it holds, or grows
                    return unread
                digest.update(chunk)
        except OSError:
            return unread
        self._bytes_left -= count
        return Content(count, digest.hexdigest())

    def contents(self, held: Held) -> Content | None:
        """What the held object holds now; None for what is no file."""
        return self.read(held.reader, held.size) if held.kind == "file" else None

    def record(self) -> dict[str, Any]:
        """The fields ``changes`` and ``changes_cut`` of an audit record; empty if nothing was watched."""
        if not self.watched:
            return {}
        fields: dict[str, Any] = {"changes": [change.record() for change in self.listed]}
        if self._incomplete:
            more = [f"{self._more} more"] if self._more else []
            fields["changes_cut"] = "; ".join([*more, *self._incomplete])
        elif self._more:
            fields["changes_cut"] = self._more
        return fields


class Sum:
    """The hash of a file that is written from its beginning on, with holes: what is left out reads as zeros."""

    def __init__(self) -> None:
        self._digest = sha256()
        self._count = 0

    def add(self, offset: int, data: bytes) -> None:
        """``data`` was written at ``offset``, behind all that was written before."""
        if offset + len(data) > MAX_FILE:
            self._count = MAX_FILE + 1
        if self._count > MAX_FILE:
            return
        self._digest.update(bytes(offset - self._count))
        self._digest.update(data)
        self._count = offset + len(data)

    def content(self, size: int) -> Content:
        """Of the file that has ``size`` bytes in the end."""
        self.add(size, b"")
        return Content(size, None if self._count > MAX_FILE else self._digest.hexdigest())
