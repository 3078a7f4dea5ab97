"""What is told to the operator when the disk no longer agrees with what is served."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fsserver.app.parts import policy_change
from fsserver.paths.root import Root
from fsserver.policy.compiled import Mode, Origin, RootRules
from fsserver.policy.loader import load_policy
from fsserver.telemetry.watch import Watch, file_changed

CHANGES: dict[str, Callable[[Path], object]] = {
    "written": lambda path: path.write_text("version: 2\n"),
    "replaced": lambda path: os.replace(path.with_name("other"), path),
    "removed": lambda path: path.unlink(),
}


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """By fsserver: a thread of an earlier test's exporter may have a last word of its own."""
    return [record.getMessage() for record in caplog.records if record.name.startswith("fsserver.")]


@pytest.mark.parametrize("change", CHANGES)
def test_changed_policy_is_told_once(change: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    policy = tmp_path / "p.yaml"
    policy.write_text("version: 1\n\n")
    policy.with_name("other").write_text("version: 1\n\n")
    watch = Watch({"the policy changed": file_changed(str(policy))})
    watch.look()
    assert not told(caplog)
    CHANGES[change](policy)
    watch.look()
    watch.look()
    assert told(caplog) == ["the policy changed"]


@pytest.mark.parametrize("changed", ["top.yaml", "base.yaml", "further/base.yaml"])
def test_each_file_that_a_policy_is_made_of_is_watched(
    changed: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "further").mkdir()
    (tmp_path / "root").mkdir()
    extended = {"top.yaml": "base.yaml, further/base.yaml", "base.yaml": "", "further/base.yaml": "preset:secrets"}
    for name, others in extended.items():
        (tmp_path / name).write_text(f"version: 1\nextends: [{others}]\nroots: {{a: {{path: {tmp_path}/root}}}}\n")
        (tmp_path / name).chmod(0o600)
    watch = Watch(policy_change(load_policy(tmp_path / "top.yaml")))
    watch.look()
    assert not told(caplog)
    (tmp_path / changed).write_text("version: 1\n")
    watch.look()
    name = os.path.basename(changed)
    assert told(caplog) == [f"The policy {name} was changed; restart the server to apply it."]


def test_replaced_root_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory = tmp_path / "root"
    directory.mkdir()
    root = Root.open(RootRules("root", str(directory), Mode.RO, Origin("p.yaml", 1)))
    try:
        watch = Watch({"the root was replaced": root.replaced})
        watch.look()
        assert not told(caplog)
        directory.rename(tmp_path / "aside")
        directory.mkdir()
        watch.look()
        assert told(caplog) == ["the root was replaced"]
    finally:
        root.close()
