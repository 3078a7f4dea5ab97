"""What tests of several directories share: kernel requirements, children with other privileges, bounded waits."""

from __future__ import annotations

import os
import pickle
import select
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeVar, cast

import pytest

T = TypeVar("T")

REPOSITORY = Path(__file__).resolve().parent.parent

# Debian's `nobody`: owns nothing, so what it can reach is what everybody can reach.
UNPRIVILEGED_UID = 65534

# Nobody has it either, and unlike 65534 it is not what the kernel answers for a user that a namespace does not know.
ORDINARY_UID = 61_234


def require_kernel(reason: str) -> NoReturn:
    """End the test because this machine lacks what it needs, as ``reason`` says.

    Where ``FSSERVER_REQUIRE_KERNEL=1`` (CI sets it) that is a failure: a kernel test never goes missing unnoticed.
    """
    if os.environ.get("FSSERVER_REQUIRE_KERNEL") == "1":
        pytest.fail(f"this machine cannot run the test: {reason}", pytrace=False)
    pytest.skip(reason)


def require_program(name: str) -> NoReturn:
    """End the test because a program of Debian's is missing that `make setup` installs as root.

    Where ``FSSERVER_REQUIRE_PROGRAMS=1`` (CI sets it where they are to be had) that is a failure.
    """
    if os.environ.get("FSSERVER_REQUIRE_PROGRAMS") == "1":
        pytest.fail(f"{name} is not installed", pytrace=False)
    pytest.skip(f"{name} is not installed")


def let_no_thread_begin(patch: pytest.MonkeyPatch) -> None:
    """As where a user has as many processes as it may have."""

    def refuse(*_: object) -> NoReturn:
        raise RuntimeError("can't start new thread")

    patch.setattr("threading._start_new_thread", refuse)


def wait_until(condition: Callable[[], bool], what: str, *, timeout_s: float = 10.0, every_s: float = 0.005) -> None:
    """Return as soon as ``condition()`` is true; after ``timeout_s`` fail the test, naming ``what``."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"after {timeout_s:g} s still not true: {what}")
        time.sleep(every_s)


def children_of(pid: int) -> set[int]:
    """Its children, also those that only wait to be reaped. As `psutil` finds them, without a look at every process."""
    tasks = Path(f"/proc/{pid}/task")
    return {int(word) for thread in tasks.iterdir() for word in (thread / "children").read_text().split()}


def in_child(function: Callable[[], T], *, unprivileged: bool = False, timeout_s: float = 30.0) -> T:
    """Run ``function`` in a forked child and return its result: for what a process cannot undo.

    Args:
        function: takes nothing; import all that it needs before, the child may not reach the files any more.
            Its result must be picklable.
        unprivileged: in a test run by root, drop to `UNPRIVILEGED_UID` first; otherwise changes nothing.
        timeout_s: the child is killed and the test fails after this time.

    An exception in the child fails the test with the child's traceback.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _run_and_exit(function, writer, unprivileged=unprivileged)
    os.close(writer)
    try:
        answer = _read_to_end(reader, time.monotonic() + timeout_s)
    finally:
        os.close(reader)
        if os.waitpid(pid, os.WNOHANG) == (0, 0):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    if answer is None:
        pytest.fail(f"the child did not finish within {timeout_s:g} s")
    if not answer:
        pytest.fail("the child died without an answer")
    outcome, value = pickle.loads(answer)
    if outcome == "skipped":
        pytest.skip(value)
    if outcome == "failed":
        pytest.fail(f"in the child:\n{value}")
    return cast("T", value)


def _run_and_exit(function: Callable[[], object], writer: int, *, unprivileged: bool) -> NoReturn:
    """The child's whole life. Never returns into the test runner that it is a copy of."""
    try:
        with os.fdopen(writer, "wb") as stream:
            stream.write(_pickled_outcome(function, unprivileged=unprivileged))
    finally:
        os._exit(0)


def _pickled_outcome(function: Callable[[], object], *, unprivileged: bool) -> bytes:
    try:
        if unprivileged and os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(UNPRIVILEGED_UID, UNPRIVILEGED_UID, UNPRIVILEGED_UID)
            os.setresuid(UNPRIVILEGED_UID, UNPRIVILEGED_UID, UNPRIVILEGED_UID)
        return pickle.dumps(("returned", function()))
    except pytest.skip.Exception as skipped:
        return pickle.dumps(("skipped", str(skipped)))
    except BaseException:  # noqa: BLE001 - whatever ends the child is the parent's to report
        return pickle.dumps(("failed", traceback.format_exc()))


def _read_to_end(descriptor: int, deadline: float) -> bytes | None:
    """Everything up to end of file, or None when ``deadline`` passes first."""
    chunks: list[bytes] = []
    while True:
        ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return None
        chunk = os.read(descriptor, 65536)
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)
