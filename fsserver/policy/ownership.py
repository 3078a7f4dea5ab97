"""Who can write to the policy file. Whoever can decides what the server grants.

With umask 002, the default where each user has a group of the same name (Debian, Ubuntu, Fedora), every new file is
writable for its group. Such a file is still its owner's alone if nobody else is in that group. Everything that cannot
be known counts as somebody else: a group that the databases do not list whole, an access control list.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Sequence
from typing import Protocol

# acl(5): with one, the permission bits of the group are those of the mask, so they do not say who may write.
_ACL = "system.posix_acl_access"


class User(Protocol):
    """What is needed of `pwd.struct_passwd`."""

    @property
    def pw_name(self) -> str: ...
    @property
    def pw_uid(self) -> int: ...
    @property
    def pw_gid(self) -> int: ...


class Group(Protocol):
    """What is needed of `grp.struct_group`."""

    @property
    def gr_name(self) -> str: ...
    @property
    def gr_gid(self) -> int: ...
    @property
    def gr_mem(self) -> Sequence[str]: ...


def others_can_write(descriptor: int, found: os.stat_result, uid: int) -> bool:
    """Whether anybody but the owner of the open file, root and ``uid`` may write to it. ``found``: its fstat(2)."""
    if found.st_mode & stat.S_IWOTH:
        return True
    if not found.st_mode & stat.S_IWGRP:
        return False
    return found.st_uid != uid or _has_access_list(descriptor) or not _is_private(found.st_gid, uid)


def is_private_group(group: Group, user: User, everybody: Iterable[User]) -> bool:
    """Whether ``group`` is ``user``'s own: the primary group, of the same name, and nobody else's in any way.

    The name is asked for because a directory service may not list its users: then nobody would seem to share a group
    such as ``users``.
    """
    return (
        group.gr_gid == user.pw_gid
        and group.gr_name == user.pw_name
        and set(group.gr_mem) <= {user.pw_name}
        and all(other.pw_uid == user.pw_uid for other in everybody if other.pw_gid == group.gr_gid)
    )


def _is_private(gid: int, uid: int) -> bool:
    import grp  # noqa: PLC0415 - only for a file that its group may write
    import pwd  # noqa: PLC0415

    try:
        return is_private_group(grp.getgrgid(gid), pwd.getpwuid(uid), pwd.getpwall())
    except (KeyError, OSError):
        return False


def _has_access_list(descriptor: int) -> bool:
    try:
        os.getxattr(descriptor, _ACL)
    except OSError as error:
        return error.errno not in (errno.ENODATA, errno.EOPNOTSUPP)
    return True
