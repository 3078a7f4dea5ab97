"""Renaming onto a name that must be free."""

from __future__ import annotations

import errno
import os
import stat

from fsserver.kernel.constants import RENAME_NOREPLACE
from fsserver.kernel.syscalls import renameat2

# What file systems and kernels without the flag answer. EINVAL also means a directory moved into itself.
_NO_FLAG = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP})


def rename_no_replace(old_directory: int, old: str, new_directory: int, new: str) -> None:
    """Rename, unless ``new`` exists.

    Raises:
        FileExistsError: it does; nothing has changed.
        OSError: as rename(2).
    """
    try:
        renameat2(old_directory, os.fsencode(old), new_directory, os.fsencode(new), RENAME_NOREPLACE)
    except OSError as error:
        if error.errno not in _NO_FLAG:
            raise OSError(error.errno, "rename") from None
        _without_flag(old_directory, old, new_directory, new)


def _without_flag(old_directory: int, old: str, new_directory: int, new: str) -> None:
    """link(2) fails where the name exists. Directories have no links; rename(2) itself replaces an empty one only."""
    status = os.stat(old, dir_fd=old_directory, follow_symlinks=False)
    if not stat.S_ISDIR(status.st_mode):
        os.link(old, new, src_dir_fd=old_directory, dst_dir_fd=new_directory, follow_symlinks=False)
        os.unlink(old, dir_fd=old_directory)
        return
    try:
        os.stat(new, dir_fd=new_directory, follow_symlinks=False)
    except FileNotFoundError:
        os.rename(old, new, src_dir_fd=old_directory, dst_dir_fd=new_directory)
        return
    raise FileExistsError(errno.EEXIST, "rename")
