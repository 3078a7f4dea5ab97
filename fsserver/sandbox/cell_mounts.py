"""What a cell sees of the file system, put together from detached copies of the host's mounts.

*Trust.* The profile is ours. The roots are hostile while this runs: a command in another cell renames, links and
replaces what is in them.

*Invariant.* After `build` the process's root holds nothing but the profile's binds, each no wider than it says, and
file systems of its own. Every protected name of the index is covered by a mount that belongs to the very file that
the index saw, and so is every directory above it; otherwise an ``OSError`` was raised.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Final

from fsserver.kernel import constants as c
from fsserver.kernel import mounts
from fsserver.kernel.mounts import Attribute
from fsserver.kernel.syscalls import open_how, openat2
from fsserver.sandbox import skeleton
from fsserver.sandbox.cell_profile import HOME, SHARED_MEMORY, TEMPORARY, TERMINALS, Bind, CellProfile, Ids
from fsserver.sandbox.protected import Identity, Kind, ProtectedIndex, Protection

Trees = Sequence[tuple[Bind, int]]
"""Binds, each with the descriptor of its detached mount."""

# An instance of its own: no terminal of the host is in it. The kernel has some thousands for all instances together.
_TERMINAL_OPTIONS: Final = "newinstance,ptmxmode=0666,mode=0620,max=64"
# Read-only is the node, of which the host's user 0 could change the mode for all; what it stands for is written to.
_OF_A_DEVICE: Final = Attribute.NOSUID | Attribute.NOEXEC | Attribute.RDONLY
_WRITABLE: Final = Attribute.NOSUID | Attribute.NODEV
_READ_ONLY: Final = _WRITABLE | Attribute.RDONLY
# Errors that say nothing of the object: what this process may do, or what the kernel has no room for.
_OF_OURS: Final = (errno.EPERM, errno.EINVAL, errno.ENOSYS, errno.ENOMEM, errno.ENOSPC, errno.EMFILE, errno.ENFILE)
_BENEATH: Final = open_how(c.O_PATH | c.O_NOFOLLOW, c.RESOLVE_BENEATH | c.RESOLVE_NO_SYMLINKS)


def open_trees(
    binds: Sequence[Bind], namespace_for: Callable[[Ids], int], *, without_gone: bool = False
) -> list[tuple[Bind, int]]:
    """A detached mount for each bind that is there.

    Args:
        namespace_for: the user namespace that maps an owner to the command's user.
        without_gone: leave out what was granted and is not there any more, instead of raising.

    Raises ``OSError``: one that must be there is not, or is another object than the one that was granted.
    """
    trees: list[tuple[Bind, int]] = []
    try:
        for bind in binds:
            try:
                tree = _clone_of_system(bind.source) if bind.identity is None else _clone_of(bind.source, bind.identity)
            except OSError as error:
                if error.errno in _OF_OURS or (bind.identity is not None and not without_gone):
                    raise
                continue  # a file of the system that is gone, or that this user may not reach
            trees.append((bind, tree))
            mounts.set_attributes(tree, _attributes(bind))
            if bind.owner is not None:
                mounts.set_attributes(tree, Attribute.IDMAP, user_namespace=namespace_for(bind.owner))
    except BaseException:
        close_trees(trees)  # the launcher goes on, and tries again
        raise
    return trees


def close_trees(trees: Trees) -> None:
    for _, tree in trees:
        os.close(tree)


def _clone_of_system(path: str) -> int:
    """Of what only the host's administrator puts there; a link is not followed."""
    return mounts.clone_tree(c.AT_FDCWD, os.fsencode(path), follow=False)


def _clone_of(path: str, identity: tuple[int, int]) -> int:
    """Of the object that was granted, which a link may lead to. Raises ``OSError``, ESTALE where it is another one."""
    source = os.open(path, c.O_PATH | c.O_CLOEXEC)
    try:
        if _identity(os.fstat(source)) != identity:
            raise OSError(errno.ESTALE, "another directory is there now", path)
        return mounts.clone_tree(source, b"")
    finally:
        os.close(source)


def _attributes(bind: Bind) -> Attribute:
    return _OF_A_DEVICE if bind.device else _WRITABLE if bind.writable else _READ_ONLY


def build(
    profile: CellProfile,
    trees: Trees,
    inner: Collection[str],
    protected: Mapping[str, ProtectedIndex],
    *,
    staging: str = "/tmp",  # noqa: S108
) -> tuple[str, ...]:
    """Make the root and move into it. For a process that is alone in its mount namespace.

    Args:
        trees: from `open_trees`, opened before anything here could hide them; one of them is the skeleton.
        inner: as in `Skeleton`.
        protected: the index of each root whose protected names are to be covered, by its name.
        staging: a directory to begin on; what is mounted there is the root in the end.

    Returns: what this machine does not allow, as codes: ``proc``.

    Raises ``OSError``.
    """
    mounts.make_private()
    quiet = mounts.MS_NOSUID | mounts.MS_NODEV
    own = f"size={profile.memory_bytes},nr_inodes=1048576"
    steps: dict[str, Callable[[str], None]] = {
        TEMPORARY: lambda point: mounts.mount("tmpfs", point, quiet, f"mode=1777,{own}"),
        SHARED_MEMORY: lambda point: mounts.mount("tmpfs", point, quiet, f"mode=1777,{own}"),
        HOME: lambda point: mounts.mount("tmpfs", point, quiet, f"mode=0700,{own}"),
        TERMINALS: lambda point: mounts.mount("devpts", point, mounts.MS_NOSUID | mounts.MS_NOEXEC, _TERMINAL_OPTIONS),
    }
    steps |= {bind.target: partial(_attach, tree) for bind, tree in trees}
    steps.pop("/")(staging)
    os.chdir(staging)
    files = {bind.target for bind, tree in trees if bind.target in inner and not stat.S_ISDIR(os.fstat(tree).st_mode)}
    missing = _mount_proc()
    # An outer place before those inside it: it would hide them.
    for target in sorted(steps, key=lambda path: path.split("/")):
        if target in inner:
            _make_point(f".{target}", directory=target not in files)
        steps[target](f".{target}")
    for path, identity in profile.hidden:
        _hide(f".{path}", identity)
    masks = frozenset(_identity(os.stat(f".{each}")) for each in (skeleton.MASKED_DIRECTORY, skeleton.MASKED_FILE))
    for root in profile.roots:
        index = protected.get(root.name)
        # Where roots overlap, the rules of one may have hidden the other, or what is in it.
        if index is not None and index.names and not _is_masked(root.path, masks):
            _protect(f".{root.path}", index, masks)
    mounts.pivot_here()
    return missing


def _attach(tree: int, point: str) -> None:
    mounts.attach(tree, c.AT_FDCWD, os.fsencode(point))


def _mount_proc() -> tuple[str, ...]:
    """Before the old root goes: a new procfs is refused where none is visible any more."""
    quiet = mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOEXEC
    try:
        mounts.mount("proc", "proc", quiet)
    except PermissionError:
        return ("proc",)  # parts of the host's are covered, as in containers; then a new one would uncover them
    system = mounts.clone_tree(c.AT_FDCWD, b"proc/sys")
    mounts.set_attributes(system, Attribute.RDONLY)
    mounts.attach(system, c.AT_FDCWD, b"proc/sys")
    os.close(system)
    return ()


def _make_point(path: str, *, directory: bool) -> None:
    """Something to mount on. Inside another bind it is there already, or the bind is writable and of our own."""
    parent = os.path.dirname(path) if not directory else path
    if not os.path.isdir(parent):
        os.makedirs(parent, 0o755, exist_ok=True)
    if not directory and not os.path.lexists(path):
        skeleton.write(path, "")


def _hide(path: str, identity: tuple[int, int]) -> None:
    """Cover a directory whole."""
    directory = os.open(path, c.O_PATH | c.O_DIRECTORY | c.O_NOFOLLOW | c.O_CLOEXEC)
    try:
        status = os.fstat(directory)
        if (status.st_dev, status.st_ino) != identity:
            raise OSError(errno.ESTALE, "another directory is there now", path)
        _mask(directory, skeleton.MASKED_DIRECTORY)
    finally:
        os.close(directory)


def _mask(target: int, mask: str) -> None:
    tree = mounts.clone_tree(c.AT_FDCWD, os.fsencode(f".{mask}"))  # read-only, as the skeleton is
    try:
        mounts.attach(tree, target, b"")
    finally:
        os.close(tree)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _is_masked(path: str, masks: Collection[tuple[int, int]]) -> bool:
    """Whether a directory on the way to the path is covered."""
    above = "."
    for name in path.strip("/").split("/"):
        above = f"{above}/{name}"
        if _identity(os.lstat(above)) in masks:
            return True
    return False


def _protect(root: str, index: ProtectedIndex, masks: Collection[tuple[int, int]]) -> None:
    """Cover the protected names of one root, outer ones first: a bind of a directory onto itself is looked through."""
    covers: dict[str, tuple[Identity, Protection]] = {
        name: (identity, Protection.NAME) for name, identity in zip(index.directories, index.pinned, strict=True)
    }
    # A link is bound onto itself: then it cannot be replaced, and what it leads to is protected by its own name.
    covers |= {
        each.name: (each.identity, Protection.NAME if each.kind is Kind.LINK else each.protection)
        for each in index.names
    }
    for name in sorted(covers, key=lambda path: path.split("/")):
        directory = os.open(root, c.O_PATH | c.O_DIRECTORY | c.O_CLOEXEC)
        try:
            _cover(directory, name, *covers[name], masks)
        finally:
            os.close(directory)


def _cover(
    root: int, name: str, identity: Identity, protection: Protection, masks: Collection[tuple[int, int]]
) -> None:
    target = openat2(root, os.fsencode(name), _BENEATH)
    try:
        status = os.fstat(target)
        # The mount is put on this object, whatever its name leads to later, so it must be the one that was judged.
        if _identity(status) != (identity.device, identity.inode):
            if _identity(status) in masks:
                return  # another root holds it too, and it was covered there
            raise OSError(errno.ESTALE, "a protected name was replaced", name)
        if protection is Protection.DENY:
            _mask(target, skeleton.MASKED_DIRECTORY if stat.S_ISDIR(status.st_mode) else skeleton.MASKED_FILE)
            return
        tree = mounts.clone_tree(target, b"")
        try:
            if protection is not Protection.NAME:
                mounts.set_attributes(tree, Attribute.RDONLY)
            mounts.attach(tree, target, b"")
        finally:
            os.close(tree)
    finally:
        os.close(target)
