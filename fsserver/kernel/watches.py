"""Being told in which directories names came or went. Sources: inotify(7), <linux/inotify.h>, <linux/magic.h>.

The kernel puts an event into the queue within the system call that changed the directory, before that call returns. It
watches the directory itself, whatever name, mount or mount namespace it was changed through.
"""

from __future__ import annotations

import ctypes
import os
import struct
from contextlib import suppress
from typing import Final

from fsserver.kernel.syscalls import file_system

IN_MOVED_FROM: Final = 0x40
IN_MOVED_TO: Final = 0x80
IN_CREATE: Final = 0x100
IN_DELETE: Final = 0x200
IN_ONLYDIR: Final = 0x01000000

READ_BYTES: Final = 64 * 1024
MOST_READS: Final = 128
"""More than a full queue takes with the kernel's defaults. Others may fill it as fast as it is read."""

# Every name that comes, goes or is replaced. Of the end of the directory itself the kernel tells unasked. All of these
# are events of the directory: with one that its entries have, such as IN_ATTRIB, each read of a file in it would cost.
_CHANGES: Final = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ONLYDIR

# File systems that only this kernel changes, each time with an event: ext2 to ext4, XFS, btrfs, F2FS, tmpfs. In others
# a server, a process or another layer may change a directory without any.
_TOLD: Final = frozenset({0xEF53, 0x58465342, 0x9123683E, 0xF2F52010, 0x01021994})

_EVENT: Final = struct.Struct("iIII")  # struct inotify_event without the name: watch, mask, cookie, bytes of the name

_libc = ctypes.CDLL(None, use_errno=True)


class Watches:
    """A queue of events and the directories that are watched for it.

    Raises ``OSError``: this user has as many queues as are allowed, or the kernel has none.
    """

    def __init__(self) -> None:
        self._descriptor = _checked(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))

    def add(self, directory: int) -> int:
        """Watch what the descriptor leads to. Returns its number: the same one as long as it is watched.

        Raises ``OSError``: EACCES if this user may not read it, ENOSPC at the limit of watches, ENOENT without /proc.
        """
        return _checked(_libc.inotify_add_watch(self._descriptor, b"/proc/self/fd/%d" % directory, _CHANGES))

    def remove(self, number: int) -> None:
        """Watch it no more. Nothing if the kernel gave it up, as it does when the directory is gone."""
        _libc.inotify_rm_watch(self._descriptor, number)

    def changed(self) -> set[int] | None:
        """The numbers of those in which names came or went since this was asked last; None if it may be any of them."""
        numbers: set[int] = set()
        with suppress(BlockingIOError):
            for _ in range(MOST_READS):
                events = os.read(self._descriptor, READ_BYTES)
                offset = 0
                while offset < len(events):
                    number, _, _, length = _EVENT.unpack_from(events, offset)
                    offset += _EVENT.size + length
                    numbers.add(number)
            return None
        return None if -1 in numbers else numbers  # IN_Q_OVERFLOW is of no directory

    def close(self) -> None:
        os.close(self._descriptor)


def is_told(descriptor: int) -> bool:
    """Whether a directory of this file system does not change without an event. Raises ``OSError``."""
    return file_system(descriptor).magic in _TOLD


def most() -> int:
    """How many directories this user's processes may watch together; 0 if that is not known."""
    try:
        with open("/proc/sys/fs/inotify/max_user_watches", "rb") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 0


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
