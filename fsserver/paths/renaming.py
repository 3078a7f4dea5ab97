"""Renaming onto a name that must be free."""

from __future__ import annotations

import errno
import os
import stat

from fsserver.kernel.constants import O_CLOEXEC, O_NOFOLLOW, RENAME_NOREPLACE
from fsserver.kernel.syscalls import renameat2

# What link(2) says where there are no links, as on folders that a host shares with a virtual machine, or none of a file
# of another user (proc_sys_fs(5), protected_hardlinks).
_NO_LINKS = frozenset({errno.EPERM, errno.ENOSYS, errno.ENOTSUP})

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
        try:
            os.link(old, new, src_dir_fd=old_directory, dst_dir_fd=new_directory, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            _onto_our_own(old_directory, old, new_directory, new)
        else:
            os.unlink(old, dir_fd=old_directory)
        return
    try:
        os.stat(new, dir_fd=new_directory, follow_symlinks=False)
    except FileNotFoundError:
        os.rename(old, new, src_dir_fd=old_directory, dst_dir_fd=new_directory)
        return
    raise FileExistsError(errno.EEXIST, "rename")


def _onto_our_own(old_directory: int, old: str, new_directory: int, new: str) -> None:
    """open(2) with O_EXCL fails where the name exists; what is replaced then is the empty file that it made."""
    os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600, dir_fd=new_directory))
    try:
        os.rename(old, new, src_dir_fd=old_directory, dst_dir_fd=new_directory)
    except BaseException:
        os.unlink(new, dir_fd=new_directory)
        raise
