"""Verbs on names: move and delete. Neither follows a link: a link is moved or deleted itself."""

from __future__ import annotations

import errno
import os
import stat

from fsserver.errors import (
    AlreadyExists,
    BadPath,
    CrossDevice,
    DirectoryNotEmpty,
    FsserverError,
    ProtectedName,
    UnstablePath,
)
from fsserver.kernel import constants as c
from fsserver.paths.changes import Change, Changes, Held
from fsserver.paths.crossing import check_crossing, crosses
from fsserver.paths.descent import Descent
from fsserver.paths.entry import Checkpoint, Entry, go_on
from fsserver.paths.names import display
from fsserver.paths.outcomes import outcome
from fsserver.paths.quota import Room, held
from fsserver.paths.renaming import rename_no_replace
from fsserver.paths.ruling import FREE
from fsserver.paths.target import Target
from fsserver.paths.tree import check_tree, protection_changes


def move(
    source: Target, destination: Target, *, checkpoint: Checkpoint = go_on, changes: Changes | None = None
) -> None:
    """Rename ``source`` to ``destination``, which must be absent; see also `check_move`, which this calls. ``changes``
    takes note of it.

    Raises:
        AlreadyExists: the destination exists (by now).
        CrossDevice: they lie on different file systems; nothing has changed.
        BadPath: a directory into itself.
        ProtectedName, Denied, HardLinkDenied, FileTooLarge, QuotaExceeded, UnstablePath, PermissionDenied, NoSpace,
        InputOutputError.
    """
    size = check_move(source, destination, checkpoint=checkpoint)
    with Room(destination) as room:
        room.grow(size, checkpoint=checkpoint)
        _rename(source, destination, Changes() if changes is None else changes)
        room.settle(size)
    if crosses(source, destination) and not size:
        source.root.usage.forget()  # nobody looked how much went
    else:
        source.root.usage.add(-size)


def _rename(source: Target, destination: Target, changes: Changes) -> None:
    """The move itself, and the look at it afterwards. Errors as `move`."""
    source.verify()
    destination.verify()
    if not source.unchanged():
        raise UnstablePath(f"Another object has taken the name meanwhile; nothing was moved: {display(source.shown)}")
    try:
        rename_no_replace(source.parent, source.leaf, destination.parent, destination.leaf)
    except FileExistsError:
        raise AlreadyExists(f"Destination already exists: {display(destination.shown)}") from None
    except OSError as error:
        if error.errno == errno.EXDEV:
            raise CrossDevice(
                "EXDEV: cross-device link not permitted, rename "
                f"'{display(source.shown)}' -> '{display(destination.shown)}'",
                allowed_instead="copy it, then delete the source",
            ) from None
        if error.errno == errno.EINVAL:
            raise BadPath(
                f"EINVAL: invalid argument, rename '{display(source.shown)}' -> '{display(destination.shown)}'"
            ) from None
        raise outcome(error, "rename", source.shown, destination.shown) from None
    source.root.aliases.forget()
    destination.root.aliases.forget()
    _look_again(source, destination, changes)
    _note_move(source, destination, changes)


def _note_move(source: Target, destination: Target, changes: Changes) -> None:
    came_from = (source.root.rules.name, source.name)
    with Held(source.handle) as moved:
        content = changes.contents(moved)
        changes.note(
            Change(destination.root.rules.name, destination.name, "moved", moved.kind, content, content, came_from)
        )


def _look_again(source: Target, destination: Target, changes: Changes) -> None:
    """Once more, where it is now: what another call made in the tree after it was checked must not have become
    protected, or have lost protection. If it did, the move is taken back. Not to be cancelled half-way.
    """
    assert source.stat is not None
    if not stat.S_ISDIR(source.stat.st_mode) or not (source.ruling.may_protect or destination.ruling.may_protect):
        return
    try:
        with destination.holding(source) as moved:
            count, rule = protection_changes(moved, source)
    except FsserverError:  # it was moved on already, or cannot be listed any more
        _take_back(source, destination, changes)
        raise
    if count:
        outcome_of_it = "was taken back" if _take_back(source, destination, changes) else "could not be taken back"
        raise ProtectedName(
            f"Access denied - a name appeared below {display(source.shown)} that would not keep exactly the protection "
            f"it has; the move {outcome_of_it}",
            rule=None if rule is None else str(rule),
        )


def _take_back(source: Target, destination: Target, changes: Changes) -> bool:
    try:
        rename_no_replace(destination.parent, destination.leaf, source.parent, source.leaf)
    except OSError:
        _note_move(source, destination, changes)
        return False
    return True


def check_move(source: Target, destination: Target, *, checkpoint: Checkpoint = go_on) -> int:
    """Whether the move may be made, as far as can be told before. Changes nothing.

    Returns:
        The bytes that the one root loses and the other gains; see `check_crossing`.

    Raises:
        What `check_tree` and `check_crossing` raise.
    """
    check_tree(source, destination, checkpoint=checkpoint)
    return check_crossing(source, destination, checkpoint=checkpoint) if crosses(source, destination) else 0


def delete(
    target: Target, *, recursive: bool = False, checkpoint: Checkpoint = go_on, changes: Changes | None = None
) -> None:
    """Remove the name, and with ``recursive`` a directory with all that is in it; see also `check_tree`.

    Args:
        changes: takes note of each name that went, also where a later one stays.

    Raises:
        DirectoryNotEmpty: it holds something and ``recursive`` is false.
        ProtectedName: a protected name is below. Nothing was deleted if it was there at the beginning.
        UnstablePath: another object has taken the name.
        PermissionDenied, InputOutputError: part of a tree may be gone.
    """
    assert target.stat is not None
    changes = Changes() if changes is None else changes
    is_directory = stat.S_ISDIR(target.stat.st_mode)
    if is_directory and recursive:
        check_tree(target, checkpoint=checkpoint)
    target.verify()
    if not target.unchanged():
        raise UnstablePath(f"Another object has taken the name meanwhile; nothing was deleted: {display(target.shown)}")
    try:
        if is_directory:
            if recursive:
                try:
                    _empty(target, checkpoint, changes)
                finally:
                    target.root.usage.forget()  # nobody knows how much went, least of all where it ended half-way
            os.rmdir(target.leaf, dir_fd=target.parent)
            changes.note(Change(target.root.rules.name, target.name, "deleted", "directory"))
        else:
            with Held(target.handle) as deleted:
                os.unlink(target.leaf, dir_fd=target.parent)
                before = changes.contents(deleted)
            changes.note(Change(target.root.rules.name, target.name, "deleted", deleted.kind, before))
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST) and not recursive:
            raise DirectoryNotEmpty(
                f"ENOTEMPTY: directory not empty, rmdir '{display(target.shown)}'",
                allowed_instead="recursive: true deletes all that is in it",
            ) from None
        raise outcome(error, "rm", target.shown) from None
    if stat.S_ISREG(target.stat.st_mode):
        target.root.usage.add(-held(target.stat))


def _empty(target: Target, checkpoint: Checkpoint, changes: Changes) -> None:
    """Delete all that is in the directory. Raises ``OSError``, and `ProtectedName` for what appeared meanwhile."""
    ruling = target.ruling
    with Descent(target.as_directory(), checkpoint) as descent:
        descent.begin()
        while descent.frames:
            frame = descent.frames[-1]
            for entry in frame.entries:
                if ruling.may_protect and ruling.level(entry.path) != FREE:
                    raise ProtectedName(f"Access denied - a protected name appeared: {display(entry.shown)}")
                if entry.kind == "directory":
                    if descent.enter(entry):
                        break
                else:
                    _unlink(target, entry, frame.directory.descriptor, changes)
            else:
                left = descent.leave()
                if left.entry is not None and descent.frames[-1].directory.descriptor >= 0:
                    os.rmdir(left.entry.name, dir_fd=descent.frames[-1].directory.descriptor)
                    changes.note(Change(target.root.rules.name, left.entry.path, "deleted", "directory"))


def _unlink(target: Target, entry: Entry, directory: int, changes: Changes) -> None:
    """Remove a name that is no directory, and note what was behind it right before. Raises ``OSError``."""
    if changes.full:
        os.unlink(entry.name, dir_fd=directory)
        changes.note(Change(target.root.rules.name, entry.path, "deleted", entry.kind))
        return
    handle = os.open(entry.name, c.O_PATH | c.O_NOFOLLOW | c.O_CLOEXEC, dir_fd=directory)
    try:
        with Held(handle) as deleted:
            os.unlink(entry.name, dir_fd=directory)
            before = changes.contents(deleted)
        changes.note(Change(target.root.rules.name, entry.path, "deleted", deleted.kind, before))
    finally:
        os.close(handle)
