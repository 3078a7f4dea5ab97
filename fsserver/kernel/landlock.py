"""Landlock's three system calls and its constants. Sources: landlock(7), landlock_create_ruleset(2),
landlock_add_rule(2), landlock_restrict_self(2), <linux/landlock.h>.
"""

from __future__ import annotations

import errno
import struct
from enum import IntFlag

from fsserver.kernel import libc

# The same numbers on every architecture that Linux gained since 2011, x86_64 and aarch64 among them.
SYS_LANDLOCK_CREATE_RULESET = 444
SYS_LANDLOCK_ADD_RULE = 445
SYS_LANDLOCK_RESTRICT_SELF = 446

LANDLOCK_CREATE_RULESET_VERSION = 1 << 0
LANDLOCK_RULE_PATH_BENEATH = 1
LANDLOCK_RULE_NET_PORT = 2


class AccessFs(IntFlag):
    """``LANDLOCK_ACCESS_FS_*``. The comment is the first ABI that has the right."""

    EXECUTE = 1 << 0  # 1
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13  # 2, Linux 5.19
    TRUNCATE = 1 << 14  # 3, Linux 6.2
    IOCTL_DEV = 1 << 15  # 5, Linux 6.10
    RESOLVE_UNIX = 1 << 16  # 9, Linux 7.1


# The rights that a rule on something other than a directory may hold; others are EINVAL.
FILE_RIGHTS = AccessFs.EXECUTE | AccessFs.WRITE_FILE | AccessFs.READ_FILE | AccessFs.TRUNCATE | AccessFs.IOCTL_DEV


class AccessNet(IntFlag):
    """``LANDLOCK_ACCESS_NET_*``, ABI 4, Linux 6.7."""

    BIND_TCP = 1 << 0
    CONNECT_TCP = 1 << 1


class Scope(IntFlag):
    """``LANDLOCK_SCOPE_*``, ABI 6, Linux 6.12."""

    ABSTRACT_UNIX_SOCKET = 1 << 0
    SIGNAL = 1 << 1


def abi() -> int:
    """The kernel's Landlock ABI version, 0 if there is none or a filter hides it."""
    try:
        return libc.syscall(SYS_LANDLOCK_CREATE_RULESET, None, 0, LANDLOCK_CREATE_RULESET_VERSION)
    except OSError as error:
        # ENOSYS: not built in. EOPNOTSUPP: not enabled at boot. EPERM, EACCES: hidden by an outer sandbox.
        if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EACCES):
            return 0
        raise


def create_ruleset(fs: AccessFs, net: AccessNet, scoped: Scope) -> int:
    """A descriptor of a ruleset that handles, so denies by default, all these rights.

    A field that an older kernel does not know may be passed as long as it is 0. Raises `OSError`.
    """
    attributes = struct.pack("=QQQ", fs, net, scoped)
    return libc.syscall(SYS_LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)


def allow_beneath(ruleset: int, directory: int, access: int) -> None:
    """Allow ``access``, of `AccessFs`, on the object that ``directory`` (O_PATH will do) names and all beneath it.

    The rule holds on to the object, not to a name. Raises `OSError`: EINVAL for a right that the ruleset does not
    handle or that a file cannot have, ENOMSG for no right at all.
    """
    attributes = struct.pack("=Qi", access, directory)
    libc.syscall(SYS_LANDLOCK_ADD_RULE, ruleset, LANDLOCK_RULE_PATH_BENEATH, attributes, 0)


def allow_connect(ruleset: int, port: int) -> None:
    """Allow TCP connections to ``port``, at any address. Raises `OSError`: EINVAL where the ruleset does not handle
    them.
    """
    attributes = struct.pack("=QQ", AccessNet.CONNECT_TCP, port)
    libc.syscall(SYS_LANDLOCK_ADD_RULE, ruleset, LANDLOCK_RULE_NET_PORT, attributes, 0)


def restrict_self(ruleset: int) -> None:
    """Put the calling thread, and every thread and process it starts from now on, under the ruleset.

    Needs no_new_privs (or CAP_SYS_ADMIN). Cannot be undone. Raises `OSError`, E2BIG after 16 nested rulesets.
    """
    libc.syscall(SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0)
