"""Writing: atomic, by name, with everything kept that a file has besides its contents."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import stat
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fsserver.errors import (
    AlreadyExists,
    ConsentDenied,
    FileTooLarge,
    FsserverError,
    IsADirectory,
    NoSpace,
    PermissionDenied,
    QuotaExceeded,
    ReadOnlyName,
    StaleWrite,
    UnstablePath,
)
from fsserver.paths import metadata, moving, reading, renaming, writing
from fsserver.paths.quota import Room, check_quota
from fsserver.paths.target import Target
from fsserver.paths.workspace import Access, ClientPath, Workspace
from fsserver.policy.compiled import Action, Effect, Mode
from tests.support import in_child, require_kernel
from tests.trees import build, needs_root, rules, snapshot, workspace


def put(work: Workspace, path: str, data: bytes, access: Access = Access.WRITE) -> os.stat_result:
    with work.target(ClientPath(path), access) as target:
        return writing.write_file(target, data)


def left_over(directory: Path) -> list[str]:
    return [name for name in os.listdir(directory) if name.startswith(".fsserver-")]


def test_new_file_gets_what_umask_leaves(tmp_path: Path) -> None:
    with workspace(rules(tmp_path)) as work:
        old = os.umask(0o027)
        try:
            status = put(work, "new.txt", b"text")
        finally:
            os.umask(old)
    assert (tmp_path / "new.txt").read_bytes() == b"text"
    assert stat.S_IMODE(status.st_mode) == 0o640
    assert status.st_ino == (tmp_path / "new.txt").stat().st_ino
    assert os.listdir(tmp_path) == ["new.txt"]


def test_replaced_file_keeps_mode_and_attributes_and_loses_setuid(tmp_path: Path) -> None:
    file = tmp_path / "tool"
    file.write_bytes(b"old")
    file.chmod(0o6751)
    os.setxattr(file, "user.origin", b"somewhere")
    with workspace(rules(tmp_path)) as work:
        put(work, "tool", b"new")
    assert file.read_bytes() == b"new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o751
    assert os.getxattr(file, "user.origin") == b"somewhere"


# version 2, then entries (tag, permissions, id): owner rw, user 65534 rw, group r, mask rw, other nothing. acl(5).
ACL = bytes.fromhex("0200000001000600ffffffff02000600feff000004000400ffffffff10000600ffffffff20000000ffffffff")


def test_replaced_file_keeps_its_access_list_and_gets_none_from_its_directory(tmp_path: Path) -> None:
    with_list, without = tmp_path / "with", tmp_path / "without"
    with_list.write_bytes(b"old")
    without.write_bytes(b"old")
    try:
        os.setxattr(with_list, "system.posix_acl_access", ACL)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            require_kernel("a file system with access control lists")
        raise
    os.setxattr(tmp_path, "system.posix_acl_default", ACL)
    with workspace(rules(tmp_path)) as work:
        put(work, "with", b"new")
        put(work, "without", b"new")
    assert os.getxattr(with_list, "system.posix_acl_access") == ACL
    assert "system.posix_acl_access" not in os.listxattr(without)
    assert stat.S_IMODE(without.stat().st_mode) == 0o644


@needs_root
def test_owner_that_cannot_be_kept_refuses_the_write(open_tmp_path: Path) -> None:
    file = open_tmp_path / "theirs"
    file.write_bytes(b"old")
    os.chown(file, 1234, 1234)
    file.chmod(0o666)

    def write() -> str:
        with workspace(rules(open_tmp_path)) as work, pytest.raises(PermissionDenied) as raised:
            put(work, "theirs", b"new")
        return raised.value.message

    message = in_child(write, unprivileged=True)
    assert message.startswith("The file's owner and group cannot be kept")
    assert file.read_bytes() == b"old"
    assert os.listdir(open_tmp_path) == ["theirs"]


@needs_root
def test_owner_is_kept_and_new_files_of_root_belong_to_the_directorys_owner(tmp_path: Path) -> None:
    file = tmp_path / "theirs"
    file.write_bytes(b"old")
    os.chown(file, 1234, 1235)
    os.chown(tmp_path, 2234, 2235)
    with workspace(rules(tmp_path)) as work:
        put(work, "theirs", b"new")
        put(work, "new", b"new")
        with work.target(ClientPath("a/b"), Access.MAKE_DIRECTORY) as target:
            writing.make_directories(target)
    assert (file.stat().st_uid, file.stat().st_gid) == (1234, 1235)
    for name in ("new", "a", "a/b"):
        assert ((tmp_path / name).stat().st_uid, (tmp_path / name).stat().st_gid) == (2234, 2235)


def test_file_without_write_permission_is_not_replaced(open_tmp_path: Path) -> None:
    file = open_tmp_path / "frozen"
    file.write_bytes(b"old")
    file.chmod(0o444)

    def write() -> str:
        with workspace(rules(open_tmp_path)) as work, pytest.raises(PermissionDenied) as raised:
            put(work, "frozen", b"new")
        return raised.value.message

    assert in_child(write, unprivileged=True) == f"EACCES: permission denied, open '{file}'"
    assert file.read_bytes() == b"old"


def test_write_never_goes_through_a_hard_link(tmp_path: Path) -> None:
    build(tmp_path, ["file root/a old", "hard outside = root/a", "hard root/b = root/a"])
    with workspace(rules(tmp_path / "root")) as work:
        put(work, "a", b"new")
        put(work, "b", b"newer", Access.EDIT)
    assert (tmp_path / "outside").read_bytes() == b"old"
    assert (tmp_path / "root/a").read_bytes() == b"new"
    assert (tmp_path / "root/b").read_bytes() == b"newer"


def test_write_through_a_link_replaces_the_file_and_keeps_the_link(tmp_path: Path) -> None:
    build(tmp_path, ["file d/real old", "link l -> d/m", "link d/m -> real"])
    with workspace(rules(tmp_path)) as work:
        put(work, "l", b"new")
    assert (tmp_path / "d/real").read_bytes() == b"new"
    assert (tmp_path / "l").is_symlink()
    assert (tmp_path / "d/m").is_symlink()
    assert not left_over(tmp_path)


@pytest.mark.parametrize("access", [Access.WRITE, Access.CREATE, Access.MAKE_DIRECTORY])
def test_dangling_link_inside_is_not_written_through(access: Access, tmp_path: Path) -> None:
    build(tmp_path, ["link l -> new"])
    with workspace(rules(tmp_path)) as work, pytest.raises(FsserverError) as raised:
        work.target(ClientPath("l"), access)
    assert raised.value.code == ("resource.exists" if access is Access.CREATE else "denied.link_escape")
    assert os.listdir(tmp_path) == ["l"]


def test_stale_write_is_refused_with_nothing_changed(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"old")
    with workspace(rules(tmp_path)) as work, work.target(ClientPath("f"), Access.EDIT) as target:
        _, status = reading.read_all(target, 100)
        file.write_bytes(b"meanwhile")
        with pytest.raises(StaleWrite):
            writing.write_file(target, b"new", expected=reading.Identity.of(status))
    assert file.read_bytes() == b"meanwhile"
    assert os.listdir(tmp_path) == ["f"]


@pytest.mark.parametrize("happens", ["replaced", "removed"])
def test_edit_of_a_file_that_another_writer_replaced_is_stale(happens: str, tmp_path: Path) -> None:
    build(tmp_path, ["file f old", "file g other"])
    with workspace(rules(tmp_path)) as work, work.target(ClientPath("f"), Access.EDIT) as target:
        if happens == "replaced":
            os.rename(tmp_path / "g", tmp_path / "f")
        else:
            os.unlink(tmp_path / "f")
        with pytest.raises(StaleWrite):
            writing.write_file(target, b"new")
    assert not left_over(tmp_path)


def test_created_name_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    with workspace(rules(tmp_path)) as work, work.target(ClientPath("f"), Access.WRITE) as target:
        (tmp_path / "f").write_bytes(b"theirs")
        with pytest.raises(AlreadyExists):
            writing.write_file(target, b"ours")
    assert (tmp_path / "f").read_bytes() == b"theirs"
    assert os.listdir(tmp_path) == ["f"]


@pytest.mark.parametrize("exists", [True, False])
def test_directory_moved_out_of_the_root_meanwhile_is_not_written_to(exists: bool, tmp_path: Path) -> None:
    build(tmp_path, ["dir root/d", *(["file root/d/f old"] if exists else [])])
    with workspace(rules(tmp_path / "root")) as work, work.target(ClientPath("d/f"), Access.WRITE) as target:
        os.rename(tmp_path / "root/d", tmp_path / "d")
        with pytest.raises(UnstablePath):
            writing.write_file(target, b"new")
    assert os.listdir(tmp_path / "d") == (["f"] if exists else [])
    assert not exists or (tmp_path / "d/f").read_bytes() == b"old"


def test_root_moved_as_a_whole_is_still_written_to(tmp_path: Path) -> None:
    build(tmp_path, ["file root/f old"])
    with workspace(rules(tmp_path / "root")) as work, work.target(ClientPath("f"), Access.WRITE) as target:
        os.rename(tmp_path / "root", tmp_path / "elsewhere")
        assert work.roots[0].replaced()
        writing.write_file(target, b"new")
    assert (tmp_path / "elsewhere/f").read_bytes() == b"new"


def test_two_writers_never_mix(tmp_path: Path) -> None:
    size = 200_000
    texts = [bytes([letter]) * size for letter in b"abcd"]
    (tmp_path / "f").write_bytes(texts[0])
    failures: list[str] = []

    def write(work: Workspace, text: bytes) -> None:
        for _ in range(25):
            try:
                put(work, "f", text)
            except FsserverError as error:
                failures.append(error.code)

    with workspace(rules(tmp_path)) as work:
        threads = [threading.Thread(target=write, args=(work, text)) for text in texts]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            assert (tmp_path / "f").read_bytes() in texts
        for thread in threads:
            thread.join(timeout=30)
    assert set(failures) <= {"denied.unstable"}
    assert os.listdir(tmp_path) == ["f"]


def _size_limit(work: Workspace, path: str) -> str:
    """Write 1 MB where a file may have 64 KB: the same half-way failure as a full disk, for a single process."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
    import signal  # noqa: PLC0415 - only in the child

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with pytest.raises(NoSpace) as raised:
        put(work, path, b"n" * 1_000_000)
    return raised.value.message


@pytest.mark.parametrize("exists", [True, False])
def test_failure_half_way_leaves_the_original_whole(exists: bool, tmp_path: Path) -> None:
    file = tmp_path / "f"
    if exists:
        file.write_bytes(b"old")
    with workspace(rules(tmp_path)) as work:
        message = in_child(lambda: _size_limit(work, "f"))
    assert message == f"EFBIG: file too large, open '{file}'"
    assert os.listdir(tmp_path) == (["f"] if exists else [])
    assert not exists or file.read_bytes() == b"old"


@needs_root
def test_full_disk_leaves_the_original_whole(tmp_path: Path) -> None:

    def fill() -> tuple[str, list[str], bytes]:
        import ctypes  # noqa: PLC0415 - only in the child

        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(0x00020000) != 0 or libc.mount(b"none", b"/", None, 0x44000, None) != 0:
            require_kernel("a mount namespace of its own")
        if libc.mount(b"tmpfs", os.fsencode(tmp_path), b"tmpfs", 0, b"size=1m") != 0:
            require_kernel("a small tmpfs")
        (tmp_path / "f").write_bytes(b"old")
        with workspace(rules(tmp_path)) as work, pytest.raises(NoSpace) as raised:
            put(work, "f", b"n" * 3_000_000)
        return raised.value.message, os.listdir(tmp_path), (tmp_path / "f").read_bytes()

    message, names, data = in_child(fill)
    assert message == f"ENOSPC: no space left on device, open '{tmp_path}/f'"
    assert (names, data) == (["f"], b"old")


def test_max_file_bounds_reads_and_writes(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * 11)
    with workspace(rules(tmp_path, max_file=10)) as work:
        put(work, "ten", b"x" * 10)
        with pytest.raises(FileTooLarge) as raised:
            put(work, "eleven", b"x" * 11)
        assert raised.value.rule == "policy.yaml:7"
        with work.target(ClientPath("big"), Access.READ) as target:
            with pytest.raises(FileTooLarge):
                reading.read_all(target, 1000)
            with work.target(ClientPath("copy"), Access.CREATE) as copy, pytest.raises(FileTooLarge):
                writing.copy_file(target, copy)
    assert sorted(os.listdir(tmp_path)) == ["big", "ten"]


def test_quota_counts_what_is_there_and_what_we_add(tmp_path: Path) -> None:
    build(tmp_path, ["file a/b/old 1234567890"])
    with open(tmp_path / "sparse", "wb") as sparse:
        sparse.truncate(1 << 40)
    with workspace(rules(tmp_path, quota=100)) as work:
        put(work, "x", b"x" * 60)
        with pytest.raises(QuotaExceeded) as raised:
            put(work, "y", b"y" * 31)
        assert raised.value.message == "The root work may hold 100 bytes; it holds 70, and 31 more do not fit."
        put(work, "x", b"x" * 20)
        put(work, "y", b"y" * 31)
        with work.target(ClientPath("y"), Access.READ) as source, work.target(ClientPath("z"), Access.CREATE) as copy:
            writing.copy_file(source, copy)
            assert (tmp_path / "z").stat().st_size == 31
        with work.target(ClientPath("z"), Access.DELETE) as target:
            moving.delete(target)
        put(work, "z", b"z" * 39)
        with pytest.raises(QuotaExceeded):
            put(work, "w", b"w")


def test_quota_has_room_again_after_a_recursive_delete(tmp_path: Path) -> None:
    build(tmp_path, ["file d/e/big " + "x" * 90])
    with workspace(rules(tmp_path, quota=100)) as work:
        with pytest.raises(QuotaExceeded):
            put(work, "y", b"y" * 50)
        with work.target(ClientPath("d"), Access.DELETE) as target:
            moving.delete(target, recursive=True)
        put(work, "y", b"y" * 50)


def test_quota_measured_during_a_recursive_delete_is_measured_again_after_it(tmp_path: Path) -> None:
    build(tmp_path, ["file d/a/big " + "x" * 90])

    def measure() -> None:
        with work.target(ClientPath("other"), Access.WRITE) as other:
            check_quota(other, 1)

    with workspace(rules(tmp_path, quota=100)) as work:
        with work.target(ClientPath("d"), Access.DELETE) as target:
            moving.delete(target, recursive=True, checkpoint=measure)
        put(work, "y", b"y" * 50)


def test_writes_at_the_same_time_do_not_share_the_same_room(tmp_path: Path) -> None:
    meeting = threading.Barrier(8)
    done: list[bool] = []

    def write(number: int) -> None:
        with work.target(ClientPath(f"f{number}"), Access.WRITE) as target, Room(target) as room:
            meeting.wait(5)
            try:
                room.grow(30)
            except QuotaExceeded:
                done.append(False)
            else:
                done.append(True)
            meeting.wait(5)  # nobody has settled or given back yet

    with workspace(rules(tmp_path, quota=100)) as work:
        threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(5)
        assert sorted(done) == [False] * 5 + [True] * 3
        put(work, "all", b"x" * 100)  # what was not written was given back


def test_failed_write_gives_its_room_back(tmp_path: Path) -> None:
    with workspace(rules(tmp_path, quota=100)) as work:
        with work.target(ClientPath("x"), Access.WRITE) as target:
            build(tmp_path, ["dir x"])  # somebody takes the name
            with pytest.raises(FsserverError):
                writing.write_file(target, b"x" * 90)
        put(work, "y", b"y" * 90)


@pytest.mark.claim("C2")
def test_new_file_is_taken_back_if_its_directory_was_moved_into_protection_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tmp_path, ["dir x"])
    rename = renaming.rename_no_replace

    def late_rename(*arguments: Any) -> None:
        os.rename(tmp_path / "x", tmp_path / ".git")  # after the last look
        rename(*arguments)

    monkeypatch.setattr(writing, "rename_no_replace", late_rename)
    with workspace(rules(tmp_path, read_only=["**/.git/config"])) as work, pytest.raises(UnstablePath):
        put(work, "x/config", b"[core]")
    assert os.listdir(tmp_path / ".git") == []


def test_copy_keeps_bytes_and_executable_bit_and_not_setuid(tmp_path: Path) -> None:
    data = bytes(range(256)) * 10_000
    (tmp_path / "tool").write_bytes(data)
    (tmp_path / "tool").chmod(0o4755)
    with (
        workspace(rules(tmp_path)) as work,
        work.target(ClientPath("tool"), Access.READ) as source,
        work.target(ClientPath("copy"), Access.CREATE) as destination,
    ):
        status = writing.copy_file(source, destination)
    assert (tmp_path / "copy").read_bytes() == data
    assert stat.S_IMODE(status.st_mode) == 0o755


MIB = 1024 * 1024


def sparse(path: Path, size: int, data: dict[int, bytes]) -> None:
    """A file of that size with data at these offsets and holes elsewhere."""
    with open(path, "wb") as file:
        file.truncate(size)
        for offset, contents in data.items():
            file.seek(offset)
            file.write(contents)
    if path.stat().st_blocks * 512 > sum(map(len, data.values())) + 4 * MIB:
        require_kernel("a file system that keeps holes")


def copied(
    top: Path, *, checkpoint: Callable[[], None] = lambda: None, max_file: int | None = None, quota: int | None = None
) -> os.stat_result:
    """What `copy_file` made of ``f`` in ``copy``."""
    with (
        workspace(rules(top, max_file=max_file, quota=quota)) as work,
        work.target(ClientPath("f"), Access.READ) as source,
        work.target(ClientPath("copy"), Access.CREATE) as destination,
    ):
        return writing.copy_file(source, destination, checkpoint=checkpoint)


@pytest.mark.parametrize(
    ("size", "data"),
    [
        (64 * MIB, {}),
        (64 * MIB, {0: b"begin"}),
        (64 * MIB, {64 * MIB - 3: b"end"}),
        (64 * MIB + 1, {5 * MIB: b"a" * (2 * MIB + 7), 40 * MIB + 3: b"b", 64 * MIB: b"c"}),
        (2 * MIB + 3, {0: b"x" * (2 * MIB + 3)}),
    ],
    ids=["only a hole", "hole at the end", "hole at the beginning", "holes between", "no hole"],
)
def test_copy_keeps_holes_and_every_byte(tmp_path: Path, size: int, data: dict[int, bytes]) -> None:
    sparse(tmp_path / "f", size, data)
    status = copied(tmp_path)
    assert status.st_size == size
    assert status.st_blocks <= (tmp_path / "f").stat().st_blocks + 16
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "f").read_bytes()


def test_copy_of_a_sparse_terabyte_takes_what_the_file_takes(tmp_path: Path) -> None:
    sparse(tmp_path / "f", 1 << 40, {1 << 39: b"middle"})
    with pytest.raises(FileTooLarge):
        copied(tmp_path, max_file=(1 << 40) - 1)
    with pytest.raises(QuotaExceeded):
        copied(tmp_path, quota=(tmp_path / "f").stat().st_blocks * 512)
    assert os.listdir(tmp_path) == ["f"]
    status = copied(tmp_path, quota=MIB)
    assert (status.st_size, status.st_blocks) == (1 << 40, (tmp_path / "f").stat().st_blocks)
    with open(tmp_path / "copy", "rb") as copy:
        assert os.pread(copy.fileno(), 6, 1 << 39) == b"middle"


@pytest.mark.parametrize(
    ("before", "then", "expected"),
    [
        (3 * MIB, 5 * MIB, 3 * MIB),
        (3 * MIB, MIB + 5, MIB + 5),
        (3 * MIB, 0, MIB),  # a piece that was read before is there
    ],
    ids=["grows", "shrinks", "is emptied"],
)
def test_copy_of_a_file_that_changes_meanwhile_is_bounded(
    tmp_path: Path, before: int, then: int, expected: int
) -> None:
    (tmp_path / "f").write_bytes(b"x" * before)

    def change() -> None:
        with open(tmp_path / "f", "r+b") as file:
            if file.seek(0, os.SEEK_END) == before:
                file.truncate(then)
                file.write(b"y" * max(0, then - before))

    status = copied(tmp_path, checkpoint=change)
    assert status.st_size == expected
    assert set((tmp_path / "copy").read_bytes()) == {ord("x")}


def test_copy_of_a_file_that_claims_no_size_holds_what_it_says(tmp_path: Path) -> None:
    with (
        workspace(rules("/proc/self"), rules(tmp_path, name="other")) as work,
        work.target(ClientPath("/proc/self/cmdline"), Access.READ) as source,
        work.target(ClientPath(f"{tmp_path}/copy"), Access.CREATE) as destination,
    ):
        assert source.stat is not None
        assert source.stat.st_size == 0
        writing.copy_file(source, destination)
    assert (tmp_path / "copy").read_bytes() == Path("/proc/self/cmdline").read_bytes()


def test_copy_of_a_directory_is_refused(tmp_path: Path) -> None:
    build(tmp_path, ["dir d"])
    with (
        workspace(rules(tmp_path)) as work,
        work.target(ClientPath("d"), Access.READ) as source,
        work.target(ClientPath("copy"), Access.CREATE) as destination,
        pytest.raises(IsADirectory),
    ):
        writing.copy_file(source, destination)


def test_directories_are_made_with_their_parents_and_existing_is_fine(tmp_path: Path) -> None:
    with workspace(rules(tmp_path)) as work:
        for _ in range(2):
            with work.target(ClientPath("a/b/c"), Access.MAKE_DIRECTORY) as target:
                writing.make_directories(target)
        (tmp_path / "f").write_bytes(b"")
        with pytest.raises(AlreadyExists) as raised:
            work.target(ClientPath("f"), Access.MAKE_DIRECTORY)
        assert raised.value.message == f"EEXIST: file already exists, mkdir '{tmp_path}/f'"
    assert (tmp_path / "a/b/c").is_dir()


def test_link_that_takes_a_directorys_place_is_not_made_into(tmp_path: Path) -> None:
    build(tmp_path, ["dir root", "dir outside"])
    with workspace(rules(tmp_path / "root")) as work, work.target(ClientPath("a/b"), Access.MAKE_DIRECTORY) as target:
        os.symlink("../outside", tmp_path / "root/a")
        with pytest.raises(AlreadyExists):
            writing.make_directories(target)
    assert os.listdir(tmp_path / "outside") == []


Change = Callable[[Workspace], object]
CHANGES: dict[Action, Change] = {
    Action.CREATE: lambda work: put(work, "new", b""),
    Action.OVERWRITE: lambda work: put(work, "f", b""),
    Action.EDIT: lambda work: put(work, "f", b"", Access.EDIT),
    Action.MOVE: lambda work: work.target(ClientPath("f"), Access.MOVE_FROM).close(),
    Action.DELETE: lambda work: work.target(ClientPath("f"), Access.DELETE).close(),
}


@pytest.mark.parametrize("action", CHANGES)
def test_operation_that_the_policy_does_not_allow_is_refused(action: Action, tmp_path: Path) -> None:
    build(tmp_path, ["file f old"])
    with workspace(rules(tmp_path, operations={action: Effect.DENY})) as work:
        for other, change in CHANGES.items():
            if other is action:
                with pytest.raises(FsserverError) as raised:
                    change(work)
                assert raised.value.code == "denied.operation"
                assert raised.value.rule == "policy.yaml:7"
            else:
                change(work)


EFFECTS: dict[str, tuple[Action, Change]] = {
    "create": (Action.CREATE, lambda work: put(work, "new", b"")),
    "copy": (Action.CREATE, lambda work: acted(work, writing.copy_file, ("f", Access.READ), ("new", Access.CREATE))),
    "directory": (Action.CREATE, lambda work: acted(work, writing.make_directories, ("a/b", Access.MAKE_DIRECTORY))),
    "overwrite": (Action.OVERWRITE, lambda work: put(work, "f", b"")),
    "edit": (Action.EDIT, lambda work: put(work, "f", b"", Access.EDIT)),
    "move": (Action.MOVE, lambda work: acted(work, moving.move, ("f", Access.MOVE_FROM), ("new", Access.MOVE_TO))),
    "delete": (Action.DELETE, lambda work: acted(work, moving.delete, ("f", Access.DELETE))),
    "delete all": (
        Action.DELETE,
        lambda work: acted(work, partial(moving.delete, recursive=True), ("d", Access.DELETE)),
    ),
}


def acted(work: Workspace, verb: Callable[..., object], *wanted: tuple[str, Access]) -> None:
    with ExitStack() as opened:
        verb(*(opened.enter_context(work.target(ClientPath(name), access)) for name, access in wanted))


@pytest.mark.parametrize("effect", EFFECTS)
def test_operation_that_nobody_has_consented_to_changes_nothing(effect: str, tmp_path: Path) -> None:
    build(tmp_path, ["file f old", "file d/below old"])
    before = snapshot(tmp_path)
    action, change = EFFECTS[effect]
    with workspace(rules(tmp_path, operations={action: Effect.ASK})) as work:
        with pytest.raises(ConsentDenied) as raised:
            change(work)
        assert raised.value.rule == "policy.yaml:7"
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("roots", [("asking", "open"), ("open", "asking")])
def test_move_to_another_root_asks_where_either_root_asks(roots: tuple[str, str], tmp_path: Path) -> None:
    build(tmp_path, ["file a/f old", "dir b"])
    asking = {Action.DELETE: Effect.ASK} if roots[0] == "asking" else {Action.CREATE: Effect.ASK}
    operations = [asking if root == "asking" else {} for root in roots]
    both = [rules(tmp_path / name, name=name, operations=operations[number]) for number, name in enumerate("ab")]
    with (
        workspace(*both) as work,
        work.target(ClientPath(f"{tmp_path}/a/f"), Access.MOVE_FROM) as source,
        work.target(ClientPath(f"{tmp_path}/b/f"), Access.MOVE_TO) as destination,
    ):
        assert not source.asks
        assert not destination.asks
        with pytest.raises(ConsentDenied):
            moving.move(source, destination)
        assert (source.asks, destination.asks) == (roots[0] == "asking", roots[1] == "asking")
        source.consented = destination.consented = True
        moving.move(source, destination)
    assert (tmp_path / "b/f").read_text() == "old"


def test_consent_to_overwrite_is_for_the_file_that_was_there(tmp_path: Path) -> None:
    build(tmp_path, ["file f old"])
    with (
        workspace(rules(tmp_path, operations={Action.OVERWRITE: Effect.ASK})) as work,
        work.target(ClientPath("f"), Access.WRITE) as target,
    ):
        target.consented = True
        (tmp_path / "other").write_text("precious")
        os.rename(tmp_path / "other", tmp_path / "f")
        with pytest.raises(StaleWrite):
            writing.write_file(target, b"new")
    assert (tmp_path / "f").read_text() == "precious"


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_read_only_root_takes_no_change(change: Change, tmp_path: Path) -> None:
    build(tmp_path, ["file f old"])
    with workspace(rules(tmp_path, mode=Mode.RO)) as work, pytest.raises(ReadOnlyName):
        change(work)
    assert os.listdir(tmp_path) == ["f"]


@needs_root
def test_immutable_directory_gives_an_honest_error(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old")
    directory = os.open(tmp_path, os.O_RDONLY)
    get_flags, set_flags, immutable = 0x80086601, 0x40086602, 0x10
    try:
        flags = int.from_bytes(fcntl.ioctl(directory, get_flags, bytes(8)), "little")
        fcntl.ioctl(directory, set_flags, (flags | immutable).to_bytes(8, "little"))
    except OSError:
        os.close(directory)
        require_kernel("a file system with immutable directories")
    try:
        with workspace(rules(tmp_path)) as work, pytest.raises(PermissionDenied):
            put(work, "f", b"new")
    finally:
        fcntl.ioctl(directory, set_flags, flags.to_bytes(8, "little"))
        os.close(directory)
    assert (tmp_path / "f").read_bytes() == b"old"


def test_temporary_file_is_private_and_unguessable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int]] = []
    real = metadata.carry_over

    def look(old: int, status: os.stat_result, new: int, shown: str) -> None:
        seen.extend((name, stat.S_IMODE((tmp_path / name).stat().st_mode)) for name in left_over(tmp_path))
        real(old, status, new, shown)

    monkeypatch.setattr(writing, "carry_over", look)
    (tmp_path / "f").write_bytes(b"old")
    with workspace(rules(tmp_path)) as work:
        put(work, "f", b"new")
        put(work, "f", b"newer")
    assert [mode for _, mode in seen] == [0o600, 0o600]
    assert len({name for name, _ in seen}) == 2
    assert all(len(name) == len(".fsserver-.tmp") + 32 for name, _ in seen)


def test_target_closed_twice_is_harmless(tmp_path: Path) -> None:
    with workspace(rules(tmp_path)) as work:
        target: Target = work.target(ClientPath("new"), Access.WRITE)
        target.close()
        target.close()


def test_writer_that_waited_for_another_sees_the_others_version_and_does_not_replace_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one is a second server between its last look and its rename."""
    monkeypatch.setattr(writing, "_LOCK_S", 20.0)
    file = tmp_path / "f"
    file.write_bytes(b"old")
    outcomes: list[object] = []

    def write(target: Target, expected: reading.Identity) -> None:
        try:
            outcomes.append(writing.write_file(target, b"mine", expected=expected))
        except FsserverError as error:
            outcomes.append(error)

    with workspace(rules(tmp_path)) as work, work.target(ClientPath("f"), Access.WRITE) as target:
        seen = reading.Identity.of(file.stat())
        with file.open("rb") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            writer = threading.Thread(target=write, args=(target, seen))
            writer.start()
            until = time.monotonic() + 10
            while not left_over(tmp_path) and not outcomes and time.monotonic() < until:
                os.sched_yield()
            (tmp_path / "new").write_bytes(b"theirs")
            (tmp_path / "new").rename(file)
        writer.join(30)
    assert [type(outcome) for outcome in outcomes] == [StaleWrite]
    assert file.read_bytes() == b"theirs"


def test_lock_of_another_program_does_not_keep_a_file_from_being_written(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"old")
    with workspace(rules(tmp_path)) as work, file.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        put(work, "f", b"new")
    assert file.read_bytes() == b"new"
