"""Our own system calls against a real kernel: exact errnos, and nothing left open."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from fsserver.kernel import constants as c
from fsserver.kernel import syscalls
from tests.support import in_child, require_kernel
from tests.trees import build

TREE = [
    "file root/file text",
    "dir root/dir",
    "link root/in -> file",
    "link root/abs -> {base}/root/file",
    "link root/out -> ../outside",
    "link root/outback -> ../root/file",
    "link root/loop -> loop",
    "link root/proc -> /proc/self/root",
    "file outside x",
]
BENEATH = c.RESOLVE_BENEATH | c.RESOLVE_NO_MAGICLINKS

OPENS: list[tuple[str, bytes, int, int, int | None]] = [
    ("file", b"file", c.O_PATH, BENEATH, None),
    ("dot", b".", c.O_PATH, BENEATH, None),
    ("link", b"in", c.O_PATH, BENEATH, None),
    ("link_itself", b"out", c.O_PATH | c.O_NOFOLLOW, BENEATH, None),
    ("inside_dotdot", b"dir/../file", c.O_PATH, BENEATH, None),
    ("missing", b"no", c.O_PATH, BENEATH, errno.ENOENT),
    ("missing_then_up", b"no/../../outside", c.O_PATH, BENEATH, errno.ENOENT),
    ("below_file", b"file/x", c.O_PATH, BENEATH, errno.ENOTDIR),
    ("above", b"..", c.O_PATH, BENEATH, errno.EXDEV),
    ("above_and_back", b"../root/file", c.O_PATH, BENEATH, errno.EXDEV),
    ("absolute", b"/etc/passwd", c.O_PATH, BENEATH, errno.EXDEV),
    ("link_out", b"out", c.O_PATH, BENEATH, errno.EXDEV),
    ("link_out_and_back", b"outback", c.O_PATH, BENEATH, errno.EXDEV),
    ("absolute_link_inside", b"abs", c.O_PATH, BENEATH, errno.EXDEV),
    ("link_to_magic", b"proc", c.O_PATH, BENEATH, errno.EXDEV),
    ("loop", b"loop", c.O_PATH, BENEATH, errno.ELOOP),
    ("no_links_at_all", b"in", c.O_PATH, BENEATH | c.RESOLVE_NO_SYMLINKS, errno.ELOOP),
    ("long_name", b"x" * 256, c.O_PATH, BENEATH, errno.ENAMETOOLONG),
    ("long_path", b"x/" * 2100, c.O_PATH, BENEATH, errno.ENAMETOOLONG),
    ("empty", b"", c.O_PATH, BENEATH, errno.ENOENT),
    ("nul", b"file\0/../..", c.O_PATH, BENEATH, errno.EINVAL),
    ("unknown_resolve_flag", b"file", c.O_PATH, 1 << 40, errno.EINVAL),
]


@pytest.mark.parametrize(
    ("path", "flags", "resolve", "error"), [row[1:] for row in OPENS], ids=[row[0] for row in OPENS]
)
def test_openat2_has_this_outcome(path: bytes, flags: int, resolve: int, error: int | None, tmp_path: Path) -> None:
    build(tmp_path, TREE)
    root = os.open(tmp_path / "root", c.O_PATH | os.O_DIRECTORY)
    before = set(os.listdir("/proc/self/fd"))
    try:
        number = _open(root, path, syscalls.open_how(flags, resolve))
        if number == errno.ENOSYS:
            require_kernel("openat2(2)")
        assert number == error
        assert set(os.listdir("/proc/self/fd")) == before
    finally:
        os.close(root)


def _open(root: int, path: bytes, how: syscalls.OpenHow) -> int | None:
    """The errno, None for success."""
    try:
        descriptor = syscalls.openat2(root, path, how)
    except OSError as failure:
        return failure.errno
    inheritable = os.get_inheritable(descriptor)
    os.close(descriptor)
    assert not inheritable
    return None


RENAMES: list[tuple[str, bytes, bytes, int, int | None, Sequence[str]]] = [
    ("free", b"a", b"c", c.RENAME_NOREPLACE, None, ["b", "c"]),
    ("taken", b"a", b"b", c.RENAME_NOREPLACE, errno.EEXIST, ["a", "b"]),
    ("exchange", b"a", b"b", c.RENAME_EXCHANGE, None, ["a", "b"]),
    ("exchange_with_nothing", b"a", b"c", c.RENAME_EXCHANGE, errno.ENOENT, ["a", "b"]),
    ("nul", b"a\0", b"c", c.RENAME_NOREPLACE, errno.EINVAL, ["a", "b"]),
    ("contradiction", b"a", b"b", c.RENAME_NOREPLACE | c.RENAME_EXCHANGE, errno.EINVAL, ["a", "b"]),
]


@pytest.mark.parametrize(
    ("old", "new", "flags", "error", "left"), [r[1:] for r in RENAMES], ids=[r[0] for r in RENAMES]
)
def test_renameat2_has_this_outcome(
    old: bytes, new: bytes, flags: int, error: int | None, left: Sequence[str], tmp_path: Path
) -> None:
    build(tmp_path, ["file a A", "file b B"])
    directory = os.open(tmp_path, c.O_PATH | os.O_DIRECTORY)
    try:
        if error is None:
            syscalls.renameat2(directory, old, directory, new, flags)
        else:
            with pytest.raises(OSError) as raised:  # noqa: PT011 - the errno is what is asserted
                syscalls.renameat2(directory, old, directory, new, flags)
            assert raised.value.errno == error
    finally:
        os.close(directory)
    assert sorted(os.listdir(tmp_path)) == left
    if flags == c.RENAME_EXCHANGE and error is None:
        assert (tmp_path / "a").read_text() == "B"


def test_birth_time_is_that_of_creation_and_not_of_change(tmp_path: Path) -> None:
    before = time.time_ns()
    (tmp_path / "f").write_text("x")
    os.utime(tmp_path / "f", (1, 1))
    descriptor = os.open(tmp_path / "f", c.O_PATH)
    try:
        born = syscalls.birth_time_ns(descriptor)
    finally:
        os.close(descriptor)
    if born is None:
        require_kernel("a file system that records birth times")
    assert before - 50_000_000 <= born <= time.time_ns()


def test_file_system_of_proc_is_known_by_its_magic() -> None:
    descriptor = os.open("/proc/self", c.O_PATH)
    try:
        assert syscalls.file_system(descriptor).magic == c.PROC_SUPER_MAGIC
    finally:
        os.close(descriptor)
    with pytest.raises(OSError, match="fstatfs"):
        syscalls.file_system(-1)


def test_descriptor_path_follows_renames_and_marks_removed_names(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    descriptor = os.open(tmp_path / "a", c.O_PATH)
    try:
        assert syscalls.descriptor_path(descriptor) == f"{tmp_path}/a"
        os.rename(tmp_path / "a", tmp_path / "b\n")
        assert syscalls.descriptor_path(descriptor) == f"{tmp_path}/b\n"
        os.unlink(tmp_path / "b\n")
        assert syscalls.descriptor_path(descriptor) == f"{tmp_path}/b\n (deleted)"
    finally:
        os.close(descriptor)


def test_descriptor_path_works_for_an_unprivileged_process_that_is_not_dumpable(open_tmp_path: Path) -> None:
    import ctypes  # noqa: PLC0415 - only here

    (open_tmp_path / "f").write_text("x")

    def look() -> tuple[str, bytes]:
        assert ctypes.CDLL(None).prctl(4, 0, 0, 0, 0) == 0  # PR_SET_DUMPABLE
        descriptor = os.open(open_tmp_path / "f", c.O_PATH)
        reopened = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY)
        return syscalls.descriptor_path(descriptor), os.read(reopened, 10)

    assert in_child(look, unprivileged=True) == (f"{open_tmp_path}/f", b"x")
