"""Where an existing log goes on: its end found, looked at, and freed of what a killed writer left half done.

Looked at is cheap: the first and the last record of each file. A log that fails even that is refused and left as it
is, since a record added to it would make a broken chain look alive. `verify` looks at every record.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from fsserver.audit.chain import START, ChainError, Position, before, enter, follow, unseal
from fsserver.audit.record import LOG_ROTATED, MAX_RECORD_BYTES, Json, Record, may_begin_a_log
from fsserver.audit.segment import Segment, hidden_name, leads_out
from fsserver.errors import AuditBroken, AuditLocked, ConfigError

RECENT_FILES = 64  # of a directory, by name, so by start: an older torn file was healed by a start before this one

_LOOKING = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_FIRST_BYTES = 4096  # of a file that goes on: its first record has two names, escaped, and numbers


@dataclass(frozen=True, slots=True)
class Found:
    """The end of a chain.

    Attributes:
        segment: its last file, open, freed of torn bytes.
        index: how many files the chain has.
        repaired: what the ``log.healed`` record says: ``cut_bytes`` and ``cut_sha256`` of what was removed, ``named``
            if the last file got its name only now; empty if nothing was done.
    """

    segment: Segment
    index: int
    repaired: Mapping[str, Json]


def next_name(directory: int, first: str, index: int) -> tuple[int, str]:
    """Number and name of the file after the chain's `index`-th, ``a.jsonl`` → ``a.0002.jsonl``; never one in use."""
    stem, extension = os.path.splitext(first)
    while True:
        index += 1
        name = f"{stem}.{index:04d}{extension}"
        try:
            os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return index, name


def find_end(directory: int, first: Segment) -> Found:
    """Follow a chain from its first, open file to its end. Raises AuditBroken, ConfigError, AuditLocked, OSError."""
    segment, index = first, 1
    named: dict[str, Json] = {}
    try:
        record, torn = _look(segment, START, None)
        while record is not None and record.get("event") == LOG_ROTATED:
            name = _named_by(record, segment, torn)
            try:
                following = Segment(directory, name)
            except FileNotFoundError:
                following = _name_prepared(directory, name, segment)
                named = {"named": name}
            ended, segment, index = segment, following, index + 1
            if ended is not first:
                ended.close()
            record, torn = _look(segment, ended.position, ended.name)
        return Found(segment, index, {**_cut(segment, torn), **named})
    except BaseException:
        if segment is not first:
            segment.close()
        raise


def _name_prepared(directory: int, name: str, ended: Segment) -> Segment:
    """The file after `ended`, which a killed writer had ready under its hidden name; here it gets its own.

    Only a file that goes on where `ended` ends gets it. Without one there is nothing to tell a kill from a removal:
    the writer makes that file before it ends the one before. So the log is refused, and `verify` goes on telling it.

    Raises AuditBroken, ConfigError, AuditLocked, OSError.
    """
    try:
        prepared = Segment(directory, hidden_name(name))
    except FileNotFoundError:
        raise AuditBroken(
            f"The audit log {ended.name} goes on in {name!a}, which is not there: it was removed. Put it back, with "
            "every file after it, or move the rest of the log away to start a new one."
        ) from None
    try:
        _look(prepared, ended.position, ended.name)
        prepared.rename(directory, name)
    except BaseException:
        prepared.close()
        raise
    return prepared


def _named_by(record: Record, segment: Segment, torn: bytes) -> str:
    """The name of the next file, from the ``log.rotated`` record that must be the very end of `segment`."""
    name = record.get("next")
    if torn or not isinstance(name, str) or leads_out(name):
        raise AuditBroken(f"The audit log {segment.name} ends with a rotation, but not as this program writes one.")
    return name


def heal_others(directory: int, healed: Callable[[Mapping[str, Json], Position], tuple[bytes, Position]]) -> None:
    """Heal what killed servers left in this directory, each with a record made by `healed`: torn ends, and files that
    the one before names and that have no name yet.

    Best effort: a file that is being written, is not ours, or does not verify is left as it is; `verify` tells.
    """
    there = sorted(os.listdir(directory))
    names = [name for name in there if name.endswith(".jsonl") and not name.startswith(".")]
    for name in names[-RECENT_FILES:]:
        with suppress(OSError, AuditLocked, AuditBroken, ConfigError):
            if _is_torn(directory, name):
                _heal(directory, name, healed)
    prepared = [name for name in there if name == hidden_name(name[1:].removesuffix(".new"))]
    for hidden in prepared[-RECENT_FILES:]:
        with suppress(OSError, AuditLocked, AuditBroken, ConfigError, ChainError):
            _finish_rotation(directory, hidden[1:].removesuffix(".new"), healed)


def _is_torn(directory: int, name: str) -> bool:
    """Whether the file's last byte is no newline. Locks nothing."""
    descriptor = os.open(name, _LOOKING, dir_fd=directory)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or not found.st_size:
            return False
        return os.pread(descriptor, 1, found.st_size - 1) != b"\n"
    finally:
        os.close(descriptor)


def _heal(directory: int, name: str, healed: Callable[[Mapping[str, Json], Position], tuple[bytes, Position]]) -> None:
    segment = Segment(directory, name)
    try:
        record, torn = _look(segment, None, None)
        if record is not None and torn and record.get("event") != LOG_ROTATED:
            segment.write(*healed(_cut(segment, torn), segment.position))
    except BaseException:
        segment.leave_as_found()
        raise
    finally:
        segment.close()


def _finish_rotation(
    directory: int, name: str, healed: Callable[[Mapping[str, Json], Position], tuple[bytes, Position]]
) -> None:
    """Give the file its name, if the one that its first record goes on from was ended by naming it."""
    ended = Segment(directory, _goes_on_from(directory, hidden_name(name)))
    try:
        record, torn = _look(ended, None, None)
        if record is None or record.get("event") != LOG_ROTATED or _named_by(record, ended, torn) != name:
            return
        following = _name_prepared(directory, name, ended)
    finally:
        ended.close()
    try:
        _, torn = _look(following, ended.position, ended.name)
        following.write(*healed({**_cut(following, torn), "named": name}, following.position))
    except BaseException:
        following.leave_as_found()
        raise
    finally:
        following.close()


def _goes_on_from(directory: int, name: str) -> str:
    """The file that the first record of this one names as the one before. Raises OSError, ChainError."""
    descriptor = os.open(name, _LOOKING, dir_fd=directory)
    try:
        begins = os.pread(descriptor, _FIRST_BYTES, 0)
    finally:
        os.close(descriptor)
    previous = unseal(begins[: begins.find(b"\n") + 1]).get("previous")
    if not isinstance(previous, str) or leads_out(previous):
        raise ChainError("does not go on from a file")
    return previous


def _look(segment: Segment, after: Position | None, previous: str | None) -> tuple[Record | None, bytes]:
    """The last record and the torn bytes after it; `segment.position` is set. `after` None: any place in a chain."""
    first, last, torn = segment.ends()
    if len(torn) > MAX_RECORD_BYTES:
        raise AuditBroken(f"The audit log {segment.name} ends in something that is no record.")
    if not last and previous is not None:
        raise AuditBroken(f"The audit log {segment.name} is empty, though {previous} ends by naming it.")
    if not last and not may_begin_a_log(torn):
        raise AuditBroken(f"The file {segment.name} is no fsserver audit log and is left as it is; name another file.")
    if not last:
        segment.begin(START)
        return None, torn
    try:
        if after is not None:
            enter(unseal(first), after, previous)
        record = unseal(last)
        segment.begin(follow(record, before(record)))
    except ChainError as error:
        raise AuditBroken(
            f"The audit log {segment.name} does not verify: its first or last record {error.reason}. It is left as it "
            "is. `fsserver audit verify` says more; move the file away to start a new log."
        ) from error
    return record, torn


def _cut(segment: Segment, torn: bytes) -> dict[str, Json]:
    if not torn:
        return {}
    segment.cut(torn)
    return {"cut_bytes": len(torn), "cut_sha256": hashlib.sha256(torn).hexdigest()}
