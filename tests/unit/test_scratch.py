"""Directories of single commands: made, removed, and swept when a run has left them."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fsserver.sandbox.scratch import ScratchSpace

DEAD, LIVING, NEW = "0" * 16, "1" * 16, "2" * 16


def test_a_commands_directories_are_its_users_alone_and_go_with_it(tmp_path: Path) -> None:
    space = ScratchSpace(str(tmp_path), NEW, root=False)
    made = space.make(None)
    for path in (made.home, made.temporary):
        status = os.stat(path)
        assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o700, os.getuid())
        (Path(path) / "left").write_text("by the command")
    other = space.make(None)
    space.remove(made)
    assert not os.path.exists(os.path.dirname(made.home))
    assert os.path.isdir(other.home)
    space.close()
    assert list((tmp_path / "cells").iterdir()) == []


def test_what_a_dead_run_left_is_removed_and_nothing_of_a_living_one(tmp_path: Path) -> None:
    cells = tmp_path / "cells"
    (cells / DEAD / "1/home").mkdir(parents=True)
    living = ScratchSpace(str(tmp_path), LIVING, root=False)
    kept = living.make(None)
    space = ScratchSpace(str(tmp_path), NEW, root=False)
    assert not (cells / DEAD).exists()
    assert os.path.isdir(kept.home)
    space.close()
    living.close()


def test_a_run_whose_directory_is_swept_before_it_is_locked_makes_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run starts at the same moment, once before the directory is opened and once before it is locked."""
    moments = [os.open, fcntl.flock]

    def after_a_sweep(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            if real in moments:
                moments.remove(real)
                ScratchSpace(str(tmp_path), LIVING, root=False)
                assert not (tmp_path / "cells" / NEW).exists()
            return real(*arguments, **more)

        return call

    space = ScratchSpace(str(tmp_path), NEW, root=False)
    monkeypatch.setattr("fsserver.sandbox.scratch.os.open", after_a_sweep(os.open))
    monkeypatch.setattr("fsserver.sandbox.scratch.fcntl.flock", after_a_sweep(fcntl.flock))
    made = space.make(None)
    assert not moments
    monkeypatch.undo()
    ScratchSpace(str(tmp_path), LIVING, root=False)
    assert os.path.isdir(made.home), "it is locked"
    space.close()


@pytest.mark.parametrize("name", ["notes", "0" * 15, "0" * 17, "G" * 16, f"x{DEAD}"])
def test_what_no_run_is_called_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / "cells" / name).mkdir(parents=True)
    ScratchSpace(str(tmp_path), NEW, root=False).close()
    assert (tmp_path / "cells" / name).is_dir()


def test_a_link_in_a_runs_place_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    (precious / "inside").mkdir(parents=True)
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / DEAD).symlink_to(precious)
    ScratchSpace(str(tmp_path), NEW, root=False).close()
    assert (precious / "inside").is_dir()
