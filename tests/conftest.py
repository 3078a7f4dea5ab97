"""The frame around every test: a home of its own, no process left behind, hypothesis without a database."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import psutil
import pytest

from fsserver.kernel import libc
from tests.support import wait_until

PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>

hypothesis.settings.register_profile("fsserver", database=None, deadline=None)
hypothesis.settings.load_profile("fsserver")

gc.disable()  # nearly all that is made until the tests are collected stays


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """What was collected, some hundred thousand objects, stays to the end: no later collection looks at it again."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def home() -> Iterator[Path]:
    """HOME and the XDG directories, in a temporary directory: no test touches the developer's own."""
    directory = Path(tempfile.mkdtemp(prefix="fsserver-home-"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(directory))
        for variable, name in {
            "XDG_CONFIG_HOME": "config",
            "XDG_STATE_HOME": "state",
            "XDG_CACHE_HOME": "cache",
            "XDG_DATA_HOME": "data",
            "XDG_RUNTIME_DIR": "run",
        }.items():
            (directory / name).mkdir(mode=0o700)
            patch.setenv(variable, str(directory / name))
        yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="session", autouse=True)
def umask() -> Iterator[None]:
    """The one that the modes in tests and in recorded answers are for; whoever runs them may have another."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(scope="session", autouse=True)
def no_process_left() -> Iterator[None]:
    """Fail the run if a process that a test started is still there at its end.

    As a subreaper (PR_SET_CHILD_SUBREAPER(2const)) this process becomes the parent of each one that loses its own, so
    however a process detached itself, and whatever its environment, it is found below this one.
    """
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    yield
    left: list[psutil.Process] = []

    def all_gone() -> bool:
        # Twice, since one that loses its parent during the first look is in neither place for it.
        left[:] = _running_descendants() or _running_descendants()
        return not left

    try:
        wait_until(all_gone, "every process that a test started has ended", timeout_s=4.0, every_s=0.05)
    except pytest.fail.Exception:
        pytest.fail("left behind by tests: " + "; ".join(_describe(process) for process in left), pytrace=False)


@pytest.fixture
def open_tmp_path() -> Iterator[Path]:
    """A new directory that every user can reach and write to; ``tmp_path`` is the test user's alone."""
    directory = Path(tempfile.mkdtemp(prefix="fsserver-open-"))
    directory.chmod(0o777)
    yield directory
    shutil.rmtree(directory)


def _running_descendants() -> list[psutil.Process]:
    return [process for process in psutil.Process().children(recursive=True) if _runs(process)]


def _runs(process: psutil.Process) -> bool:
    """Whether it is more than a zombie: what was adopted here stays one, since nobody waits for it."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _describe(process: psutil.Process) -> str:
    try:
        return f"{process.pid} {' '.join(process.cmdline()) or process.name()}"
    except psutil.Error:
        return str(process.pid)
