"""File systems that a test makes for itself and that end with its process: small, read-only, or on a failing disk."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import require_kernel

_READ_ONLY, _REMOUNT, _BIND = 0x1, 0x20, 0x1000  # <linux/mount.h>


def own_mounts() -> ctypes.CDLL:
    """A mount namespace of this process, which also needs a user namespace where it is not root; the C library."""
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.geteuid(), os.getegid()
    new_user, new_mount = 0x10000000, 0x00020000  # <linux/sched.h>
    if libc.unshare(new_mount if uid == 0 else new_user | new_mount):
        require_kernel(f"no mount namespace: {os.strerror(ctypes.get_errno())}")
    if uid != 0:  # or the kernel has no owner to write to the new files
        for name, text in {"setgroups": "deny", "uid_map": f"{uid} {uid} 1", "gid_map": f"{gid} {gid} 1"}.items():
            Path(f"/proc/self/{name}").write_text(text)
    private_recursive = 0x4000 | 0x40000  # MS_REC | MS_PRIVATE, <linux/mount.h>
    libc.mount(b"none", b"/", None, private_recursive, None)
    return libc


def mount_small_tmpfs(place: Path) -> None:
    """128 KiB, in mounts of this process's own."""
    libc = own_mounts()
    if libc.mount(b"tmpfs", os.fsencode(place), b"tmpfs", 0, b"size=128k,mode=0700"):
        require_kernel(f"no tmpfs: {os.strerror(ctypes.get_errno())}")


def make_read_only(place: Path) -> None:
    """Cover a directory by itself, read-only, in mounts of this process's own."""
    libc = own_mounts()
    covered = os.fsencode(place)
    if libc.mount(covered, covered, None, _BIND, None) or libc.mount(
        None, covered, None, _BIND | _REMOUNT | _READ_ONLY, None
    ):
        require_kernel(f"no read-only mount: {os.strerror(ctypes.get_errno())}")


def show_twice(place: Path, also: Path) -> None:
    """Cover a directory by another one, in mounts of this process's own."""
    libc = own_mounts()
    if libc.mount(os.fsencode(place), os.fsencode(also), None, _BIND, None):
        require_kernel(f"no mount: {os.strerror(ctypes.get_errno())}")


class FailingDisk:
    """A file system whose disk is a file on a small tmpfs: when that is full, what was written cannot be put there, and
    the kernel says so in fdatasync(2), once. Needs root; in mounts of this process's own, with all that ends there.
    """

    def __init__(self, base: Path) -> None:
        """``base``: a directory; `place` in it is where the file system is."""
        if os.geteuid() != 0:
            pytest.skip("only root can make a loop device")
        if not all(map(shutil.which, ("mkfs.ext2", "mount", "umount"))):
            require_kernel("a loop device needs mkfs.ext2 and mount")
        libc = own_mounts()
        self.place = base / "disk"
        self._image, self._ballast = base / "under/image", base / "under/ballast"
        for each in (self.place, self._image.parent):
            each.mkdir(mode=0o700)
        if libc.mount(b"tmpfs", os.fsencode(self._image.parent), b"tmpfs", 0, b"size=2m"):
            require_kernel(f"no tmpfs: {os.strerror(ctypes.get_errno())}")
        with self._image.open("wb") as file:
            file.truncate(16 * 1024**2)
        subprocess.run(["mkfs.ext2", "-q", "-F", self._image], check=True, timeout=60)
        self._mount()

    def fail(self) -> None:
        """From now on the disk takes nothing that it has no place for yet."""
        with self._ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"\0" * 4096)
            except OSError:
                return

    def work(self) -> None:
        self._ballast.unlink()

    def mount_again(self) -> None:
        """What is there now is what the disk has. No file may be open."""
        subprocess.run(["umount", self.place], check=True, timeout=60)
        self._mount()

    def _mount(self) -> None:
        mounted = subprocess.run(
            ["mount", "-o", "loop", self._image, self.place], capture_output=True, text=True, timeout=60, check=False
        )
        if mounted.returncode:
            require_kernel(f"no loop device: {mounted.stderr.strip()}")
        self.place.chmod(0o700)
