"""Mounts by descriptor. Sources: open_tree(2), move_mount(2), mount_setattr(2), mount(2), pivot_root(2), umount(2),
<linux/mount.h>.
"""

from __future__ import annotations

import os
import struct
from enum import IntFlag

from fsserver.kernel import constants as c
from fsserver.kernel import libc
from fsserver.kernel.syscall_numbers import number

# <linux/mount.h>
OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
AT_RECURSIVE = 0x8000
MOVE_MOUNT_F_EMPTY_PATH = 0x4
MOVE_MOUNT_T_EMPTY_PATH = 0x40
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REC = 0x4000
MS_PRIVATE = 1 << 18
MNT_DETACH = 2


class Attribute(IntFlag):
    """``MOUNT_ATTR_*``"""

    RDONLY = 0x01
    NOSUID = 0x02
    NODEV = 0x04
    NOEXEC = 0x08
    IDMAP = 0x100000


def clone_tree(directory: int, path: bytes, *, recursive: bool = True, follow: bool = True) -> int:
    """A descriptor of a detached copy of the mount at ``path``, with what is mounted below it.

    Args:
        path: beneath ``directory``; empty for what the descriptor itself names.
        follow: a link at the end of the path.

    Raises `OSError`: EPERM without CAP_SYS_ADMIN in this mount namespace, EINVAL for a mount of another one.
    """
    flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (0 if path else c.AT_EMPTY_PATH) | (AT_RECURSIVE if recursive else 0)
    return _call("open_tree", directory, path, flags | (0 if follow else c.AT_SYMLINK_NOFOLLOW))


def set_attributes(tree: int, attributes: Attribute, *, user_namespace: int = 0, recursive: bool = True) -> None:
    """Add attributes to the mount that the descriptor ``tree`` names; none is ever removed.

    Args:
        user_namespace: a descriptor of the namespace whose maps `Attribute.IDMAP` applies.

    Raises `OSError`: EINVAL where the file system cannot be mapped.
    """
    block = struct.pack("=QQQQ", attributes, 0, 0, user_namespace)
    flags = c.AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    _call("mount_setattr", tree, b"", flags, block, len(block))


def attach(tree: int, directory: int, path: bytes) -> None:
    """Put a detached mount on ``path`` beneath ``directory``; an empty path is what the descriptor itself names."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | (0 if path else MOVE_MOUNT_T_EMPTY_PATH)
    _call("move_mount", tree, b"", directory, path, flags)


def make_private() -> None:
    """From here on no mount of this namespace is seen in another one, nor the other way round."""
    _call("mount", b"none", b"/", None, MS_REC | MS_PRIVATE, None)


def mount(kind: str, target: str, flags: int, options: str = "") -> None:
    """A new file system of ``kind`` (``tmpfs``, ``proc``) on ``target``. Raises `OSError`."""
    _call("mount", kind.encode(), os.fsencode(target), kind.encode(), flags, options.encode() or None)


def pivot_here() -> None:
    """The current directory, a mount point, becomes the root of this namespace, and what was there is detached."""
    # pivot_root(2): with "." twice the old root lies on the new one, from where it is unmounted by the same name.
    _call("pivot_root", b".", b".")
    _call("umount2", b".", MNT_DETACH)
    os.chdir("/")


def _call(name: str, *arguments: int | bytes | None) -> int:
    return libc.syscall(number(name), *arguments)
