"""What is told to the operator when the disk no longer agrees with what is served."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fsserver.paths.root import Root
from fsserver.policy.compiled import Mode, Origin, RootRules
from fsserver.telemetry.watch import Watch, file_changed

CHANGES: dict[str, Callable[[Path], object]] = {
    "written": lambda path: path.write_text("version: 2\n"),
    "replaced": lambda path: os.replace(path.with_name("other"), path),
    "removed": lambda path: path.unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_policy_is_told_once(change: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    policy = tmp_path / "p.yaml"
    policy.write_text("version: 1\n\n")
    policy.with_name("other").write_text("version: 1\n\n")
    watch = Watch({"the policy changed": file_changed(str(policy))})
    watch.look()
    assert not caplog.messages
    CHANGES[change](policy)
    watch.look()
    watch.look()
    assert caplog.messages == ["the policy changed"]


def test_replaced_root_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory = tmp_path / "root"
    directory.mkdir()
    root = Root.open(RootRules("root", str(directory), Mode.RO, Origin("p.yaml", 1)))
    try:
        watch = Watch({"the root was replaced": root.replaced})
        watch.look()
        assert not caplog.messages
        directory.rename(tmp_path / "aside")
        directory.mkdir()
        watch.look()
        assert caplog.messages == ["the root was replaced"]
    finally:
        root.close()
