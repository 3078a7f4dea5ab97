"""The directory that is the root of a profile's cells."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from fsserver.kernel.landlock import AccessFs, AccessNet, Scope
from fsserver.policy.compiled import Layer
from fsserver.sandbox import skeleton
from fsserver.sandbox.cell_profile import Bind, CellProfile, CellRoot
from fsserver.sandbox.profile import Ruleset
from fsserver.sandbox.scratch import ScratchSpace

PROFILE = CellProfile(
    layer=Layer.FULL,
    user=None,
    roots=(CellRoot("work", "/srv/work", True),),
    binds=(),
    hidden=(),
    links=(("/bin", "usr/bin"),),
    files=(("/etc/passwd", "user:x:1:1::/:/bin/sh\n"),),
    home=None,
    git_config="",
    own_network=True,
    ruleset=Ruleset(0, AccessFs(0), AccessNet(0), Scope(0), (), ()),
    filter=b"",
    memory_bytes=1,
    processes=1,
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "host/work/inner").mkdir(parents=True)
    (tmp_path / "host/hosts").write_text("127.0.0.1 localhost\n")
    return tmp_path / "host"


def made(tmp_path: Path, source: Path) -> tuple[Path, skeleton.Skeleton]:
    binds = (
        Bind(f"{source}/hosts", "/etc/hosts", writable=False),
        Bind(f"{source}/work", "/srv/work", writable=True),
        Bind(f"{source}/work/inner", "/srv/work/inner", writable=False),
        Bind(f"{source}/work", "/tmp/project", writable=True),
        Bind(f"{source}/later", "/opt/later", writable=False),
    )
    directory = tmp_path / "skeleton"
    directory.mkdir(mode=0o700)
    return directory, skeleton.make(replace(PROFILE, binds=binds), str(directory))


def test_every_place_to_mount_on_is_there_and_of_its_kind(tmp_path: Path, source: Path) -> None:
    directory, result = made(tmp_path, source)
    for place in ("proc", "tmp", "dev/shm", "dev/pts", "run/home", "srv/work", "opt/later"):
        assert (directory / place).is_dir(), place
    assert (directory / "etc/hosts").is_file()
    assert (directory / "etc/hosts").read_text() == "", "what is on the host is mounted, never copied"
    assert os.readlink(directory / "bin") == "usr/bin"
    assert os.readlink(directory / "dev/stdin") == "/proc/self/fd/0"
    assert (directory / "etc/passwd").read_text().startswith("user:")
    assert (result.bind.source, result.bind.target, result.bind.writable) == (str(directory), "/", False)


def test_places_inside_what_is_mounted_are_named_and_not_made(tmp_path: Path, source: Path) -> None:
    directory, result = made(tmp_path, source)
    assert result.inner == {"/srv/work/inner", "/tmp/project"}
    assert list((directory / "srv/work").iterdir()) == list((directory / "tmp").iterdir()) == []


def test_another_user_can_read_it_whatever_the_umask_and_open_no_mask(tmp_path: Path, source: Path) -> None:
    before = os.umask(0o077)
    try:
        directory, _ = made(tmp_path, source)
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(before)
    modes = {str(path.relative_to(directory)): stat.S_IMODE(path.lstat().st_mode) for path in directory.rglob("*")}
    masks = {name.removeprefix("/") for name in (skeleton.MASKED_FILE, skeleton.MASKED_DIRECTORY)}
    assert {name for name, mode in modes.items() if mode == 0} == masks
    for name, mode in modes.items():
        if name not in masks and not (directory / name).is_symlink():
            assert mode & 0o444 == 0o444, name
            assert mode & 0o111 == (0o111 if (directory / name).is_dir() else 0), name
    assert stat.S_IMODE(directory.stat().st_mode) == 0o755


def test_it_goes_with_its_run_masks_and_all(tmp_path: Path) -> None:
    space = ScratchSpace(str(tmp_path), "0" * 16, root=False)
    skeleton.make(PROFILE, space.directory())
    space.close()
    assert list((tmp_path / "cells").iterdir()) == []
