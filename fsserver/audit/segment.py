"""One file of a log: opened beneath a directory descriptor, locked, and only ever longer by whole records.

The operator's mistakes (`ConfigError`) and what is found at opening are told with names: they go to the operator.
What happens later can reach a client, so it names nothing.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from contextlib import suppress
from pathlib import PurePath

from fsserver.audit.chain import START, Position
from fsserver.audit.commit import Commit
from fsserver.audit.record import MAX_RECORD_BYTES
from fsserver.errors import AuditBroken, AuditLocked, ConfigError

# O_NONBLOCK and O_NOCTTY: should the name be a FIFO or a terminal, opening it neither waits nor attaches.
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
ANOTHER_PLACE = "XDG_STATE_HOME, or `audit: {sinks: [{dir: …}]}` in the policy, names another."
NAME_MAX = 255  # bytes of one name (limits.h)
LOOK_S = 0.1  # seconds for which a name that led to the file is taken to do so
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def open_directory(path: str) -> int:
    """A descriptor of the directory, made with mode 0700 (and so are its missing parents).

    Raises ConfigError if it is not a directory, is a link, belongs to another user than this one or root, or can be
    written by others: whoever can rename files in it can take the log away.
    """
    try:
        for missing in reversed([p for p in (PurePath(path), *PurePath(path).parents) if not os.path.lexists(p)]):
            with suppress(FileExistsError):  # another server starts at the same moment
                os.mkdir(missing, 0o700)
        directory = os.open(path.rstrip("/") or "/", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        reason = "it is a link" if os.path.islink(path) else str(error.strerror).lower()
        raise ConfigError(f"The audit directory {path} cannot be used: {reason}. {ANOTHER_PLACE}") from error
    fault = directory_fault(os.fstat(directory))
    if fault is not None:
        os.close(directory)
        raise ConfigError(f"The audit directory {path} cannot be used: it {fault}.")
    return directory


def directory_fault(found: os.stat_result) -> str | None:
    """Why a log cannot be kept in this directory, or None; completes "it ...". ``found``: its lstat(2)."""
    if stat.S_ISLNK(found.st_mode):
        return "is a link"
    if not stat.S_ISDIR(found.st_mode):
        return "is not a directory"
    if found.st_uid not in (os.geteuid(), 0):
        return f"belongs to user {found.st_uid}"
    if found.st_mode & _OTHERS_WRITE:
        return f"is writable by others (mode {stat.S_IMODE(found.st_mode):04o}; chmod 700 helps)"
    return None


def leads_out(name: str) -> bool:
    """Whether `name`, read from a log, is anything but the plain name of a visible file in the log's directory."""
    try:
        encoded = os.fsencode(name)
    except UnicodeEncodeError:  # JSON can spell half of a surrogate pair that stands for no byte
        return True
    return not name or name.startswith(".") or "/" in name or "\0" in name or len(encoded) > NAME_MAX


def hidden_name(name: str) -> str:
    """What a file is called that is made ready, until it may be `name`."""
    return f".{name}.new"


def ends(descriptor: int, size: int) -> tuple[bytes, bytes, bytes]:
    """The first whole line of a file, the last, and the torn bytes after it; each may be empty.

    Raises ValueError if there is no line where one must end, and OSError.
    """
    block = 64 * 1024
    first = os.pread(descriptor, block, 0)
    if b"\n" not in first and size > block:
        first = os.pread(descriptor, MAX_RECORD_BYTES, 0)
    while True:
        start = max(0, size - block)
        data = os.pread(descriptor, size - start, start)
        last = data.rfind(b"\n")
        begin = data.rfind(b"\n", 0, max(last, 0))
        if start == 0 or (last > 0 and begin >= 0):
            return first[: first.find(b"\n") + 1], data[begin + 1 : last + 1], data[last + 1 :]
        if block > 2 * MAX_RECORD_BYTES:
            raise ValueError("ends in something that is no record")
        block *= 4


class Segment:
    """An open, locked log file.

    Attributes:
        name: the file's name in its directory.
        end: where its whole records end: how many bytes they are, and the position of the last. The file may be longer
            for a moment, until `take_back`. One attribute, so that an interrupt sees the old place or the new.
        attempt: what the last `write` was to write, if it did not end well: `take_back` must come before the next.
        records: how many it is known to hold; of a file that had some when it was opened, at least two.
    """

    def __init__(self, directory: int, name: str, flags: int = 0) -> None:
        """Open `name` and lock it. Raises ConfigError, AuditLocked, or OSError (FileExistsError with O_EXCL).

        `directory` stays the caller's, who closes it after this.
        """
        self.name = name
        self._directory = directory
        try:
            self._fd = os.open(name, _FLAGS | flags, 0o600, dir_fd=directory)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
                raise ConfigError(f"The audit log {name} is not a regular file.") from error
            raise
        try:
            self._require_own_file()
            found = os.fstat(self._fd)
            self._device, self._inode = found.st_dev, found.st_ino
            self._lock()
            self.end = (os.fstat(self._fd).st_size, START)
        except BaseException:
            os.close(self._fd)
            raise
        self.attempt = self._torn = b""
        self._looked_s = -LOOK_S
        self._commit = Commit(self._fd, lambda: self.end[1].seq)
        self.records = 2 if self.size else 0

    def _require_own_file(self) -> None:
        found = os.fstat(self._fd)
        if not stat.S_ISREG(found.st_mode):
            raise ConfigError(f"The audit log {self.name} is not a regular file.")
        if found.st_uid != os.geteuid() or found.st_mode & _OTHERS_WRITE:
            raise ConfigError(f"The audit log {self.name} must belong to this user and must not be writable by others.")
        if found.st_nlink != 1:
            raise ConfigError(
                f"The audit log {self.name} has a second name (hard link) through which it can be changed."
            )

    def _lock(self) -> None:
        """flock(2), held until close. `verify` takes a shared lock for an instant, hence the few tries."""
        for attempt in range(5):
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if attempt == 4:
                    raise AuditLocked(
                        f"Another server is writing the audit log {self.name}. Give each server a file of its own, "
                        "or a directory, where each run gets one."
                    ) from error
                time.sleep(0.01)
        if not self._has_its_name():
            raise AuditBroken(f"The audit log {self.name} was replaced while it was opened.")

    def _has_its_name(self) -> bool:
        """Whether the name still leads to this file. Raises OSError if that cannot be seen."""
        try:
            there = os.stat(self.name, dir_fd=self._directory, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return there.st_ino == self._inode and there.st_dev == self._device

    def _is_as_left(self, *, look: bool) -> bool:
        """Whether the file ends where this left it and has its name, as far as was looked at. Raises OSError.

        The size is not asked for with stat(2): the next write would have to note a time of its own, which makes it half
        as slow again or more (timestamps are multigrain since Linux 6.13).
        """
        if os.lseek(self._fd, 0, os.SEEK_END) != self.end[0]:
            return False
        now_s = time.monotonic()
        if look or now_s - self._looked_s >= LOOK_S:
            self._looked_s = -LOOK_S  # a file that was seen to be gone is not taken to be there
            if not self._has_its_name():
                return False
            self._looked_s = now_s
        return True

    @property
    def size(self) -> int:
        return self.end[0]

    @property
    def position(self) -> Position:
        return self.end[1]

    @property
    def failed(self) -> bool:
        """What the file holds may not be on the disk, whatever a later sync says: go on in another; see `Commit`."""
        return self._commit.failed

    def distrust(self) -> None:
        """From now on the segment is `failed`."""
        self._commit.failed = True

    def begin(self, position: Position) -> None:
        """Say where the whole records of this file end: the file was just opened, and read or found empty."""
        self.end = (self.size, position)

    def ends(self) -> tuple[bytes, bytes, bytes]:
        """The first whole line, the last, and the torn bytes after it; each may be empty. Raises AuditBroken."""
        try:
            return ends(self._fd, self.size)
        except ValueError as error:
            raise AuditBroken(f"The audit log {self.name} ends in something that is no record.") from error

    def cut(self, torn: bytes) -> None:
        """Remove the torn bytes at the end, of which the next record tells. Raises OSError."""
        os.ftruncate(self._fd, self.size - len(torn))
        self.end = (self.size - len(torn), self.position)
        self._torn = torn

    def leave_as_found(self) -> None:
        """That record could not be written: put back what was cut, for the next start. Only `close` may follow."""
        with suppress(OSError, AuditBroken):  # there was room for it a moment ago
            self.take_back()
            os.write(self._fd, self._torn)

    def write(self, line: bytes, after: Position, *, look: bool = True) -> None:
        """Append one whole line with one write(2).

        Args:
            look: also whether it has its name. Else it had it `LOOK_S` ago or later.

        Raises OSError, then that is its `attempt`; or AuditBroken, with nothing written, if the file is not as it was
        left: somebody deleted it, moved it, cut it or wrote to it, and what is added now would be lost, never be found
        or never verify.
        """
        size, _ = self.end
        if not self._is_as_left(look=look):
            raise AuditBroken("The audit log was changed, moved or deleted by something else, so the call was refused.")
        self.attempt = line
        if os.write(self._fd, line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # a part of it had room
        self.end = (size + len(line), after)
        self.attempt = b""
        self.records += 1

    def take_back(self) -> int:
        """Remove what a failed write left behind, and only that; the number of bytes. Raises OSError, AuditBroken."""
        left = os.pread(self._fd, len(self.attempt) + 1, self.size)
        if not self.attempt.startswith(left):
            raise AuditBroken("The audit log was changed by something else, so the call was refused.")
        if left:
            os.ftruncate(self._fd, self.size)
        self.attempt = b""
        return len(left)

    def sync(self, seq: int | None = None) -> None:
        """Return when record `seq`, or all that was written, is on the disk. From any thread. Raises OSError."""
        self._commit.wait(self.position.seq if seq is None else seq)

    def rename(self, directory: int, name: str) -> None:
        """Give the file its name. Raises OSError."""
        os.rename(self.name, name, src_dir_fd=directory, dst_dir_fd=directory)
        self.name = name

    def discard(self, directory: int) -> None:
        """Remove a file that never got its name, and close it."""
        with suppress(OSError):  # a hidden file that stays is no part of any log
            os.unlink(self.name, dir_fd=directory)
        self.close()

    def close(self) -> None:
        self._commit.close()
        os.close(self._fd)
