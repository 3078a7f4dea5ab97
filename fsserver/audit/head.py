"""The head of a log, to be kept elsewhere: read from the ends of its files, so at once however long it is."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from typing import NamedTuple

from fsserver.audit.chain import ChainError, Position, UnknownVersionError, before, enter, follow, unseal
from fsserver.audit.record import LOG_ROTATED, RUN_END, Record, may_begin_a_log
from fsserver.audit.segment import ends, hidden_name, leads_out
from fsserver.audit.walk import Status, is_live, open_log


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a chain.

    Attributes:
        status: of what was looked at: the first record of each file after the first, and the last record of each.
        file: the base name of the chain's last file; of the one where the search stopped, unless whole or torn.
        position: number and hash of the last whole record; None if there is none that is sound.
        ended: that record is ``run.end``; live: a server is writing the log.
        reason: what is wrong, a sentence without its end; None if nothing is.
    """

    status: Status
    file: str
    position: Position | None
    ended: bool = False
    live: bool = False
    reason: str | None = None


class _Stop(Exception):  # noqa: N818 - a place, not an error
    def __init__(self, status: Status, file: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.file = file
        self.reason = reason


def find_head(path: str) -> Head:
    """The head of the chain that the file `path` is of, or of the newest in the directory `path`.

    Runs' files are named by their start, so the newest is the last by name. A log in use is looked at a second time
    before it is called torn. Never raises for what is in the files or for what the system says to reading them.
    """
    try:
        directory, name = os.path.split(path)
        if stat.S_ISDIR(os.stat(path).st_mode):
            logs = [each for each in os.listdir(path) if each.endswith(".jsonl") and not each.startswith(".")]
            if not logs:
                return Head(Status.UNREADABLE, path, None, reason="has no .jsonl file")
            directory, name = path, max(logs)
    except OSError as error:
        return Head(Status.UNREADABLE, path, None, reason=f"cannot be read: {os.strerror(error.errno or errno.EIO)}")
    head = _followed(directory or ".", name)
    return _followed(directory or ".", name) if head.live and head.status is not Status.WHOLE else head


def _followed(directory: str, name: str) -> Head:
    try:
        return _end_of_chain(directory, name)
    except _Stop as stop:
        return Head(stop.status, stop.file, None, reason=stop.reason)


def _end_of_chain(directory: str, name: str) -> Head:
    """From file to file, as rotation names them. Each must go on where the one before ends, so there is an end.

    Raises _Stop.
    """
    previous: _End | None = None
    while True:
        try:
            end = _end(directory, name, previous)
        except FileNotFoundError as error:
            raise _missing(directory, name, previous) from error
        except OSError as error:
            raise _Stop(Status.UNREADABLE, name, f"cannot be read: {error.strerror}") from error
        following = end.record.get("next")
        if end.torn or end.record.get("event") != LOG_ROTATED:
            break
        if type(following) is not str or leads_out(following):
            raise _Stop(Status.TAMPERED, name, "names a next file that is none")
        previous, name = end, following
    status, reason = (Status.TORN, "ends in half a record") if end.torn else (Status.WHOLE, None)
    return Head(status, name, end.position, end.record.get("event") == RUN_END, end.live, reason)


class _End(NamedTuple):
    """The end of one file. ``torn``: bytes follow its last record; ``live``: a server holds its lock."""

    file: str
    record: Record
    position: Position
    torn: bool
    live: bool


def _end(directory: str, name: str, previous: _End | None) -> _End:
    """Raises _Stop, OSError."""
    with open_log(os.path.join(directory, name)) as stream:
        descriptor = stream.fileno()
        begins = os.pread(descriptor, 64, 0)
        try:
            first, last, torn = ends(descriptor, os.fstat(descriptor).st_size)
            if not last:
                raise _none(name, begins)
            if previous is not None:
                enter(unseal(first), previous.position, previous.file)
            record = unseal(last)
            return _End(name, record, follow(record, before(record)), torn != b"", is_live(descriptor))
        except UnknownVersionError as error:
            raise _Stop(Status.UNREADABLE, name, "was written by another version") from error
        except (ChainError, ValueError) as error:
            if previous is None and not may_begin_a_log(begins):
                raise _none(name, begins) from error
            raise _Stop(Status.TAMPERED, name, "has a first or last record that does not verify") from error


def _missing(directory: str, name: str, previous: _End | None) -> _Stop:
    if previous is None:
        return _Stop(Status.UNREADABLE, name, "cannot be read: No such file or directory")
    if os.path.lexists(os.path.join(directory, hidden_name(name))):
        return _Stop(Status.TORN, name, "has no name yet: the writer was stopped while it changed files")
    return _Stop(Status.CUT, name, f"is named by {previous.file!a} and is not here: it was removed")


def _none(name: str, begins: bytes) -> _Stop:
    """Why a file that begins with ``begins`` has no record."""
    if begins and may_begin_a_log(begins):
        return _Stop(Status.TORN, name, "ends in its first record")
    return _Stop(Status.UNREADABLE, name, "is no fsserver audit log" if begins else "is empty")
