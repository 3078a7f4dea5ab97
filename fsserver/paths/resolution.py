"""One request against one root: find the object or the absent name, decide, and hold it.

*Trust.* The request is hostile, and so is everything on disk. The root and its rules are ours.

*Invariant.* A target is returned only if every name that leads to it allows the access, or asks for consent to it: the
name as asked, its real parent with the last name as asked, and the opened object's own name beneath the root; in each
root that holds it. The target's decision is the strictest of theirs. What was opened had that name when the rules
were asked about it, and still has it where the disk was asked for anything more after that.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import TypeAlias

from fsserver.errors import (
    AlreadyExists,
    BadPath,
    Denied,
    FsserverError,
    LinkEscape,
    OperationDenied,
    SpecialFile,
    UnstablePath,
)
from fsserver.kernel import constants as c
from fsserver.kernel.syscalls import descriptor_path
from fsserver.paths.client import Request
from fsserver.paths.names import collapse, display, join, split, ways_up
from fsserver.paths.outcomes import is_a_directory, outcome
from fsserver.paths.resolver import ATTEMPTS, EscapeError, MovedError, Resolver, name_beneath
from fsserver.paths.root import Root
from fsserver.paths.ruling import INSIDE, Ruling, directories, shown_path
from fsserver.paths.target import Access, Target
from fsserver.paths.unicode import equivalent
from fsserver.policy.compiled import Action
from fsserver.policy.decision import Decision

Base: TypeAlias = tuple[Ruling, tuple[str, ...]]
"""A root and components beneath it."""

Seen: TypeAlias = dict[Root, str]
"""Where roots were when a call of many paths came to the first one in them. It ends with `require_unmoved`."""

MUST_BE_ABSENT = frozenset({Access.MOVE_TO, Access.CREATE})

_ACTIONS = {
    Access.READ: Action.READ,
    Access.STAT: Action.READ,
    Access.LIST: Action.LIST,
    Access.WRITE: Action.OVERWRITE,
    Access.CREATE: Action.CREATE,
    Access.EDIT: Action.EDIT,
    Access.MAKE_DIRECTORY: Action.CREATE,
    Access.MOVE_FROM: Action.MOVE,
    Access.MOVE_TO: Action.MOVE,
    Access.DELETE: Action.DELETE,
}
# What node would have called when the name is absent.
_CALLS = {
    Access.STAT: "stat",
    Access.LIST: "scandir",
    Access.MAKE_DIRECTORY: "mkdir",
    Access.MOVE_FROM: "rename",
    Access.MOVE_TO: "rename",
    Access.DELETE: "rm",
}
# These are about the name itself, not about what a link there leads to.
_ABOUT_THE_NAME = frozenset({Access.MOVE_FROM, Access.MOVE_TO, Access.DELETE, Access.CREATE})
# These make one name, so what they miss is a directory above it.
_NEEDS_A_DIRECTORY = frozenset({Access.WRITE, Access.CREATE, Access.MOVE_TO})
_REPLACES = frozenset({Access.WRITE, Access.EDIT})


def require_unmoved(seen: Seen) -> None:
    """Raises `UnstablePath` if a root is elsewhere by now, so that names may have been told from the wrong place."""
    if any(root.path() != top for root, top in seen.items()):
        raise UnstablePath("Access denied - a root was moved while its files were read.")


class Resolution:
    """Components beneath a root, which is that of the ruling. Use once.

    Args:
        seen: where roots were found before in the same call, and are found now; see `_name`.
    """

    def __init__(
        self, base: Base, resolver: Resolver, request: Request, access: Access, seen: Seen | None = None
    ) -> None:
        self._ruling, self._parts = base
        self._root = self._ruling.root
        self._resolver = resolver
        self._request = request
        self._access = access
        self._seen = seen
        self._asked = "/".join(collapse(self._parts) or ())
        self._shown = shown_path(self._root, self._asked)
        self._looked_for_equivalents = self._asked.isascii()
        self._first: tuple[Action, Decision]  # what was asked before the disk was, and the answer

    def run(self) -> Target:
        """Resolve and decide, again while things move underneath. Errors as `Workspace.target`."""
        if ".." in self._parts and self._ruling.may_protect:
            self._decide_ways_up()
        return self.resolved()

    def _decide_ways_up(self) -> None:
        """Refuse a path that goes up from where nothing may be looked at: whether it leads on would say what is there.
        What is wrong with such a place otherwise is said of the whole path.
        """
        for way in ways_up(self._parts):
            try:
                base = self._ruling, tuple(way)
                Resolution(base, self._resolver, self._request, Access.LIST).resolved().close()
            except Denied:
                raise
            except FsserverError:
                continue

    def resolved(self) -> Target:
        """`run`, without a look at where the path goes up."""
        # Before the disk is asked: the refusal of a protected name says nothing about whether it exists.
        first = Action.READ if self._access is Access.WRITE else _ACTIONS[self._access]
        self._first = first, self._ruling.decide((self._asked,), first, self._shown)
        for _ in range(ATTEMPTS):
            try:
                return self._attempt()
            except MovedError:
                continue
            except EscapeError:
                raise self._link_refused("symlink target outside allowed directories") from None
            except OSError as error:
                call = _CALLS.get(self._access, "open") if error.errno == errno.ENOENT else "realpath"
                failed = outcome(error, call, self._unresolved())
                if error.errno == errno.ENOENT and self._access in _NEEDS_A_DIRECTORY:
                    failed.allowed_instead = "create_directory makes the directories that are missing"
                raise failed from None
        raise UnstablePath(f"Access denied - the path kept changing while it was resolved: {display(self._shown)}")

    def _attempt(self) -> Target:
        target = Target(
            self._ruling,
            self._resolver,
            requested=self._request.given,
            asked=self._asked,
            access=self._access,
            action=_ACTIONS[self._access],
        )
        try:
            if self._access in _ABOUT_THE_NAME:
                self._find_name(target)
            else:
                self._find_object(target)
        except BaseException:
            target.close()
            raise
        return target

    def _find_object(self, target: Target) -> None:
        """What the name leads to, links followed."""
        try:
            target.handle = self._resolver.open(self._root, "/".join(self._parts))
        except OSError as error:
            self._find_absent(target, error)
            return
        target.stat = os.fstat(target.handle)
        target.name = self._name(target.handle)
        straight = target.name == self._asked
        if not straight:  # a link or `..` was on the way
            self._decide(target, [self._asked, target.name, self._last_name_in_real_parent()])
        elif target.action is self._first[0]:
            target.decision = self._first[1]  # the same rules asked the same: the answer is arithmetic
        else:
            self._decide(target, [self._asked])
        self._ruling.require_links(target.name, target.stat, target.action, self._shown)
        self._require_kind(target.stat)
        if self._access in _REPLACES:
            self._hold_parent(target)
        alone = target.stat.st_nlink < 2 or stat.S_ISDIR(target.stat.st_mode)  # a directory has no other name
        if straight and alone and self._access not in _REPLACES:
            return  # nothing on the disk was asked since its name was read, only rules: it was read a moment ago
        if name_beneath(self._root, target.handle) != target.name:
            raise MovedError

    def _name(self, handle: int) -> str:
        """`name_beneath` the root. Where the kernel calls the object just as it was asked for, beneath the place where
        the root was found before in the same call, the root is not looked for again: `require_unmoved` does that at the
        end of the call. Raises as `name_beneath`.
        """
        if self._seen is None:
            return name_beneath(self._root, handle)
        top = self._seen.get(self._root)
        # Of a removed object the kernel says so in words that a name can have as well.
        if top is not None and self._asked and not self._asked.endswith(" (deleted)"):
            with suppress(OSError):  # which is told apart below
                if descriptor_path(handle) == f"{top}/{self._asked}":
                    return self._asked
        top = self._root.path()
        self._seen.setdefault(self._root, top)
        return name_beneath(self._root, handle, top)

    def _last_name_in_real_parent(self) -> str:
        if not self._parts or self._parts[-1] == "..":
            return self._asked
        try:
            parent = self._resolver.open(self._root, "/".join(self._parts[:-1]))
        except OSError:
            raise MovedError from None  # it was there a moment ago
        try:
            return join(name_beneath(self._root, parent), self._parts[-1])
        finally:
            os.close(parent)

    def _hold_parent(self, target: Target) -> None:
        """The directory that really holds the object, so that it can be replaced there."""
        assert target.stat is not None
        target.parent_name, target.leaf = split(target.name)
        try:
            target.parent = self._resolver.open(self._root, target.parent_name)
            if name_beneath(self._root, target.parent) != target.parent_name or not target.unchanged():
                raise MovedError
        except (FileNotFoundError, NotADirectoryError):
            raise MovedError from None

    def _find_absent(self, target: Target, error: OSError) -> None:
        """A name to be made. Where it cannot be, the rules come before the error, which could tell what exists."""
        if error.errno == errno.ENOENT:
            self._try_equivalent()
        self._hold_deepest_directory(target, error)
        if self._access is Access.WRITE:
            target.action = Action.CREATE
        names = [target.parent_name]
        for part in target.missing:
            names.append(join(names[-1], part))
        target.name = names[-1]
        self._decide(target, [self._asked, *names[1:]])
        makes_all = self._access is Access.MAKE_DIRECTORY
        makes_last = self._access is Access.WRITE and len(target.missing) == 1
        if error.errno != errno.ENOENT or not (makes_all or makes_last):
            raise error
        self._require_absent(target)
        self._require_parent_stays(target)

    def _hold_deepest_directory(self, target: Target, error: OSError) -> None:
        """As far as the name exists: the object there, and the names missing below it."""
        for depth in range(len(self._parts) - 1, -1, -1):
            try:
                target.parent = self._resolver.open(self._root, "/".join(self._parts[:depth]))
            except OSError:
                continue
            target.parent_name = name_beneath(self._root, target.parent)
            target.missing = self._parts[depth:]
            target.leaf = target.missing[0]
            break
        if target.parent < 0 or ".." in target.missing:
            raise error

    def _require_absent(self, target: Target) -> None:
        try:
            status = os.stat(target.leaf, dir_fd=target.parent, follow_symlinks=False)
        except FileNotFoundError:
            return
        if stat.S_ISLNK(status.st_mode):
            raise self._link_refused("symbolic link that leads to nothing")
        raise MovedError

    def _find_name(self, target: Target) -> None:
        """The name itself, a link in the last place not followed."""
        if not self._parts:
            raise AlreadyExists(f"Destination already exists: {display(self._shown)}")
        if self._parts[-1] == "..":
            raise BadPath(f'The path ends in "..": {display(self._shown)} is meant by its own name only.')
        try:
            target.parent = self._resolver.open(self._root, "/".join(self._parts[:-1]))
        except OSError as error:
            self._find_absent(target, error)  # raises: only the last name may be missing
            raise
        target.parent_name = name_beneath(self._root, target.parent)
        target.leaf = self._parts[-1]
        target.name = join(target.parent_name, target.leaf)
        self._decide(target, [self._asked, target.name])
        try:
            target.handle = os.open(target.leaf, c.O_PATH | c.O_NOFOLLOW | c.O_CLOEXEC, dir_fd=target.parent)
        except FileNotFoundError:
            self._try_equivalent()
            if self._access not in MUST_BE_ABSENT:
                raise
            self._require_parent_stays(target)
            return
        if self._access is Access.MOVE_TO:
            raise AlreadyExists(f"Destination already exists: {display(self._shown)}")
        if self._access is Access.CREATE:
            raise outcome(OSError(errno.EEXIST, ""), "open", self._shown)
        target.stat = os.fstat(target.handle)
        own_name = name_beneath(self._root, target.handle)
        if own_name != target.name:
            if not self._root.folds:
                raise MovedError
            self._decide(target, [self._asked, target.name, own_name])
        self._ruling.require_links(target.name, target.stat, target.action, self._shown)
        self._require_no_root(target)
        self._require_parent_stays(target)

    def _require_no_root(self, target: Target) -> None:
        """A directory that is, or holds, a root stays where it is."""
        assert target.stat is not None
        if not stat.S_ISDIR(target.stat.st_mode):
            return
        root = self._ruling.root_in(join(self._root.path(), target.name), target.stat)
        if root is not None:
            raise OperationDenied(
                f"Access denied - the directory is or holds the root {root.rules.name}: {display(self._shown)}",
                rule=str(root.rules.origin),
            )

    def _require_parent_stays(self, target: Target) -> None:
        if name_beneath(self._root, target.parent) != target.parent_name:
            raise MovedError

    def _require_kind(self, status: os.stat_result) -> None:
        """Only regular files are replaced, and only directories are directories already."""
        if self._access in _REPLACES and not stat.S_ISREG(status.st_mode):
            if not stat.S_ISDIR(status.st_mode):
                raise SpecialFile(f"Access denied - not a regular file: {display(self._shown)}")
            if self._access is Access.EDIT:
                raise is_a_directory()
            raise outcome(OSError(errno.EISDIR, ""), "open", self._shown)
        if self._access is Access.MAKE_DIRECTORY and not stat.S_ISDIR(status.st_mode):
            raise outcome(OSError(errno.EEXIST, ""), "mkdir", self._shown)

    def _decide(self, target: Target, names: list[str]) -> None:
        target.decision = self._ruling.decide(names, target.action, self._shown)

    def _try_equivalent(self) -> None:
        """Once, look for the name in another Unicode form, and if there is one, begin again with that."""
        if self._looked_for_equivalents:
            return
        self._looked_for_equivalents = True
        parts = equivalent(self._root, self._resolver, self._parts)
        if parts is not None:
            self._parts = parts
            raise MovedError

    def _unresolved(self) -> str:
        """For what is not there: with its ``..``, since the directory before one may be what is missing."""
        return shown_path(self._root, "/".join(self._parts)) if ".." in self._parts else self._shown

    def _link_refused(self, why: str) -> Denied:
        """Names the path as asked, never where the link leads."""
        return LinkEscape(
            f"Access denied - {why}: {display(self._shown)} not in {directories(self._ruling.roots)}",
            rule=str(self._root.rules.origin),
            allowed_instead=INSIDE,
        )
