"""What a file has besides its contents, and carrying it over to the file that replaces it.

Kept: permission bits, owner, group, extended attributes and with them access control lists (xattr(7), acl(5)). What
cannot be kept makes the write fail before anything is changed. Never kept: setuid, setgid and file capabilities, which
would lend the old file's power to new contents; and integrity hashes, which are of the old contents.
"""

from __future__ import annotations

import errno
import os
import stat

from fsserver.errors import FsserverError, PermissionDenied
from fsserver.paths.names import display

PERMISSIONS = 0o1777

_NEVER_KEPT = frozenset({"security.capability", "security.ima", "security.evm"})
_NONE_HERE = (errno.ENOTSUP, errno.ENOSYS)


def carry_over(old: int, status: os.stat_result, new: int, shown: str) -> None:
    """Give the new file the old one's metadata.

    Args:
        old: descriptor of the old file, O_PATH will do.
        status: its stat.
        new: descriptor of the new file, which belongs to this process alone so far.

    Raises:
        PermissionDenied: something cannot be kept. The old file is as it was.
    """
    try:
        mine = os.fstat(new)
        if (mine.st_uid, mine.st_gid) != (status.st_uid, status.st_gid):
            os.fchown(new, status.st_uid, status.st_gid)
    except OSError:
        raise _not_kept("owner and group", shown) from None
    try:
        os.fchmod(new, status.st_mode & PERMISSIONS)
    except OSError:
        raise _not_kept("permissions", shown) from None
    _carry_attributes(f"/proc/self/fd/{old}", new, shown)
    mine = os.fstat(new)
    same = (mine.st_uid, mine.st_gid, mine.st_mode) == (
        status.st_uid,
        status.st_gid,
        stat.S_IFREG | (status.st_mode & PERMISSIONS),
    )
    if not same:
        raise _not_kept("owner, group and permissions", shown)


def take_parents_owner(new: int, parent: int) -> None:
    """A new file or directory made by root belongs to whom its directory belongs to. Raises ``OSError``."""
    if os.geteuid() != 0:
        return
    above = os.fstat(parent)
    mine = os.fstat(new)
    if mine.st_uid == 0 and (above.st_uid, above.st_gid) != (mine.st_uid, mine.st_gid):
        os.fchown(new, above.st_uid, above.st_gid)


def drop_special_bits(new: int) -> None:
    """No file of ours begins with setuid or setgid. Raises ``OSError``."""
    mode = os.fstat(new).st_mode
    if mode & (stat.S_ISUID | stat.S_ISGID):
        os.fchmod(new, mode & PERMISSIONS)


def _carry_attributes(old: str, new: int, shown: str) -> None:
    try:
        wanted = _names(old) - _NEVER_KEPT
        surplus = _names(new) - wanted - _NEVER_KEPT
    except OSError:
        raise _not_kept("attributes", shown) from None
    for name in sorted(surplus):  # such as a list inherited from the directory
        try:
            os.removexattr(new, name)
        except OSError:
            raise _not_kept(f"absence of the attribute {display(name)}", shown) from None
    for name in sorted(wanted):
        try:
            value = os.getxattr(old, name)
            if _value(new, name) != value:
                os.setxattr(new, name, value)
        except OSError:
            raise _not_kept(f"attribute {display(name)}", shown) from None


def _names(file: str | int) -> set[str]:
    try:
        return set(os.listxattr(file))
    except OSError as error:
        if error.errno in _NONE_HERE:
            return set()
        raise


def _value(file: int, name: str) -> bytes | None:
    try:
        return os.getxattr(file, name)
    except OSError:
        return None


def _not_kept(what: str, shown: str) -> FsserverError:
    return PermissionDenied(
        f"The file's {what} cannot be kept in a new version of it, so nothing was changed: {display(shown)}"
    )
