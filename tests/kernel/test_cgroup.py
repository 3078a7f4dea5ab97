"""Control groups on this kernel: that the limits hold, are told, and that nothing of them is left."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

import pytest

from fsserver.errors import SandboxSetupError
from fsserver.sandbox.cgroup import PREFIX, Groups, Leaf, sweep
from fsserver.sandbox.hierarchies import find_own_directories, own_directories
from tests.support import in_child, require_kernel, wait_until
from tests.trees import needs_root

T = TypeVar("T")
MIB = 1024**2

# Waits for a line on its input, so that it is in its group before it begins.
HOG = "input(); data = bytearray({size}); data[::4096] = b'x' * len(data[::4096]); print('held', flush=True); input()"
FORKS = """
import os, signal
input()
children = []
try:
    for _ in range({count}):
        pid = os.fork()
        if pid == 0:
            signal.pause()
        children.append(pid)
except BlockingIOError:
    pass
print(len(children), flush=True)
for pid in children:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
"""
TREE = """
import os, signal
input()
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if os.fork():
            os._exit(0)
        break
print('up', flush=True)
signal.pause()
"""


def in_groups(function: Callable[[Groups], T], controller: str) -> T:
    """The result of ``function`` in a child whose control groups can be divided; they are gone afterwards."""

    def inside() -> T:
        with _own_group():
            groups = Groups.open(f"test-{secrets.token_hex(8)}")
            if groups is None or controller not in groups.controllers:
                require_kernel(f"control groups with {controller} that root can divide")
            places = set(groups._directories.values())
            try:
                return function(groups)
            finally:
                groups.close()
                assert not [place for place in places if os.path.exists(place)]

    return in_child(inside)


@contextmanager
def _own_group() -> Iterator[None]:
    """With version 2: a group that holds this process only. With version 1 it may stay where it is."""
    top = Path("/sys/fs/cgroup")
    if not (top / "cgroup.controllers").exists():
        yield
        return
    before = top / find_own_directories()["unified"]
    own = top / f"test-{secrets.token_hex(8)}"
    own.mkdir()
    (own / "cgroup.procs").write_text(str(os.getpid()))
    try:
        yield
    finally:
        (before / "cgroup.procs").write_text(str(os.getpid()))
        own.rmdir()


@contextmanager
def running(leaf: Leaf, program: str) -> Iterator[subprocess.Popen[str]]:
    """A Python program that is in the leaf before it does anything; it has ended at the end, and the leaf is gone."""
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    try:
        leaf.enter(process.pid)
        process.stdin.write("\n")
        process.stdin.flush()
        yield process
    finally:
        leaf.kill()
        with contextlib.suppress(BrokenPipeError):
            process.communicate(timeout=20)
        assert leaf.remove()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@needs_root
def test_memory_beyond_the_limit_is_killed_and_told() -> None:
    def hog(groups: Groups) -> tuple[str, int, bool, bool, bool]:
        leaf = groups.leaf(64 * MIB, 10)
        with running(leaf, HOG.format(size=256 * MIB)) as process:
            answer, status = said(process), process.wait(timeout=20)
            peak = leaf.peak_bytes()
            return answer, status, leaf.oom_killed(), leaf.processes_hit(), peak is None or 32 * MIB < peak <= 64 * MIB

    assert in_groups(hog, "memory") == ("", -signal.SIGKILL, True, False, True)


@needs_root
def test_memory_within_the_limit_is_held_and_counted() -> None:
    def hog(groups: Groups) -> tuple[str, bool, bool, bool]:
        leaf = groups.leaf(256 * MIB, 10)
        with running(leaf, HOG.format(size=64 * MIB)) as process:
            answer, peak = said(process), leaf.peak_bytes()
            return answer, leaf.oom_killed(), leaf.processes_hit(), peak is None or 64 * MIB <= peak < 256 * MIB

    assert in_groups(hog, "memory") == ("held", False, False, True)


@needs_root
@pytest.mark.parametrize(("wanted", "got", "hit"), [(7, 7, False), (8, 7, True), (1000, 7, True)])
def test_processes_are_bounded_beside_the_first_also_for_root(wanted: int, got: int, hit: bool) -> None:
    def fork(groups: Groups) -> tuple[str, bool]:
        leaf = groups.leaf(256 * MIB, 7)
        with running(leaf, FORKS.format(count=wanted)) as process:
            return said(process), leaf.processes_hit()

    assert in_groups(fork, "pids") == (str(got), hit)


@needs_root
def test_kill_ends_what_left_its_session_and_ignores_sigterm() -> None:
    def tree(groups: Groups) -> tuple[bool, bool]:
        leaf = groups.leaf(256 * MIB, 20)
        with running(leaf, TREE) as process:
            assert said(process).startswith("up")  # each of them says it
            wait_until(lambda: len(leaf._pids()) >= 3, "the tree is there")
            leaf.kill()
            process.wait(timeout=20)
            wait_until(lambda: not leaf._pids(), "no process is left", timeout_s=5)
            return leaf.remove(), leaf.remove()

    assert in_groups(tree, "pids") == (True, True)


@needs_root
def test_leaf_with_a_living_process_is_not_removed() -> None:
    def hold(groups: Groups) -> bool:
        leaf = groups.leaf(256 * MIB, 20)
        with running(leaf, TREE) as process:
            said(process)
            return leaf.remove()

    assert in_groups(hold, "pids") is False


@needs_root
def test_process_that_enters_by_itself_is_in_each_group() -> None:
    def enter(groups: Groups) -> bool:
        leaf = groups.leaf(256 * MIB, 20)
        pid = os.fork()
        if pid == 0:
            try:
                leaf.enter(0)
                signal.pause()
            finally:
                os._exit(1)

        def inside() -> bool:
            lists = [Path(f"{place}/cgroup.procs").read_text().split() for place in leaf._places]
            return all(str(pid) in numbers for numbers in lists)

        try:
            wait_until(inside, "it is in its groups")
            return leaf.remove(patience_s=0.0)
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            assert leaf.remove()

    assert in_groups(enter, "pids") is False


@needs_root
def test_process_that_is_gone_cannot_enter() -> None:
    def enter(groups: Groups) -> str:
        leaf = groups.leaf(256 * MIB, 20)
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait(timeout=20)
        try:
            leaf.enter(gone.pid)
        except SandboxSetupError as error:
            return error.code
        finally:
            leaf.remove()
        return "entered"

    assert in_groups(enter, "pids") == "sandbox.setup"


@needs_root
def test_sweep_takes_the_groups_of_ended_runs_and_leaves_those_that_live() -> None:
    def look(groups: Groups) -> tuple[list[bool], list[bool]]:
        mine = groups._directories["pids"]
        own = os.path.dirname(mine)
        dead, busy = (f"{own}/{PREFIX}{name}-{secrets.token_hex(8)}" for name in ("dead", "busy"))
        for place in (dead, f"{dead}/1", f"{dead}/2", busy):
            os.mkdir(place)
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
            assert process.stdin is not None
            Path(busy, "cgroup.procs").write_text(str(process.pid))
            sweep(own)
            first = [os.path.exists(place) for place in (mine, dead, busy)]
            process.stdin.close()
            process.wait(timeout=20)
        sweep(own)
        return first, [os.path.exists(place) for place in (mine, dead, busy)]

    assert in_groups(look, "pids") == ([True, False, True], [True, False, False])


def test_user_who_may_not_divide_groups_gets_none() -> None:
    own = find_own_directories()

    def attempt() -> bool:
        groups = Groups.open(f"test-{secrets.token_hex(8)}")
        if groups is None:
            return True
        writable = any(os.access(place, os.W_OK) for place in own.values())
        groups.close()
        return writable

    assert in_child(attempt, unprivileged=True)


class Machine(NamedTuple):
    name: str
    cgroup: str
    mounts: str
    found: dict[str, str]


V1 = (
    "32 31 0:29 {root} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "39 31 0:36 {root} /sys/fs/cgroup/pids rw shared:9 - cgroup cgroup rw,pids"
)
V2 = "30 23 0:26 {root} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
MACHINES = [
    Machine(
        "version 2", "0::/user.slice/a.scope", V2.format(root="/"), {"unified": "/sys/fs/cgroup/user.slice/a.scope"}
    ),
    Machine("version 2 in a namespace", "0::/", V2.format(root="/"), {"unified": "/sys/fs/cgroup"}),
    Machine(
        "version 1",
        "9:pids:/a\n4:memory:/b/c\n0::/",
        V1.format(root="/"),
        {"pids": "/sys/fs/cgroup/pids/a", "memory": "/sys/fs/cgroup/memory/b/c"},
    ),
    Machine(
        "version 1 in a container that sees its own part only",
        "9:pids:/docker/id\n4:memory:/docker/id/x",
        V1.format(root="/docker/id"),
        {"pids": "/sys/fs/cgroup/pids", "memory": "/sys/fs/cgroup/memory/x"},
    ),
    Machine(
        "both controllers in one hierarchy",
        "4:cpu,memory,pids:/x",
        "1 0 0:1 / /cg rw - cgroup cgroup rw,cpu,memory,pids",
        {"memory": "/cg/x", "pids": "/cg/x"},
    ),
    Machine(
        "group outside of what is mounted", "4:memory:/other\n9:pids:/docker/id2", V1.format(root="/docker/id"), {}
    ),
    Machine("group outside of the namespace", "0::/../x", V2.format(root="/"), {}),
    Machine("group that is no group of this machine", "0::/..", V2.format(root="/.."), {}),
    Machine("nothing mounted", "0::/", "27 1 254:0 / / rw - ext4 /dev/vda rw", {}),
    Machine(
        "mount point with a space",
        "0::/a",
        "30 23 0:26 / /my\\040groups rw - cgroup2 cgroup2 rw",
        {"unified": "/my groups/a"},
    ),
]


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_own_groups_are_found(machine: Machine) -> None:
    assert own_directories(machine.cgroup, machine.mounts) == machine.found
