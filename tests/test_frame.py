"""The frame around the tests does what it is for: it would notice."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import REPOSITORY, UNPRIVILEGED_UID, in_child, require_kernel, wait_until

LEAKS = {
    "started": """
import subprocess

def test_that_leaves_a_process():
    subprocess.Popen(["/bin/sh", "-c", "sleep 60 & exit"], start_new_session=True).wait()
""",
    "forked": """
import os, time

def test_that_leaves_a_process():
    child = os.fork()
    if child == 0:
        if os.fork() == 0:
            time.sleep(60)
        os._exit(0)
    os.waitpid(child, 0)
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("leak", LEAKS)
def test_a_process_that_a_test_leaves_fails_the_run(tmp_path: Path, leak: str) -> None:
    (tmp_path / "test_leak.py").write_text(LEAKS[leak])
    options = ["-q", "-p", "tests.conftest", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'tmp'}"]
    command = [sys.executable, "-m", "pytest", *options, "test_leak.py"]
    output = tmp_path / "output"
    # Into a file: the process that is left behind would keep a pipe open.
    with output.open("wb") as stream:
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
            stdout=stream,
            stderr=stream,
            timeout=60,
            check=False,
        )
    left = re.search(r"left behind by tests: (\d+) ", output.read_text())
    assert left, output.read_text()
    os.kill(int(left[1]), signal.SIGKILL)
    assert done.returncode == 1


def test_home_is_a_temporary_directory() -> None:
    assert Path.home().name.startswith("fsserver-home-")
    assert os.environ["XDG_STATE_HOME"].startswith(str(Path.home()))


def test_modes_do_not_depend_on_who_runs_the_tests(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


def test_a_child_hands_back_what_its_function_returns() -> None:
    assert in_child(os.getpid) != os.getpid()


def test_a_child_has_no_privileges_where_that_is_asked() -> None:
    expected = UNPRIVILEGED_UID if os.geteuid() == 0 else os.geteuid()
    assert in_child(os.geteuid, unprivileged=True) == expected
    if os.geteuid() == 0:
        assert in_child(os.getgroups, unprivileged=True) == []


def test_an_assertion_in_a_child_fails_the_test_with_its_trace() -> None:
    def fails() -> None:
        raise AssertionError("seen by the parent")

    with pytest.raises(pytest.fail.Exception, match="seen by the parent"):
        in_child(fails)


def test_a_child_that_dies_fails_the_test() -> None:
    with pytest.raises(pytest.fail.Exception, match="died without an answer"):
        in_child(lambda: os.kill(os.getpid(), signal.SIGKILL))


def test_a_child_that_hangs_is_killed_in_time() -> None:
    started = time.monotonic()
    with pytest.raises(pytest.fail.Exception, match="did not finish"):
        in_child(signal.pause, timeout_s=0.2)
    assert time.monotonic() - started < 5


def test_a_wait_that_never_ends_fails_the_test() -> None:
    with pytest.raises(pytest.fail.Exception, match="the moon is blue"):
        wait_until(lambda: False, "the moon is blue", timeout_s=0.05)


@pytest.mark.parametrize(("required", "outcome"), [("1", pytest.fail.Exception), ("0", pytest.skip.Exception)])
def test_a_missing_kernel_feature_fails_where_it_is_required(
    monkeypatch: pytest.MonkeyPatch, required: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("FSSERVER_REQUIRE_KERNEL", required)
    with pytest.raises(outcome, match="no such layer"):
        require_kernel("no such layer")
