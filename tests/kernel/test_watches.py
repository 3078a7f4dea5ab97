"""The kernel tells of every name that comes or goes in a directory, in the moment in which it does."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from fsserver.kernel.constants import RENAME_EXCHANGE
from fsserver.kernel.syscalls import renameat2
from fsserver.kernel.watches import Watches, is_told, most
from tests.support import require_kernel
from tests.trees import build, exceed_the_queue


@pytest.fixture
def watches() -> Iterator[Watches]:
    made = Watches()
    yield made
    made.close()


def add(watches: Watches, path: Path) -> int:
    descriptor = os.open(path, os.O_PATH)
    try:
        if not is_told(descriptor):
            require_kernel(f"{path} lies on a file system whose changes are not told")
        return watches.add(descriptor)
    finally:
        os.close(descriptor)


def exchange(top: Path) -> None:
    directory = os.open(top, os.O_PATH)
    try:
        renameat2(directory, b"a/file", directory, b"b/file", RENAME_EXCHANGE)
    finally:
        os.close(directory)


class Change(NamedTuple):
    """What is done to the directories ``a`` and ``b``, and in which of them something changed."""

    outcome: str
    act: Callable[[Path], object]
    changed: str


CHANGES = [
    Change("new file", lambda top: (top / "a/new").touch(), "a"),
    Change("new directory", lambda top: (top / "a/new").mkdir(), "a"),
    Change("new link", lambda top: (top / "a/new").symlink_to("x"), "a"),
    Change("new pipe", lambda top: os.mkfifo(top / "a/new"), "a"),
    Change("another hard link", lambda top: os.link(top / "b/file", top / "a/new"), "a"),
    Change("removed file", lambda top: (top / "a/file").unlink(), "a"),
    Change("removed directory", lambda top: (top / "a/sub").rmdir(), "a"),
    Change("renamed", lambda top: (top / "a/file").rename(top / "a/new"), "a"),
    Change("replaced", lambda top: (top / "a/file").rename(top / "a/other"), "a"),
    Change("moved", lambda top: (top / "a/file").rename(top / "b/new"), "ab"),
    Change("moved away", lambda top: (top / "a/sub").rename(top / "sub"), "a"),
    Change("moved here", lambda top: (top / "outside").rename(top / "b/outside"), "b"),
    Change("exchanged", exchange, "ab"),
    Change("removed itself", lambda top: shutil.rmtree(top / "b"), "b"),
    Change("who may look into it", lambda top: (top / "b").chmod(0o700), ""),
    Change("contents of a file", lambda top: (top / "a/file").write_text("x"), ""),
    Change("times of a file", lambda top: os.utime(top / "a/file", (1, 1)), ""),
    Change("mode of a file", lambda top: (top / "a/file").chmod(0o600), ""),
    Change("in a directory below", lambda top: (top / "a/sub/new").touch(), ""),
    Change("nothing", lambda _top: None, ""),
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.outcome)
def test_change_is_told(change: Change, watches: Watches, tmp_path: Path) -> None:
    build(tmp_path, ["file a/file", "file a/other", "dir a/sub", "file b/file", "dir outside"])
    numbers = {add(watches, tmp_path / name): name for name in "ab"}
    change.act(tmp_path)
    changed = watches.changed()
    assert changed is not None
    assert {numbers[number] for number in changed} == set(change.changed)
    assert watches.changed() == set()


def test_directory_has_one_number_until_it_is_watched_no_more(watches: Watches, tmp_path: Path) -> None:
    number = add(watches, tmp_path)
    assert add(watches, tmp_path) == number
    watches.remove(number)
    watches.remove(number)
    watches.changed()
    (tmp_path / "new").touch()
    assert watches.changed() == set()
    assert add(watches, tmp_path) != number


def test_more_changes_than_are_queued_may_be_in_any_directory(watches: Watches, tmp_path: Path) -> None:
    build(tmp_path, ["file a/file", "dir b"])
    number = add(watches, tmp_path / "b")
    add(watches, tmp_path / "a")
    exceed_the_queue(tmp_path / "a")
    (tmp_path / "b/new").touch()
    assert watches.changed() is None
    (tmp_path / "b/other").touch()
    assert watches.changed() == {number}


def test_file_system_of_processes_is_not_told_of() -> None:
    descriptor = os.open("/proc/self", os.O_PATH)
    try:
        assert not is_told(descriptor)
    finally:
        os.close(descriptor)


def test_some_directories_may_be_watched() -> None:
    assert most() > 0
