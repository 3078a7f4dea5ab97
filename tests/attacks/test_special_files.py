"""FIFOs, sockets, devices, sparse and growing files: an answer at once, in bounded memory."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from fsserver.errors import FileTooLarge, FsserverError, SpecialFile
from fsserver.paths import reading, writing
from fsserver.paths.resolver import OpenAt2Resolver, Resolver, WalkResolver
from fsserver.paths.workspace import Access, ClientPath
from tests.attacks.verbs import OPERATIONS, OWN_FILE
from tests.trees import build, needs_root, rules, workspace

RESOLVERS: dict[str, type[Resolver]] = {"openat2": OpenAt2Resolver, "walk": WalkResolver}
KINDS = ("fifo", "socket", pytest.param("character device", marks=needs_root), "link to fifo")
NAMES_ONLY = {"stat", "move_from", "delete", "delete_tree"}
TAKEN = {"create", "move_to", "copy_to", "make_directory"}


def _make(base: Path, kind: str) -> None:
    build(base, [f"file {OWN_FILE} mine"])
    if kind == "character device":
        os.mknod(base / "special", stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero: endless
    elif kind == "link to fifo":
        build(base, ["fifo behind", "link special -> behind"])
    else:
        build(base, [f"{kind} special"])


@pytest.mark.claim("C5")
@pytest.mark.parametrize("resolver", RESOLVERS)
@pytest.mark.parametrize("kind", KINDS)
def test_special_file_is_refused_at_once_and_never_opened(kind: str, resolver: str, tmp_path: Path) -> None:
    for operation in sorted(OPERATIONS):
        base = tmp_path / operation
        base.mkdir()
        _make(base, kind)
        with workspace(rules(base), resolver=RESOLVERS[resolver]()) as work:
            started = time.monotonic()
            try:
                OPERATIONS[operation](work, "special")
                code = None
            except FsserverError as error:
                code = error.code
            took = time.monotonic() - started
        assert took < 0.1, operation
        if operation in NAMES_ONLY:
            assert code is None, operation
        elif operation in TAKEN:
            assert code == "resource.exists", operation
        elif operation in ("list", "walk"):
            assert code == "resource.not_a_directory", operation
        else:
            assert code == "denied.special_file", operation


def test_fifo_that_takes_the_files_place_meanwhile_is_not_opened(tmp_path: Path) -> None:
    build(tmp_path, ["file f text", "fifo p"])
    with workspace(rules(tmp_path)) as work:
        with work.target(ClientPath("f"), Access.READ) as target:
            os.rename(tmp_path / "p", tmp_path / "f")
            assert reading.read_all(target, 100)[0] == b"text"
        os.mkfifo(tmp_path / "p")
        (tmp_path / "g").write_bytes(b"old")
        with work.target(ClientPath("g"), Access.WRITE) as target:
            os.rename(tmp_path / "p", tmp_path / "g")
            with pytest.raises(SpecialFile):
                writing.write_file(target, b"new")
    assert stat.S_ISFIFO((tmp_path / "g").lstat().st_mode)


def test_sparse_terabyte_is_bounded_by_bytes_and_readable_in_part(tmp_path: Path) -> None:
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(1 << 40)
        file.seek(1 << 39)
        file.write(b"middle")
    with workspace(rules(tmp_path)) as work, work.target(ClientPath("sparse"), Access.READ) as target:
        started = time.monotonic()
        with pytest.raises(FileTooLarge):
            reading.read_all(target, 1 << 20)
        with reading.open_file(target) as opened:
            assert opened.size == 1 << 40
            assert opened.read_at(1 << 39, 6) == b"middle"
            assert opened.read_at((1 << 40) - 2, 10) == b"\0\0"
            assert opened.read_at(1 << 41, 10) == b""
        assert time.monotonic() - started < 1


def test_file_that_claims_no_size_is_read_by_its_bytes() -> None:
    with workspace(rules("/proc/self")) as work, work.target(ClientPath("status"), Access.READ) as target:
        data, status = reading.read_all(target, 1 << 20)
        assert status.st_size == 0
        assert data.startswith(b"Name:")
        with pytest.raises(FileTooLarge):
            reading.read_all(target, 10)


def test_growing_file_is_read_up_to_the_cap(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"x" * 100)
    with workspace(rules(tmp_path)) as work, work.target(ClientPath("log"), Access.READ) as target:
        with reading.open_file(target) as opened:
            with open(tmp_path / "log", "ab") as log:
                log.write(b"y" * 1000)
            assert opened.size == 100
            assert len(opened.read_at(0, 500)) == 500
        with pytest.raises(FileTooLarge):
            reading.read_all(target, 1099)
        assert len(reading.read_all(target, 1100)[0]) == 1100


@pytest.mark.parametrize("resolver", RESOLVERS)
@pytest.mark.parametrize("name", ["root", "cwd", "exe", "fd/0", "ns/mnt"])
def test_magic_links_of_proc_are_not_followed(name: str, resolver: str) -> None:
    with workspace(rules("/proc/self"), resolver=RESOLVERS[resolver]()) as work, pytest.raises(FsserverError) as raised:
        work.target(ClientPath(name), Access.READ)
    assert raised.value.code == "resource.link_loop"


def test_refusal_names_the_path_as_asked_and_not_where_its_link_leads(tmp_path: Path) -> None:
    build(tmp_path, ["fifo secret-place/p", "link l -> secret-place/p", "link d -> secret-place"])
    with workspace(rules(tmp_path)) as work:
        for path in ("l", "d/p"):
            with work.target(ClientPath(path), Access.READ) as target, pytest.raises(SpecialFile) as raised:
                reading.open_file(target)
            assert raised.value.message == f"Access denied - not a regular file: {tmp_path}/{path}"
