"""Landlock itself, through our three calls: which right stops which operation, with the exact errno."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from fsserver.kernel import landlock, process
from fsserver.kernel.landlock import AccessFs, AccessNet, Scope
from fsserver.sandbox.downgrade import downgrade
from tests.support import in_child, require_kernel

USERS = pytest.mark.parametrize("unprivileged", [False, True], ids=["same-user", "unprivileged"])

READ = AccessFs.READ_FILE | AccessFs.READ_DIR
EVERYTHING = AccessFs((1 << 15) - 1)


def needs_abi(version: int) -> None:
    if landlock.abi() < version:
        require_kernel(f"Landlock ABI {version}; this kernel has {landlock.abi()}")


@pytest.fixture
def tree(open_tmp_path: Path) -> Path:
    """``granted``, ``readable``, ``outside`` with the same content, open to every user. ``control`` holds all again."""
    for area in ("granted", "readable", "outside", "control/granted", "control/outside"):
        for directory in ("", "full", "empty"):
            (open_tmp_path / area / directory).mkdir(parents=True)
            (open_tmp_path / area / directory).chmod(0o777)
        for name in ("file", "full/file"):
            (open_tmp_path / area / name).write_text("content")
            (open_tmp_path / area / name).chmod(0o777)
    return open_tmp_path


def restrict(tree: Path) -> None:
    """Everything in ``granted``, reading in ``readable``, with all that this kernel can deny denied elsewhere."""
    rights = downgrade(landlock.abi(), seccomp=False)
    ruleset = landlock.create_ruleset(rights.fs, rights.net, rights.scoped)
    for area, access in (("granted", EVERYTHING & rights.fs), ("readable", READ)):
        directory = os.open(tree / area, os.O_PATH)
        landlock.allow_beneath(ruleset, directory, access)
        os.close(directory)
    process.set_no_new_privs()
    landlock.restrict_self(ruleset)
    os.close(ruleset)


def outcome(call: Callable[[], object]) -> str:
    """``ok`` or the errno's name."""
    try:
        call()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "ok"


class Row(NamedTuple):
    operation: str
    call: Callable[[Path], object]
    granted: str
    readable: str
    outside: str


def create(path: Path) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


ROWS = [
    Row("read", lambda area: (area / "file").read_bytes(), "ok", "ok", "EACCES"),
    Row("list", os.listdir, "ok", "ok", "EACCES"),
    Row("write", lambda area: os.open(area / "file", os.O_WRONLY), "ok", "EACCES", "EACCES"),
    Row("truncate by name", lambda area: os.truncate(area / "file", 1), "ok", "EACCES", "EACCES"),
    Row("open to truncate", lambda area: os.open(area / "file", os.O_RDONLY | os.O_TRUNC), "ok", "EACCES", "EACCES"),
    Row("create", lambda area: create(area / "new"), "ok", "EACCES", "EACCES"),
    Row("make a directory", lambda area: os.mkdir(area / "new"), "ok", "EACCES", "EACCES"),
    Row("make a link", lambda area: os.symlink("/", area / "new"), "ok", "EACCES", "EACCES"),
    Row("make a FIFO", lambda area: os.mkfifo(area / "new"), "ok", "EACCES", "EACCES"),
    Row("remove", lambda area: os.unlink(area / "file"), "ok", "EACCES", "EACCES"),
    Row("remove a directory", lambda area: os.rmdir(area / "empty"), "ok", "EACCES", "EACCES"),
    Row("rename", lambda area: os.rename(area / "file", area / "new"), "ok", "EACCES", "EACCES"),
    Row("rename into a directory", lambda area: os.rename(area / "file", area / "empty/x"), "ok", "EACCES", "EACCES"),
    Row("hard link", lambda area: os.link(area / "file", area / "new"), "ok", "EACCES", "EACCES"),
    Row("bring in", lambda area: os.rename(area / "file", area / "../granted/new"), "ok", "EACCES", "EACCES"),
    Row("take out", lambda area: os.rename(area / "../granted/file", area / "new"), "ok", "EACCES", "EACCES"),
    Row("run", lambda area: os.execv(area / "file", ["file"]), "ENOEXEC", "EACCES", "EACCES"),
    # What Landlock leaves alone, so that nobody thinks otherwise.
    Row("open a name only", lambda area: os.open(area / "file", os.O_PATH), "ok", "ok", "ok"),
    Row("stat", lambda area: os.stat(area / "file"), "ok", "ok", "ok"),
    Row("change directory", os.chdir, "ok", "ok", "ok"),
]


@USERS
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.operation)
def test_a_right_is_needed_for_each_operation(tree: Path, row: Row, unprivileged: bool) -> None:
    needs_abi(3)

    def confined(area: str) -> str:
        restrict(tree)
        return outcome(lambda: row.call(tree / area))

    expected = {"outside": row.outside, "readable": row.readable, "granted": row.granted}
    # Each area in a child of its own; the areas that refuse come first, since an allowed call changes the tree.
    found = {area: in_child(partial(confined, area), unprivileged=unprivileged) for area in expected}
    assert found == expected
    # Without a ruleset the same call succeeds: it was Landlock that refused, not the modes of the files.
    free = in_child(lambda: outcome(lambda: row.call(tree / "control/outside")), unprivileged=unprivileged)
    assert free == row.granted


@USERS
def test_a_file_opened_before_stays_open(tree: Path, unprivileged: bool) -> None:
    needs_abi(3)

    def confined() -> tuple[str, str, str]:
        file = os.open(tree / "outside/file", os.O_RDWR)
        directory = os.open(tree / "outside", os.O_RDONLY | os.O_DIRECTORY)
        restrict(tree)
        return (
            outcome(lambda: os.pread(file, 1, 0)),
            outcome(lambda: os.ftruncate(file, 0)),
            # A directory descriptor opens nothing: what it leads to is judged anew.
            outcome(lambda: os.open("file", os.O_RDONLY, dir_fd=directory)),
        )

    assert in_child(confined, unprivileged=unprivileged) == ("ok", "ok", "EACCES")


def test_a_rule_holds_on_to_the_directory_and_not_to_its_name(tree: Path) -> None:
    needs_abi(1)

    def confined() -> tuple[str, str]:
        directory = os.open(tree / "granted", os.O_PATH)
        os.rename(tree / "granted", tree / "moved")
        os.rename(tree / "outside", tree / "granted")
        ruleset = landlock.create_ruleset(AccessFs.READ_FILE, AccessNet(0), Scope(0))
        landlock.allow_beneath(ruleset, directory, AccessFs.READ_FILE)
        process.set_no_new_privs()
        landlock.restrict_self(ruleset)
        return (
            outcome((tree / "granted/file").read_bytes),
            outcome(lambda: os.open("file", os.O_RDONLY, dir_fd=directory)),
        )

    assert in_child(confined) == ("EACCES", "ok")


@USERS
def test_tcp_is_denied_on_abi_4(unprivileged: bool) -> None:
    needs_abi(4)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def attempts() -> tuple[str, str]:
            with socket.socket() as client, socket.socket() as second:
                return outcome(lambda: client.connect(("127.0.0.1", port))), outcome(lambda: second.bind(("", 0)))

        def confined() -> tuple[str, str]:
            ruleset = landlock.create_ruleset(AccessFs(0), AccessNet.BIND_TCP | AccessNet.CONNECT_TCP, Scope(0))
            process.set_no_new_privs()
            landlock.restrict_self(ruleset)
            return attempts()

        assert in_child(attempts, unprivileged=unprivileged) == ("ok", "ok")
        assert in_child(confined, unprivileged=unprivileged) == ("EACCES", "EACCES")


@USERS
def test_signals_and_abstract_sockets_end_at_the_domain_on_abi_6(unprivileged: bool) -> None:
    needs_abi(6)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("")  # the kernel picks an abstract name
        server.listen()
        address = server.getsockname()

        def confined() -> tuple[str, str, str]:
            reader, writer = os.pipe()
            waiter = os.fork()
            if waiter == 0:
                os.close(writer)
                os.read(reader, 1)  # until this child's parent is gone, however that ends
                os._exit(0)
            ruleset = landlock.create_ruleset(AccessFs(0), AccessNet(0), Scope.ABSTRACT_UNIX_SOCKET | Scope.SIGNAL)
            process.set_no_new_privs()
            landlock.restrict_self(ruleset)
            with socket.socket(socket.AF_UNIX) as client:
                return (
                    outcome(lambda: client.connect(address)),
                    outcome(lambda: os.kill(waiter, 0)),
                    outcome(lambda: os.kill(os.getpid(), 0)),
                )

        assert in_child(confined, unprivileged=unprivileged) == ("EPERM", "EPERM", "ok")


BAD_CALLS: list[tuple[str, Callable[[int, int, int], object], str]] = [
    ("no right at all", lambda rules, folder, _: landlock.allow_beneath(rules, folder, AccessFs(0)), "ENOMSG"),
    ("a right not handled", lambda rules, folder, _: landlock.allow_beneath(rules, folder, AccessFs.EXECUTE), "EINVAL"),
    (
        "a directory's right on a file",
        lambda rules, _, file: landlock.allow_beneath(rules, file, AccessFs.READ_DIR),
        "EINVAL",
    ),
    ("a closed directory", lambda rules, _, __: landlock.allow_beneath(rules, 9999, AccessFs.READ_FILE), "EBADF"),
    ("a closed ruleset", lambda _, folder, __: landlock.allow_beneath(9999, folder, AccessFs.READ_FILE), "EBADF"),
    ("nothing handled", lambda *_: landlock.create_ruleset(AccessFs(0), AccessNet(0), Scope(0)), "ENOMSG"),
    ("an unknown right", lambda *_: landlock.create_ruleset(AccessFs(1 << 40), AccessNet(0), Scope(0)), "EINVAL"),
]


@pytest.mark.parametrize(("call", "error"), [row[1:] for row in BAD_CALLS], ids=[row[0] for row in BAD_CALLS])
def test_a_wrong_call_is_refused_by_the_kernel(tree: Path, call: Callable[[int, int, int], object], error: str) -> None:
    needs_abi(1)

    def child() -> str:
        ruleset = landlock.create_ruleset(READ, AccessNet(0), Scope(0))
        folder, file = os.open(tree / "granted", os.O_PATH), os.open(tree / "granted/file", os.O_PATH)
        assert stat.S_ISDIR(os.fstat(folder).st_mode)
        return outcome(lambda: call(ruleset, folder, file))

    assert in_child(child) == error


def test_an_unprivileged_process_needs_no_new_privs_first(tree: Path) -> None:
    needs_abi(1)

    def child() -> str:
        ruleset = landlock.create_ruleset(READ, AccessNet(0), Scope(0))
        return outcome(lambda: landlock.restrict_self(ruleset))

    assert in_child(child, unprivileged=True) == "EPERM"
