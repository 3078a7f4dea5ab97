"""Verbs that make or replace a file's contents, and that make directories.

A write makes a new file beside the old one and renames it into place: who reads sees the old contents or the new, and
a failure half-way leaves the old ones. It is never written through a link or a hard link. The name is atomic against
crashes of this process; nothing is synced to disk, so a power cut can lose the last seconds as with any editor.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from fsserver.errors import AlreadyExists, PermissionDenied, SpecialFile, StaleWrite, UnstablePath
from fsserver.kernel import constants as c
from fsserver.paths.changes import Change, Changes, Content, Held, Sum, content_of
from fsserver.paths.entry import Checkpoint, go_on
from fsserver.paths.metadata import carry_over, drop_special_bits, take_parents_owner
from fsserver.paths.names import display, join
from fsserver.paths.outcomes import outcome
from fsserver.paths.quota import Room, held
from fsserver.paths.reading import Identity, OpenFile, open_file, too_large
from fsserver.paths.renaming import rename_no_replace
from fsserver.paths.resolver import same_object
from fsserver.paths.target import Target
from fsserver.policy.compiled import Action

_CHUNK = 1024 * 1024
_TEMPORARY = os.O_WRONLY | os.O_CREAT | os.O_EXCL | c.O_NOFOLLOW | c.O_CLOEXEC
_ATTEMPTS = 8

# A rename takes microseconds, but its thread may have to wait for a processor.
_LOCK_S = 0.25
_LOCK_LOOK_S = 0.000_2


def write_file(
    target: Target,
    data: bytes,
    *,
    expected: Identity | None = None,
    sha256: str | None = None,
    changes: Changes | None = None,
) -> os.stat_result:
    """Give the target's name the contents ``data``: create it, or replace the file there.

    Args:
        target: of `Access.WRITE`, `Access.CREATE` or `Access.EDIT`.
        expected: the version that ``data`` was made from; the file must still be that one.
        sha256: of ``data``, hex, if the caller has it anyway.
        changes: takes note of what was done.

    Returns:
        The new file's stat.

    Raises:
        StaleWrite: the file is not ``expected``.
        AlreadyExists: the name was absent and is not any more.
        FileTooLarge, QuotaExceeded, NoSpace, PermissionDenied, SpecialFile, UnstablePath, InputOutputError.
        Whatever is raised, the old contents are whole.
    """
    limit = target.root.rules.max_file
    if limit is not None and len(data) > limit:
        raise too_large(target, limit, would_be=True)
    changes = Changes() if changes is None else changes
    after = content_of(data) if sha256 is None else Content(len(data), sha256)
    with Room(target) as room:
        room.grow(len(data))
        if target.exists:
            return _replace(target, data, expected, room, after=after, changes=changes)
        if expected is not None:
            raise StaleWrite(f"The file is no longer there: {display(target.shown)}")

        def fill(descriptor: int) -> Content:
            _write_all(descriptor, data)
            return after

        return _create(target, fill, 0o666, room, changes)


def copy_file(
    source: Target, destination: Target, *, checkpoint: Checkpoint = go_on, changes: Changes | None = None
) -> os.stat_result:
    """Make ``destination``, which must be absent, with the contents and permission bits of the file ``source``.

    Holes stay holes where the file system tells of them, so that a copy takes no more of the disk than the file. What
    is added to the file while it is copied is left out.

    Raises:
        AlreadyExists, FileTooLarge, QuotaExceeded, IsADirectory, SpecialFile, HardLinkDenied, NoSpace, ...
    """
    changes = Changes() if changes is None else changes
    with open_file(source) as file, Room(destination) as room:

        def fill(descriptor: int) -> Content:
            _require_copy_fits(source, destination, file.size)
            total = Sum()
            offset = written = 0
            for offset, chunk in _pieces(file):
                checkpoint()
                written += len(chunk)
                _require_copy_fits(source, destination, offset + len(chunk))
                room.grow(written)
                _write_all(descriptor, chunk, offset)
                total.add(offset, chunk)
            os.ftruncate(descriptor, offset)
            return total.content(offset)

        return _create(destination, fill, file.stat.st_mode & 0o777, room, changes)


def _pieces(file: OpenFile) -> Iterator[tuple[int, bytes]]:
    """The data of the file as (offset, bytes), and last its end with no bytes."""
    if file.size == 0:
        # Files in /proc never claim a size: only reading tells what they hold. One that claims it now has grown.
        offset = 0
        while not file.size_now() and (chunk := file.read_at(offset, _CHUNK)):
            yield offset, chunk
            offset += len(chunk)
        yield offset, b""
        return
    for begin, end in file.stretches():
        offset = begin
        while offset < end:
            chunk = file.read_at(offset, min(_CHUNK, end - offset))
            if not chunk:  # it was cut meanwhile, or claims more than it holds
                yield offset, b""
                return
            yield offset, chunk
            offset += len(chunk)
    yield min(file.size, file.size_now()), b""


def _require_copy_fits(source: Target, destination: Target, size: int) -> None:
    limit = source.root.rules.max_file
    if limit is not None and size > limit:
        raise too_large(source, limit)
    limit = destination.root.rules.max_file
    if limit is not None and size > limit:
        raise too_large(destination, limit, would_be=True)


def make_directories(target: Target, *, changes: Changes | None = None) -> None:
    """Make the target's directory and its missing parents; one that exists is fine.

    Args:
        changes: takes note of each that was made, also where a later one fails.

    Raises:
        NotADirectory, PermissionDenied, NoSpace, UnstablePath, InputOutputError.
    """
    if target.exists:
        return
    target.verify()
    changes = Changes() if changes is None else changes
    here, made = os.dup(target.parent), target.parent_name
    try:
        for name in target.missing:
            made = join(made, name)
            with suppress(FileExistsError):
                os.mkdir(name, 0o777, dir_fd=here)
                changes.note(Change(target.root.rules.name, made, "created", "directory"))
            below = os.open(name, os.O_RDONLY | c.O_DIRECTORY | c.O_NOFOLLOW | c.O_CLOEXEC, dir_fd=here)
            above, here = here, below
            try:
                take_parents_owner(below, above)
            finally:
                os.close(above)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise AlreadyExists(f"EEXIST: file already exists, mkdir '{display(target.shown)}'") from None
        raise outcome(error, "mkdir", target.shown) from None
    finally:
        os.close(here)


def _create(target: Target, fill: Callable[[int], Content], mode: int, room: Room, changes: Changes) -> os.stat_result:
    """`fill` writes the contents and says what they are."""
    # The kernel applies umask or the directory's default access list to `mode`; no process can do that as well.
    with _temporary(target, mode) as (descriptor, name):
        take_parents_owner(descriptor, target.parent)
        drop_special_bits(descriptor)
        after = fill(descriptor)
        _flush(descriptor)
        target.verify()
        rename_no_replace(target.parent, name, target.parent, target.leaf)
        created = Change(target.root.rules.name, target.name, "created", "file", None, after)
        _require_made_in_place(target, descriptor, created, changes)
        changes.note(created)
        status = os.fstat(descriptor)
    room.settle(held(status))
    return status


def _require_made_in_place(target: Target, descriptor: int, created: Change, changes: Changes) -> None:
    """The directory can be moved between the last look at it and the rename. What was made there is taken back: in its
    new place the name may be one that is not to be made. A replaced file needs no such look: a directory whose move
    would give a file protection, or take it, is not moved.
    """
    try:
        target.verify()
    except UnstablePath:
        try:
            made = os.stat(target.leaf, dir_fd=target.parent, follow_symlinks=False)
            if same_object(made, os.fstat(descriptor)):
                os.unlink(target.leaf, dir_fd=target.parent)
        except FileNotFoundError:
            pass
        except OSError:
            changes.note(created)
            changes.incomplete("its directory was moved meanwhile and the new file could not be taken back")
        raise


def _replace(
    target: Target, data: bytes, expected: Identity | None, room: Room, *, after: Content, changes: Changes
) -> os.stat_result:
    for _ in range(_ATTEMPTS):
        current = _open_current(target)
        try:
            old = os.fstat(current)
            _require_replaceable(target, current, old, expected)
            with _temporary(target, 0o600) as (descriptor, name), Held(current) as replaced:
                _write_all(descriptor, data)
                carry_over(current, old, descriptor, target.shown)
                _flush(descriptor)
                with _only_replacer(current):
                    target.verify()
                    now = os.stat(target.leaf, dir_fd=target.parent, follow_symlinks=False)
                    if expected is not None and Identity.of(now) != expected:
                        raise _stale(target)
                    if not same_object(now, old):
                        continue  # another writer was faster: what it made is what is replaced now
                    os.rename(name, target.leaf, src_dir_fd=target.parent, dst_dir_fd=target.parent)
                before = changes.contents(replaced)
                changes.note(Change(target.root.rules.name, target.name, "changed", "file", before, after))
                status = os.fstat(descriptor)
        finally:
            os.close(current)
        room.settle(held(status) - held(old))
        return status
    raise UnstablePath(f"Others kept replacing the file; nothing was changed: {display(target.shown)}")


@contextmanager
def _only_replacer(current: int) -> Iterator[None]:
    """Between the last look at the file and the rename no other call replaces it, of this server or of another.

    Whoever replaces a file holds a lock (flock(2)) on the one that goes; who waited then sees that it has gone. A lock
    that lasts longer than a rename is another program's, which does not mean us. A file that this user may not read has
    no lock and needs none: nobody has seen a version of it to insist on.
    """
    try:
        lock = os.open(f"/proc/self/fd/{current}", os.O_RDONLY | c.O_NONBLOCK | c.O_CLOEXEC)
    except PermissionError:
        yield
        return
    try:
        _lock(lock)
        yield
    finally:
        os.close(lock)


def _lock(descriptor: int) -> None:
    until = time.monotonic() + _LOCK_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:  # EWOULDBLOCK: held; anything else: this file system has no locks
            if error.errno != errno.EWOULDBLOCK or time.monotonic() > until:
                return
            time.sleep(_LOCK_LOOK_S)
        else:
            return


def _open_current(target: Target) -> int:
    """What the name stands for now, which can be a newer version than the one that was decided about."""
    try:
        return os.open(target.leaf, c.O_PATH | c.O_NOFOLLOW | c.O_CLOEXEC, dir_fd=target.parent)
    except FileNotFoundError:
        raise StaleWrite(f"The file is no longer there: {display(target.shown)}") from None
    except OSError as error:
        raise outcome(error, "open", target.shown) from None


def _require_replaceable(target: Target, current: int, status: os.stat_result, expected: Identity | None) -> None:
    assert target.stat is not None
    if not stat.S_ISREG(status.st_mode):
        raise SpecialFile(f"Access denied - not a regular file any more: {display(target.shown)}")
    if expected is not None and Identity.of(status) != expected:
        raise _stale(target)
    # An edit is of the file that was read, and a person's consent is for the file that was shown.
    bound = target.action is Action.EDIT or target.decision.asks
    if bound and expected is None and not same_object(status, target.stat):
        raise _stale(target)
    if not same_object(status, target.stat):
        target.ruling.require_links(target.name, status, target.action, target.shown)
    # A file that this user may not write is not replaced either, although its directory would allow it.
    if not os.access(f"/proc/self/fd/{current}", os.W_OK, effective_ids=True):
        raise PermissionDenied(f"EACCES: permission denied, open '{display(target.shown)}'")


def _stale(target: Target) -> StaleWrite:
    return StaleWrite(
        f"The file was changed since it was read; nothing was written: {display(target.shown)}",
        allowed_instead="read it again and repeat the change",
    )


@contextmanager
def _temporary(target: Target, mode: int) -> Iterator[tuple[int, str]]:
    """A new file beside the target under a name that nobody can guess, removed unless it was renamed.

    Every `OSError` on the way is translated here.
    """
    name = f".fsserver-{secrets.token_hex(16)}.tmp"
    try:
        descriptor = os.open(name, _TEMPORARY, mode, dir_fd=target.parent)
    except OSError as error:
        raise outcome(error, "open", target.shown) from None
    try:
        yield descriptor, name
    except OSError as error:
        raise outcome(error, "open", target.shown) from None
    finally:
        _remove_if_left(target, descriptor, name)


def _remove_if_left(target: Target, descriptor: int, name: str) -> None:
    try:
        with suppress(OSError):
            left = os.stat(name, dir_fd=target.parent, follow_symlinks=False)
            if same_object(left, os.fstat(descriptor)):
                os.unlink(name, dir_fd=target.parent)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: bytes, offset: int = 0) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(descriptor, view, offset)
        view, offset = view[count:], offset + count


def _flush(descriptor: int) -> None:
    """Let a network file system report what only close(2) tells, while the old file is still there."""
    os.close(os.dup(descriptor))
