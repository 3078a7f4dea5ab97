"""Numbers of the Linux ABI that Python's standard library does not name. Source: the kernel's uapi headers.

Values that Python has on Linux only have a fallback, so that the package imports elsewhere.
"""

from __future__ import annotations

import os

O_PATH = getattr(os, "O_PATH", 0o10000000)
O_CLOEXEC = os.O_CLOEXEC
O_NOFOLLOW = os.O_NOFOLLOW
O_DIRECTORY = os.O_DIRECTORY
O_NONBLOCK = os.O_NONBLOCK
O_NOCTTY = os.O_NOCTTY

# linux/openat2.h
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08

# linux/fs.h
RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
FS_CASEFOLD_FL = 0x40000000
FS_IOC_GETFLAGS = 0x80086601

# linux/fcntl.h, linux/stat.h
AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
AT_EMPTY_PATH = 0x1000
STATX_BTIME = 0x800

# linux/limits.h, linux/namei.h
PATH_MAX = 4096
MAXSYMLINKS = 40

# The same on every architecture, as all system calls since Linux 5.0.
SYS_OPENAT2 = 437

# linux/magic.h
PROC_SUPER_MAGIC = 0x9FA0

# linux/magic.h and the file systems' own sources: those that can only compare names without their case.
FOLDING_FILE_SYSTEMS = frozenset(
    {
        0x4D44,  # vfat
        0x2011BAB0,  # exfat
        0x5346544E,  # ntfs
        0x7366746E,  # ntfs3
        0xFF534D42,  # cifs
        0xFE534D42,  # smb2
        0x786F4256,  # vboxsf
        0x482B,  # hfsplus
        0x01021997,  # 9p, as WSL mounts Windows drives
    }
)
