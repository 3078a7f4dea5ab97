"""Renaming onto a free name on file systems without RENAME_NOREPLACE, and on those that have no links either."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from fsserver.paths.renaming import rename_no_replace
from tests.trees import build

TREE = ["file f old", "link l -> f", "dir d", "file there kept", "dir empty"]


def _refused(number: int) -> NoReturn:
    raise OSError(number, "refused")


@pytest.fixture(params=["links", "no links"])
def top(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A directory where the kernel answers so."""
    build(tmp_path, TREE)
    monkeypatch.setattr("fsserver.paths.renaming.renameat2", lambda *_: _refused(errno.EINVAL))
    if request.param == "no links":
        monkeypatch.setattr(os, "link", lambda *_, **__: _refused(errno.EPERM))
    descriptor = os.open(tmp_path, os.O_PATH)
    yield descriptor
    os.close(descriptor)


@pytest.mark.parametrize("name", ["f", "l", "d"])
def test_what_is_renamed_to_a_free_name_is_there(top: int, name: str) -> None:
    before = os.stat(name, dir_fd=top, follow_symlinks=False).st_mode
    rename_no_replace(top, name, top, "new")
    assert os.stat("new", dir_fd=top, follow_symlinks=False).st_mode == before
    assert name not in os.listdir(f"/proc/self/fd/{top}")


@pytest.mark.parametrize("name", ["f", "l", "d"])
@pytest.mark.parametrize("other", ["there", "empty"])
def test_name_that_is_taken_stays(top: int, tmp_path: Path, name: str, other: str) -> None:
    with pytest.raises(FileExistsError):
        rename_no_replace(top, name, top, other)
    assert sorted(os.listdir(tmp_path)) == ["d", "empty", "f", "l", "there"]
    assert (tmp_path / "there").read_text() == "kept"


def test_name_that_could_not_be_given_is_left_free(top: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "rename", lambda *_, **__: _refused(errno.EIO))
    monkeypatch.setattr(os, "link", lambda *_, **__: _refused(errno.EPERM))
    with pytest.raises(OSError, match="refused"):
        rename_no_replace(top, "f", top, "new")
    assert not (tmp_path / "new").exists()
