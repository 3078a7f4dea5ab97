"""The system call filter of commands, as data. Pure.

*Trust.* A command is hostile code. It makes any call with any arguments; see `fsserver.sandbox.seccomp`.

*Invariant.* No namespace, mount or handle leads out of what was granted, no other process is traced or read, no socket
reaches a process of the host by a path or an abstract name, no limit or priority of a process outside the command is
changed, its supervisor's included, and the kernel's wide surfaces stay closed. No file becomes
set-user-ID or set-group-ID: in a root it would run as the root's owner for whoever on the host starts it.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from fsserver.kernel import seccomp
from fsserver.kernel.seccomp import Instruction
from fsserver.kernel.syscall_numbers import numbers
from fsserver.sandbox.seccomp import (
    ALLOW,
    CLONE3,
    CLONE_NAMESPACES,
    DENIED,
    ENOSYS,
    EPERM,
    assemble,
    low,
    only_if_in,
    pairs_of,
    unless_in,
)

# What a command has no use for, by the names of `DENIED`.
_GROUPS: Final = ("memory of others", "mounts", "files by handle", "the kernel's wide surfaces", "the machine")
# Single calls of the other groups: joining a namespace, a descriptor out of another process, watching whole mounts, and
# what two of `_IOCTLS` do.
_CALLS: Final = ("uselib", "setns", "unshare", "pidfd_getfd", "fanotify_init", "fanotify_mark", "file_setattr")
# System V objects and POSIX queues are shared by all of a user's processes where there is no namespace for them.
_SHARED: Final = "shared memory and queues"
# Of DENIED's groups, calls that ordinary programs make of themselves, and that reach nobody else in a cell.
_NEEDED: Final = frozenset({"process_madvise"})

# ioctl(2): TIOCSTI and TIOCLINUX put characters into a terminal's input, TIOCSETD loads drivers of lines;
# FS_IOC_SETFLAGS and FS_IOC_FSSETXATTR change how a directory of a root compares names, and make files immutable.
_IOCTLS: Final = (0x5412, 0x541C, 0x5423, 0x40086602, 0x401C5820)
# Of subvolumes: BTRFS_IOC_SNAP_CREATE, its _V2 and BCH_IOCTL_SUBVOLUME_CREATE copy one without what is mounted over
# names in it; BTRFS_IOC_SNAP_DESTROY, its _V2 and BCH_IOCTL_SUBVOLUME_DESTROY remove one with them;
# BTRFS_IOC_SUBVOL_SETFLAGS makes a root read-only for everybody.
_OF_SUBVOLUMES: Final = (0x50009401, 0x50009417, 0x4020BC10, 0x5000940F, 0x5000943F, 0x4020BC11, 0x4008941A)
# chmod(2), open(2): a mode with S_ISUID or S_ISGID.
_SET_ID: Final = 0o6000
# open(2): O_CREAT and the bit of its own of O_TMPFILE. Without them it does not look at the mode.
_MAKES: Final = 0o100 | 0o20000000
NETLINK_ROUTE: Final = 0  # <linux/netlink.h>; the resolver asks it which addresses there are

# Calls that set a mode, and the number of the argument that it is.
CHANGES_OF_MODE: Final[Mapping[str, int]] = MappingProxyType({"chmod": 1, "fchmod": 1, "fchmodat": 2, "fchmodat2": 2})

# Calls that make a file: the numbers of the argument with flags, if there is one, and of that with the mode.
# The kernel takes S_ISUID away with the first byte that is written, but S_ISGID only where the group may execute the
# file. An access list lets it do so later, by setxattr(2), of which a filter does not see what it is about.
MAKES_FILES: Final[Mapping[str, tuple[int | None, int]]] = MappingProxyType(
    {"open": (1, 2), "openat": (2, 3), "creat": (None, 1), "mknod": (None, 1), "mknodat": (None, 2)}
)
# openat2(2) has its mode behind a pointer. Programs go on with openat, as on Linux before 5.6.
UNSEEN_MODE: Final = "openat2"

# prlimit(2) and what sets a priority ask only whether the user is the same: neither Landlock's scope nor "not dumpable"
# keeps them from others. A limit of no open files blinds whoever looks after this command, one of no CPU time kills.
# The number of the argument that is a process or a thread; 0 is the caller. `nice` and threads that choose their own
# processors go on working where there is a PID namespace.
_OF_ONE: Final = ("sched_setaffinity", "sched_setscheduler", "sched_setparam", "sched_setattr")
# These take a kind first, and one kind is all processes of a user: PRIO_USER, IOPRIO_WHO_USER.
_OF_MANY: Final[Mapping[str, int]] = MappingProxyType({"setpriority": 2, "ioprio_set": 3})
_SUPERVISOR: Final = 1

_NO_FAMILY: Instruction = (seccomp.RETURN, 0, 0, seccomp.SECCOMP_RET_ERRNO | errno.EAFNOSUPPORT)


def command_filter(
    machine: str, *, internet: bool, unix_sockets: bool, own_namespaces: bool, makes_files: bool = True
) -> tuple[Instruction, ...]:
    """The filter of a command on ``machine``. KeyError: unknown machine.

    Args:
        internet: sockets of AF_INET and AF_INET6 may be made: the command has a network namespace of its own, or the
            policy grants it the network.
        own_namespaces: it has a namespace for System V objects and POSIX queues, and one of processes, where the
            supervisor is the first.
        makes_files: False where it is fsserver's own and makes none: then nothing is asked of what it opens.
    """
    groups = _GROUPS if own_namespaces else (*_GROUPS, _SHARED)
    denied = [name for group in groups for name in DENIED[group].split() if name not in _NEEDED]
    by_argument: dict[str, Sequence[Instruction]] = {
        "clone3": CLONE3,
        "clone": [low(0), (seccomp.JUMP_ANY_BIT, 0, 1, CLONE_NAMESPACES), EPERM, ALLOW],
        "ioctl": [low(1), *unless_in((*_IOCTLS, *_OF_SUBVOLUMES))],
        "socket": _sockets(internet=internet, unix_sockets=unix_sockets),
    }
    by_argument |= {name: _no_set_id(mode) for name, mode in CHANGES_OF_MODE.items() if name in numbers(machine)}
    if makes_files:
        table = numbers(machine)
        by_argument |= {name: _made_no_set_id(*at) for name, at in MAKES_FILES.items() if name in table}
        by_argument[UNSEEN_MODE] = [ENOSYS]
    by_argument["prlimit64"] = [low(0), *only_if_in((0,))]
    others = unless_in((_SUPERVISOR,)) if own_namespaces else only_if_in((0,))
    by_argument |= {name: [low(0), *others] for name in _OF_ONE if name in numbers(machine)}
    by_argument |= {
        name: [low(0), (seccomp.JUMP_EQUAL, 0, 1, user), EPERM, low(1), *others] for name, user in _OF_MANY.items()
    }
    if not unix_sockets:
        # Rust's library makes a pair of SOCK_SEQPACKET to start a program. It is connected as streams are, unix(7).
        by_argument["socketpair"] = pairs_of(socket.SOCK_STREAM, socket.SOCK_SEQPACKET)
    return assemble(machine, by_argument, (*denied, *_CALLS))


def _no_set_id(mode: int) -> list[Instruction]:
    return [low(mode), (seccomp.JUMP_ANY_BIT, 0, 1, _SET_ID), EPERM, ALLOW]


def _made_no_set_id(flags: int | None, mode: int) -> list[Instruction]:
    if flags is None:
        return _no_set_id(mode)
    return [low(flags), (seccomp.JUMP_ANY_BIT, 1, 0, _MAKES), ALLOW, *_no_set_id(mode)]


def _sockets(*, internet: bool, unix_sockets: bool) -> list[Instruction]:
    """By family. One that is not listed, such as AF_VSOCK, knows no network namespace or is a wide surface."""
    families = [socket.AF_INET, socket.AF_INET6] if internet else []
    if unix_sockets:
        families.append(socket.AF_UNIX)
    block: list[Instruction] = [low(0)]
    for family in families:
        block += [(seccomp.JUMP_EQUAL, 0, 1, family), ALLOW]
    block += [(seccomp.JUMP_EQUAL, 0, 1, socket.AF_UNIX), EPERM]
    if internet:
        block += [
            (seccomp.JUMP_EQUAL, 0, 3, socket.AF_NETLINK),
            low(2),
            (seccomp.JUMP_EQUAL, 0, 1, NETLINK_ROUTE),
            ALLOW,
        ]
    else:
        block += [(seccomp.JUMP_EQUAL, 0, 1, socket.AF_INET), EPERM, (seccomp.JUMP_EQUAL, 0, 1, socket.AF_INET6), EPERM]
    return [*block, _NO_FAMILY]
