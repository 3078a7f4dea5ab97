"""``fsserver doctor`` as a user runs it, and its self-test, which must see a hole where there is one."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from fsserver.kernel.features import probe
from fsserver.policy.compiled import Layer
from fsserver.sandbox.profile import available_layer
from fsserver.sandbox.runtime import find_runtime
from fsserver.sandbox.selftest import run_selftest
from tests.support import in_child, require_kernel

FEATURES = probe()
RUNTIME = find_runtime()


def doctor(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fsserver", "doctor", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def needs_layer() -> None:
    if available_layer(FEATURES.landlock_abi, seccomp=FEATURES.seccomp) is Layer.NONE:
        require_kernel("Landlock ABI 3 and seccomp")


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def test_a_machine_that_can_serve_exits_0_and_shows_every_attempt_as_wanted(tmp_path: Path) -> None:
    needs_layer()
    (tmp_path / "root").mkdir()
    found = doctor("--root", str(tmp_path / "root"), "--json")
    assert found.returncode == 0, found.stdout + found.stderr
    report = json.loads(found.stdout)
    verdicts = {check["name"]: check["verdict"] for check in report["checks"]}
    assert report["ok"] is True
    assert verdicts["read a file outside"] == "ok"
    assert verdicts["write a file in a root"] == "ok"
    assert "error" not in verdicts.values()


def test_a_root_that_is_missing_exits_2_and_the_rest_is_reported_all_the_same(tmp_path: Path) -> None:
    found = doctor("--root", str(tmp_path / "missing"))
    assert found.returncode == 2
    assert "FAIL" in found.stdout
    assert "Landlock" in found.stdout
    assert "\x1b" not in found.stdout, "colour is for terminals"


def test_a_policy_that_does_not_load_exits_2(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("version: 1\nroots: {}\nunknown: 1\n")
    found = doctor("--policy", str(policy), "--json")
    assert found.returncode == 2
    assert json.loads(found.stdout)["ok"] is False


def test_a_state_directory_that_others_may_write_to_exits_2(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    audit = tmp_path / "audit"
    audit.mkdir()
    audit.chmod(0o777)
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        f"version: 1\nroots: {{work: {{path: {tmp_path}/root, mode: ro}}}}\naudit: {{sinks: [{{dir: {audit}}}]}}\n"
    )
    policy.chmod(0o600)
    found = doctor("--policy", str(policy))
    assert found.returncode == 2, found.stdout
    assert "writable by others" in found.stdout


def test_a_state_directory_that_is_a_link_exits_2_as_serving_would(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "state/fsserver").mkdir(parents=True)
    (tmp_path / "state/fsserver/audit").symlink_to(tmp_path / "real")
    found = doctor("--root", str(tmp_path / "root"))
    assert (found.returncode, "fsserver/audit is a link" in found.stdout) == (2, True), found.stdout


def test_it_never_loads_the_protocols_libraries() -> None:
    script = "import sys; from fsserver.cli.doctor import doctor; doctor(['--json'], standalone_mode=False)"
    checked = f"import atexit, sys; atexit.register(lambda: sys.stderr.write(','.join(sys.modules))); {script}"
    found = subprocess.run([sys.executable, "-c", checked], capture_output=True, text=True, timeout=30, check=False)
    loaded = set(found.stderr.split(","))
    assert "fsserver.sandbox.selftest" in loaded
    assert not loaded & {"mcp", "pydantic", "yaml", "anyio"}


def test_the_self_test_holds_on_this_machine() -> None:
    needs_layer()
    findings = in_child(lambda: run_selftest(FEATURES, RUNTIME))
    assert [finding for finding in findings if not finding.as_wanted] == []


def test_the_self_test_sees_what_is_open_without_any_layer() -> None:
    bare = dataclasses.replace(FEATURES, landlock_abi=0, seccomp=False)
    findings = {finding.attempt: finding for finding in in_child(lambda: run_selftest(bare, RUNTIME))}
    for attempt in (
        "read a file outside",
        "write a file outside",
        "start a process",
        "run a program",
        "connect over TCP",
    ):
        assert not findings[attempt].stopped, attempt
    assert findings["read a file in a root"].as_wanted
