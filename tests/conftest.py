"""The frame around every test: a home of its own, no process left behind, hypothesis without a database."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import psutil
import pytest

from tests.support import wait_until

# Every process that a test starts inherits this, however it detaches itself; so it is found when it stays.
MARKER = "FSSERVER_TEST_RUN"

hypothesis.settings.register_profile("fsserver", database=None, deadline=None)
hypothesis.settings.load_profile("fsserver")


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
def no_process_left() -> Iterator[None]:
    """Fail the run if a process that a test started is still there at its end."""
    mark = uuid.uuid4().hex
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MARKER, mark)
        yield
    left: list[psutil.Process] = []

    def all_gone() -> bool:
        left[:] = _started_by_tests(mark)
        return not left

    try:
        wait_until(all_gone, "every process that a test started has ended", timeout_s=4.0)
    except pytest.fail.Exception:
        pytest.fail("left behind by tests: " + "; ".join(_describe(process) for process in left), pytrace=False)


@pytest.fixture
def open_tmp_path() -> Iterator[Path]:
    """A new directory that every user can reach and write to; ``tmp_path`` is the test user's alone."""
    directory = Path(tempfile.mkdtemp(prefix="fsserver-open-"))
    directory.chmod(0o777)
    yield directory
    shutil.rmtree(directory)


def _started_by_tests(mark: str) -> list[psutil.Process]:
    """Descendants of this process, whatever else carries ``mark``, and forks that lost their parent.

    A fork that executed nothing has the environment that this process began with, and so no mark: it is known by being
    a copy of this process. Zombies count as ended.
    """
    me = psutil.Process()
    found = {process.pid: process for process in me.children(recursive=True)}
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARKER) == mark or _is_lost_copy(process, me):
                found[process.pid] = process
        except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
            continue
    found.pop(os.getpid(), None)
    return [process for process in found.values() if _runs(process)]


def _is_lost_copy(process: psutil.Process, me: psutil.Process) -> bool:
    return (
        process.ppid() == 1 != me.ppid()
        and process.create_time() >= me.create_time()
        and process.cmdline() == me.cmdline()
        and process.environ() == me.environ()
    )


def _runs(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _describe(process: psutil.Process) -> str:
    try:
        return f"{process.pid} {' '.join(process.cmdline()) or process.name()}"
    except psutil.Error:
        return str(process.pid)
