"""Namespaces: a child in new ones, its user and group, its loopback. Sources: clone(2), user_namespaces(7),
netdevice(7).
"""

from __future__ import annotations

import fcntl
import os
import struct
from enum import IntFlag

from fsserver.kernel import libc
from fsserver.kernel.syscall_numbers import number

SIGCHLD = 17

# socket(2), on every architecture of `MACHINES`; Python's sockets are more than is needed here.
AF_INET = 2
SOCK_DGRAM = 2

# netdevice(7), <linux/sockios.h>, <linux/if.h>
SIOCSIFFLAGS = 0x8914
IFF_UP = 0x1


class Namespace(IntFlag):
    """``CLONE_NEW*`` of clone(2)."""

    MOUNT = 0x00020000
    CGROUP = 0x02000000
    UTS = 0x04000000
    IPC = 0x08000000
    USER = 0x10000000
    PID = 0x20000000
    NET = 0x40000000


def fork_into(namespaces: Namespace) -> int:
    """As os.fork, with the child in new namespaces. For processes without threads: no fork handler runs.

    Raises `OSError`: EPERM, ENOSPC (a limit in /proc/sys/user is reached), EUSERS.
    """
    return libc.syscall(number("clone"), int(namespaces) | SIGCHLD, 0, 0, 0, 0)


def leave(namespaces: Namespace) -> None:
    """This process goes on in new namespaces; not of the PID kind, which only a child would be in. Raises `OSError`."""
    libc.syscall(number("unshare"), namespaces)


def map_user(process: str, inside: tuple[int, int], outside: tuple[int, int], *, keep_groups: bool) -> None:
    """Give a process's new user namespace its one user and one group.

    Args:
        process: its name in /proc: a number, or ``self``.
        inside, outside: (user id, group id) in the namespace and in its parent's.
        keep_groups: leave setgroups(2) allowed. Only a privileged writer may; the others must have it forbidden.

    Raises `OSError`: EPERM if this is not for the writer to map.
    """
    if not keep_groups:
        _write(f"/proc/{process}/setgroups", "deny")
    _write(f"/proc/{process}/uid_map", f"{inside[0]} {outside[0]} 1")
    _write(f"/proc/{process}/gid_map", f"{inside[1]} {outside[1]} 1")


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())  # the kernel takes a map in one write only
    finally:
        os.close(descriptor)


def raise_loopback() -> None:
    """Bring ``lo`` of this network namespace up. Needs CAP_NET_ADMIN there. Raises `OSError`."""
    request = struct.pack("16sh", b"lo", IFF_UP).ljust(40, b"\0")
    any_socket = libc.syscall(number("socket"), AF_INET, SOCK_DGRAM, 0)
    try:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, request)
    finally:
        os.close(any_socket)
