"""One directory of a root as it was listed: which names in it are protected, and how to tell that it changed since.

*Trust.* The rules are the operator's. The tree is hostile: others rename and replace while it is read.

*Invariant.* What is listed lies beneath the root's descriptor: no link is followed, on the way or at the end. A
directory that cannot be looked into is never taken for one without protected names.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from fsserver.errors import SandboxSetupError
from fsserver.kernel import constants as c
from fsserver.kernel.syscalls import birth_time_ns, open_how, openat2
from fsserver.policy.compiled import RootRules

# A name of more bytes could not be mounted over: the root's own path comes before it, PATH_MAX is the end.
MAX_NAME = c.PATH_MAX - 1024

# Each takes the launcher some hundred bytes, and some time once it is to be put away, during which no command begins.
MAX_PROTECTED = 50_000

# Two changes within one tick of the kernel's clock (10 ms at most) have the same ctime, so a directory that changed
# shortly before it was listed may have changed again unseen. Git calls such entries racily clean. Times without a
# fraction come from file systems that count in seconds: ext4 with small inodes in one, vfat in two.
RACY_NS = 50_000_000
RACY_SECONDS_NS = 2_100_000_000

_HOW = open_how(os.O_RDONLY | c.O_DIRECTORY | c.O_NONBLOCK, c.RESOLVE_BENEATH | c.RESOLVE_NO_SYMLINKS)
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV})
_OWN_TROUBLE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSYS})

Inode: TypeAlias = tuple[int, int]  # device and number


class UnreachableError(Exception):
    """A directory may be there, with what it held, but one above it may not be searched any more."""


class Protection(StrEnum):
    """What a command may do with a protected name, strictest first.

    DENY: nothing. READ_ONLY: read it and what is below. NAME: the name stays where it is, and what is below is judged
    by its own names: a directory that ``read_only`` covers while an exception frees what is in it.
    """

    DENY = "deny"
    READ_ONLY = "read_only"
    NAME = "name"


class Kind(StrEnum):
    DIRECTORY = "directory"
    LINK = "link"
    OTHER = "other"


class Identity(NamedTuple):
    """Which object a name stood for. Inode numbers are used again, so a time belongs to it, in ns since 1970.

    The time is the birth of a directory. Of anything else it is the ctime: a file that was unlinked and came back
    through another hard link is the same file, but what was mounted over its name is gone.
    """

    device: int
    inode: int
    time_ns: int


@dataclass(frozen=True, slots=True)
class ProtectedName:
    """One protected name that exists.

    Attributes:
        name: beneath the root, components joined by "/"; bytes that are not UTF-8 as lone surrogates (PEP 383).
    """

    name: str
    protection: Protection
    kind: Kind
    identity: Identity


class Signature(NamedTuple):
    """What os.stat says of a directory that did not change. The ctime also changes with its mode and owner."""

    ctime_ns: int
    inode: int
    device: int


@dataclass(slots=True)
class Listing:
    """A directory as it was listed.

    Attributes:
        name: beneath the root, "" for the root itself.
        above: how this directory is protected as a whole, None if it is not: its names are judged one by one.
        settled: a later change is sure to change the signature.
        opened: False if it could not be looked into; then the rest is empty.
        entries: how many there are.
        children: name and ``above`` of each directory in it.
        protected: names in it, without those that ``above`` covers already.
        links: the link count of each regular file that is protected, by a name in here or by ``above``.
        strictest: how each of those is protected.
        aliases: other names of protected files, as the last search found them.
    """

    name: str
    above: Protection | None
    identity: Identity
    signature: Signature
    settled: bool
    opened: bool = True
    entries: int = 0
    children: list[tuple[str, Protection | None]] = field(default_factory=list)
    protected: list[ProtectedName] = field(default_factory=list)
    links: dict[Inode, int] = field(default_factory=dict)
    strictest: dict[Inode, Protection] = field(default_factory=dict)
    aliases: list[ProtectedName] = field(default_factory=list)


def list_directory(
    root: int, name: str, above: Protection | None, rules: RootRules, *, folds: bool, most: int
) -> Listing | None:
    """List one directory beneath the descriptor ``root``; None if it is not there any more.

    Raises:
        SandboxSetupError: it holds more than ``most`` entries or more than `MAX_PROTECTED` protected names, or this
            process is out of descriptors or memory.
        UnreachableError: what is above it tells more.
    """
    now = time.time_ns()
    try:
        descriptor = _open(root, name)
    except OSError as error:
        return _unopened(root, name, above, error)
    try:
        # By name and not by descriptor: without the right to search it, nothing in it could be looked at.
        status = os.stat(".", dir_fd=descriptor)
        born = birth_time_ns(descriptor)
        listing = _blank(name, above, status, now, born)
        with os.scandir(descriptor) as entries:
            for entry in entries:
                listing.entries += 1
                if listing.entries > most or len(listing.protected) > MAX_PROTECTED:
                    raise too_much(rules)
                _judge(listing, entry, descriptor, rules, folds=folds)
    except OSError as error:
        return _unopened(root, name, above, error)
    finally:
        os.close(descriptor)
    return listing


def find_aliases(root: int, listing: Listing, numbers: Collection[int]) -> list[ProtectedName]:
    """Regular files in the directory whose inode number is one of ``numbers``, for the caller to compare wholly.

    Where a file system lists other numbers than stat(2) tells, as some overlays do, nothing is found.

    Raises:
        UnreachableError: it, or one above it, may not be looked into any more.
    """
    found: list[ProtectedName] = []
    prefix = f"{listing.name}/" if listing.name else ""
    try:
        descriptor = _open(root, listing.name)
    except OSError as error:
        return _unsearched(found, error)
    try:
        with os.scandir(descriptor) as entries:
            for entry in entries:
                if entry.inode() in numbers and entry.is_file(follow_symlinks=False):
                    identity = _of_other(entry.stat(follow_symlinks=False))
                    found.append(ProtectedName(prefix + entry.name, Protection.NAME, Kind.OTHER, identity))
    except OSError as error:
        return _unsearched(found, error)
    finally:
        os.close(descriptor)
    return found


def _unsearched(found: list[ProtectedName], error: OSError) -> list[ProtectedName]:
    if error.errno not in _GONE:
        raise UnreachableError from error
    return found  # it changed: the next refresh lists it again


def too_much(rules: RootRules) -> SandboxSetupError:
    return SandboxSetupError(
        f'The root "{rules.name}" holds too much to find every protected name in it, so no command may see it.',
        allowed_instead="a root further down, or a policy without deny and read_only for this one",
    )


def _open(root: int, name: str) -> int:
    raw = os.fsencode(name or ".")
    if len(raw) > MAX_NAME:
        raise OSError(errno.ENAMETOOLONG, "too deep")
    return openat2(root, raw, _HOW)


def _unopened(root: int, name: str, above: Protection | None, error: OSError) -> Listing | None:
    """A directory that cannot be looked into, as a listing that says so; None if it is gone."""
    if error.errno in _GONE:
        return None
    if error.errno in _OWN_TROUBLE or not name:
        raise SandboxSetupError("A root could not be searched for protected names, so no command may run.") from error
    try:
        status = os.stat(name, dir_fd=root, follow_symlinks=False)
    except OSError as trouble:
        if trouble.errno not in _GONE:
            raise UnreachableError from trouble
        return None
    listing = _blank(name, above, status, time.time_ns(), None)
    listing.opened = False
    return listing


def _blank(name: str, above: Protection | None, status: os.stat_result, now: int, born: int | None) -> Listing:
    changed = status.st_ctime_ns
    racy = RACY_NS if changed % 1_000_000_000 else RACY_SECONDS_NS
    return Listing(
        name=name,
        above=above,
        identity=Identity(status.st_dev, status.st_ino, changed if born is None else born),
        signature=Signature(changed, status.st_ino, status.st_dev),
        settled=changed + racy < now,
    )


def _judge(listing: Listing, entry: os.DirEntry[str], directory: int, rules: RootRules, *, folds: bool) -> None:
    name = f"{listing.name}/{entry.name}" if listing.name else entry.name
    is_directory = entry.is_dir(follow_symlinks=False)
    own = _protection(rules, name, listing.above, is_directory=is_directory, folds=folds)
    within = own or listing.above
    if is_directory:
        listing.children.append((name, None if within is Protection.NAME else within))
    if within is None:
        return
    try:
        if is_directory:
            if own is not None:
                listing.protected.append(ProtectedName(name, own, Kind.DIRECTORY, _of_directory(directory, entry.name)))
            return
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return
    if stat.S_ISREG(status.st_mode):
        inode = (status.st_dev, status.st_ino)
        listing.links[inode] = status.st_nlink
        listing.strictest[inode] = stricter(within, listing.strictest.get(inode))
    if own is not None:
        kind = Kind.LINK if stat.S_ISLNK(status.st_mode) else Kind.OTHER
        listing.protected.append(ProtectedName(name, own, kind, _of_other(status)))


def _protection(
    rules: RootRules, name: str, above: Protection | None, *, is_directory: bool, folds: bool
) -> Protection | None:
    """What the rules say about ``name`` beyond ``above``, which covers it already."""
    if above is Protection.DENY:
        return None
    if rules.denied.find(name, folds=folds) is not None:
        return Protection.DENY
    if above is not None or rules.frozen.find(name, folds=folds) is None:
        return None
    # No entry is called NUL and no glob spells it: what covers this name covers whatever the directory may hold.
    if is_directory and rules.frozen.find(f"{name}/\0", folds=folds) is None:
        return Protection.NAME
    return Protection.READ_ONLY


def stricter(one: Protection, other: Protection | None) -> Protection:
    return Protection.DENY if Protection.DENY in (one, other) else one


def _of_directory(parent: int, name: str) -> Identity:
    descriptor = os.open(name, c.O_PATH | c.O_NOFOLLOW | c.O_CLOEXEC, dir_fd=parent)
    try:
        status = os.fstat(descriptor)
        born = birth_time_ns(descriptor)
        return Identity(status.st_dev, status.st_ino, status.st_ctime_ns if born is None else born)
    finally:
        os.close(descriptor)


def _of_other(status: os.stat_result) -> Identity:
    return Identity(status.st_dev, status.st_ino, status.st_ctime_ns)
