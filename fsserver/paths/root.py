"""A root: one directory, opened once. Everything a client reaches is opened beneath its descriptor."""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import os
from dataclasses import replace

from fsserver.errors import ConfigError, InputOutputError, KernelUnsupported, NotFound
from fsserver.kernel import constants as c
from fsserver.kernel.syscalls import descriptor_path, file_system
from fsserver.paths.aliases import Aliases
from fsserver.paths.names import components, display
from fsserver.paths.turns import Turns
from fsserver.paths.usage import Usage
from fsserver.policy.compiled import RootRules

_NONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG})
"""Of opening a directory: it is not there, or not ours to open. All else may be another time another way."""

_DIRECTORY = c.O_PATH | c.O_DIRECTORY | c.O_CLOEXEC


class Root:
    """A directory descriptor with the rules for what is beneath it.

    Attributes:
        rules: what may be done here.
        fd: the directory, opened with O_PATH.
        spellings: absolute paths by which clients may call it; the first is the kernel's own and the one shown.
        prefixes: the same as components.
        identity: device and inode of the directory.
        folds: whether names are compared without their case on this volume.
        aliases: the inodes of its protected names.
        usage: how many bytes it holds.
        turns: for those who change a file from what it holds.
    """

    def __init__(self, rules: RootRules, fd: int, spellings: tuple[str, ...], seen_as: Root | None = None) -> None:
        status = os.fstat(fd)
        self.rules = rules
        self.fd = fd
        self.spellings = spellings
        self.prefixes = tuple(components(spelling) for spelling in spellings)
        self.identity = (status.st_dev, status.st_ino)
        self.folds = _folds(fd)
        self.usage: Usage = Usage() if seen_as is None else seen_as.usage
        self.turns: Turns = Turns() if seen_as is None else seen_as.turns
        self.aliases: Aliases = Aliases(fd, rules, folds=self.folds)
        if seen_as is not None and (seen_as.rules.deny, seen_as.rules.read_only) == (rules.deny, rules.read_only):
            self.aliases = seen_as.aliases

    @classmethod
    def open(cls, rules: RootRules) -> Root:
        """Open ``rules.path``, following links in it this once.

        Raises:
            ConfigError: it is missing, not a directory, not reachable, or ``/``.
            KernelUnsupported: there is no /proc, without which no opened object can be judged.
        """
        if not rules.path.startswith("/"):
            raise ConfigError(
                f"root {rules.name}: {display(rules.path)} is not an absolute path", rule=str(rules.origin)
            )
        try:
            fd = os.open(rules.path, _DIRECTORY)
        except OSError as error:
            reason = _REASONS.get(type(error), "it cannot be opened")
            raise ConfigError(f"root {rules.name}: {display(rules.path)}: {reason}", rule=str(rules.origin)) from None
        try:
            return cls(rules, fd, _spellings(rules, fd))
        except BaseException:
            os.close(fd)
            raise

    def one(self, name: str) -> Root:
        """The directory called ``name`` in this one, as a root of its own under the same rules; close it as well.

        Args:
            name: one component, already checked. A link of that name is not followed.

        Raises:
            NotFound: there is no such directory.
            InputOutputError: nobody knows, since it cannot be looked at now.
        """
        assert "/" not in name
        assert name not in ("", ".", "..")
        rules = replace(self.rules, path=f"{self.rules.path.rstrip('/')}/{name}", each=None)
        try:
            fd = os.open(name, _DIRECTORY | c.O_NOFOLLOW, dir_fd=self.fd)
        except OSError as error:
            if error.errno not in _NONE:
                raise InputOutputError(f"This principal's directory of {rules.name} cannot be opened now") from None
            raise NotFound(f"The root {rules.name} has no directory for this principal.") from None
        try:
            return Root(rules, fd, _spellings(rules, fd))
        except BaseException:
            os.close(fd)
            raise

    def is_still(self, name: str, within: Root) -> bool:
        """Whether ``name`` in ``within`` is this directory."""
        try:
            status = os.stat(name, dir_fd=within.fd, follow_symlinks=False)
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self.identity

    def with_rules(self, rules: RootRules) -> Root:
        """The same directory under other rules. The descriptor belongs to the root that was opened: close only that."""
        return Root(rules, self.fd, self.spellings, seen_as=self)

    @property
    def shown(self) -> str:
        """The absolute path that clients see."""
        return self.spellings[0]

    def path(self) -> str:
        """Where the directory is now.

        Raises:
            NotFound: it was removed.
        """
        path = descriptor_path(self.fd)
        if not path.startswith("/") or (path.endswith(" (deleted)") and not self._still_named(path)):
            raise NotFound(f"The root {self.rules.name} is no longer there.")
        return path

    def replaced(self) -> bool:
        """Whether the path of the policy now leads to another directory, or nowhere."""
        try:
            status = os.stat(self.rules.path)
        except OSError:
            return True
        return (status.st_dev, status.st_ino) != self.identity

    def close(self) -> None:
        """Close the descriptor; the views that `with_rules` made end with it."""
        os.close(self.fd)

    def _still_named(self, path: str) -> bool:
        """A directory may truly be called "x (deleted)"."""
        with contextlib.suppress(OSError):
            status = os.lstat(path)
            return (status.st_dev, status.st_ino) == self.identity
        return False


_REASONS: dict[type[OSError], str] = {
    FileNotFoundError: "there is no such directory",
    NotADirectoryError: "it is not a directory",
    PermissionError: "this user may not open it",
}


def _spellings(rules: RootRules, fd: int) -> tuple[str, ...]:
    try:
        canonical = descriptor_path(fd)
    except OSError:
        raise KernelUnsupported("/proc is not mounted or not readable; without it no path can be judged") from None
    if canonical == "/" or not canonical.startswith("/"):
        raise ConfigError(f"root {rules.name}: {display(rules.path)} is the whole file system", rule=str(rules.origin))
    written = "/" + "/".join(components(rules.path))
    return (canonical,) if written == canonical else (canonical, written)


def _folds(fd: int) -> bool:
    """Whether the volume, or this directory of it, compares names without their case.

    Raises:
        InputOutputError: nobody knows, since it cannot be looked at now. It is not taken for one that does not.
    """
    if file_system(fd).magic in c.FOLDING_FILE_SYSTEMS:
        return True
    flags = array.array("L", [0])
    try:
        readable = os.open(".", os.O_RDONLY | c.O_DIRECTORY | c.O_CLOEXEC, dir_fd=fd)
    except OSError as error:
        if error.errno not in _NONE:
            raise InputOutputError("A root cannot be looked at now") from None
        return False  # a directory that cannot be listed; names in it are compared exactly
    try:
        fcntl.ioctl(readable, c.FS_IOC_GETFLAGS, flags)
    except OSError:
        return False
    finally:
        os.close(readable)
    return bool(flags[0] & c.FS_CASEFOLD_FL)
